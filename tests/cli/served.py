"""A service in a thread of its own, for the program that this one runs: both want signals or an
event loop for themselves."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from omium.actors.client import Client
from omium.types import TenantId
from tests.serve.api.stage import Served, served

_T = TypeVar("_T")
START_S = 30.0


class Service:
    """``address`` and an admin ``key`` of the tenant ``default``."""

    def __init__(self, s: Served, loop: asyncio.AbstractEventLoop, data_dir: Path) -> None:
        self._s = s
        self._loop = loop
        self.data_dir = data_dir
        self.address = s.url
        self.key = s.key

    def do(self, work: Coroutine[Any, Any, _T]) -> _T:
        """Have something done in the service's event loop."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(START_S)

    @property
    def client(self) -> Client:
        """Of the runtime behind it, for ``do``."""
        return self._s.stage.client

    def key_of(self, tenant: str, *scopes: Any) -> str:
        return self.do(self._s.key_of(tenant, *scopes))

    def is_followed(self) -> bool:
        """Whether anybody has a stream of an execution open."""
        return self._s.api.slots.open_of(TenantId("default")) > 0

    @property
    def endpoint(self) -> tuple[int, str]:
        """The port and the secret of its coordinator."""
        runtime = self._s.stage.runtime
        return runtime.address[1], runtime.secret.hex()


@contextmanager
def service(directory: Path) -> Iterator[Service]:
    """A service whose data directory is ``directory``."""
    begun: Future[tuple[Served, asyncio.AbstractEventLoop]] = Future()
    ending = asyncio.Event()

    async def serve() -> None:
        try:
            async with served(directory) as s:
                begun.set_result((s, asyncio.get_running_loop()))
                await ending.wait()
        except BaseException as error:
            if not begun.done():
                begun.set_exception(error)
            raise

    thread = threading.Thread(target=lambda: asyncio.run(serve()), name="a service")
    thread.start()
    try:
        s, loop = begun.result(START_S)
        try:
            yield Service(s, loop, directory)
        finally:
            loop.call_soon_threadsafe(ending.set)
    finally:
        thread.join(START_S)
