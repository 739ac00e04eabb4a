"""The processes that host parts of a worker's agents: started, listened to, and ended.

A host connects to the worker that asked for it, over the loopback, and is gone when the connection
is. How a process is started, its owner says.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import secrets
from collections.abc import Callable
from contextvars import Context, copy_context
from dataclasses import dataclass, field
from typing import Any, Protocol

from omium.actors.duplex import CODEC, Duplex, HostHello
from omium.actors.link import Address
from omium.actors.transport import Answer, Connection, serve, stop_listening
from omium.errors import ProtocolError, Unavailable
from omium.frameworks.protocol import Answering
from omium.types import Json, WorkerId

log = logging.getLogger(__name__)

LOOPBACK = "127.0.0.1"
START_TIMEOUT_S = 120.0
"""A process on a busy machine imports a framework first."""


class HostStarter(Protocol):
    """Starts and ends processes on this machine that run ``host.live``."""

    def start(self, host: str, worker: Address, secret: bytes) -> None: ...

    def end(self, host: str) -> None:
        """End it at once, if it has not ended. It may have been killed."""
        ...


@dataclass(kw_only=True)
class _Seat:
    """One host, from its start on."""

    answering: Answering
    context: Context = field(default_factory=copy_context)
    came: asyncio.Future[Connection] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )
    duplex: Duplex | None = None


class Hosting:
    """The hosts of one worker. All methods are for its event loop."""

    def __init__(self, worker: WorkerId, starter: HostStarter) -> None:
        self._worker = worker
        self._starter = starter
        self._secret = secrets.token_bytes(32)
        self._server: asyncio.Server | None = None
        self._opening = asyncio.Lock()
        self._numbers = itertools.count(1)
        self._seats: dict[str, _Seat] = {}
        self._connections: dict[Connection, str] = {}

    async def open(self, given: Callable[[str], Json], answering: Answering) -> OpenHost:
        """Start a host and tell it what it is to be, which ``given`` makes of its name. See
        ``Session.open_host``."""
        address = await self._listen()
        name = f"{self._worker}-host-{next(self._numbers)}"
        seat = self._seats[name] = _Seat(answering=answering)
        try:
            self._starter.start(name, address, self._secret)
            async with asyncio.timeout(START_TIMEOUT_S):
                await seat.came
            assert seat.duplex is not None
            await seat.duplex.ask(given(name))
        except TimeoutError as error:
            await self.end(name)
            raise Unavailable(f"host {name} did not start in {START_TIMEOUT_S:g} s") from error
        except BaseException:
            await self.end(name)
            raise
        return OpenHost(self, name, seat.duplex)

    async def end(self, name: str) -> None:
        """End a host, and all that is at work here for it."""
        seat = self._seats.pop(name, None)
        if seat is None:
            return
        self._starter.end(name)
        if seat.came.done() and not seat.came.cancelled():
            seat.came.result().close()
        if seat.duplex is not None:
            seat.duplex.stop()

    async def stop(self) -> None:
        """End all hosts, and listen no more."""
        for name in list(self._seats):
            await self.end(name)
        if self._server is not None:
            await stop_listening(self._server)
        for connection in list(self._connections):
            connection.close()
        # The sockets are let go of in the loop's next turn.
        await asyncio.sleep(0)

    async def _listen(self) -> Address:
        async with self._opening:
            if self._server is None:
                self._server = await serve(
                    LOOPBACK,
                    0,
                    CODEC,
                    self._secret,
                    handler=self._heard,
                    on_made=lambda connection: self._connections.update({connection: ""}),
                    on_closed=self._closed,
                )
        host, port = self._server.sockets[0].getsockname()[:2]
        return host, port

    def _heard(self, connection: Connection, message: Any, answer: Answer) -> None:
        if isinstance(message, HostHello):
            seat = self._seats.get(message.host)
            if seat is None or seat.came.done():
                raise ProtocolError(f"nobody waits for host {message.host}")
            self._connections[connection] = message.host
            seat.duplex = Duplex(connection, seat.answering, seat.context)
            seat.came.set_result(connection)
            return
        seat = self._seats.get(self._connections.get(connection, ""))
        if seat is None or seat.duplex is None:
            raise ProtocolError("a host says who it is first")
        seat.duplex.heard(message, answer)

    def _closed(self, connection: Connection, error: Exception | None) -> None:
        name = self._connections.pop(connection, "")
        seat = self._seats.get(name)
        if seat is not None and seat.duplex is not None:
            log.warning("host %s is gone: %s", name, error or "it closed its connection")
            seat.duplex.stop()


class OpenHost:
    """Implements ``frameworks.protocol.Host``."""

    def __init__(self, hosting: Hosting, name: str, duplex: Duplex) -> None:
        self._hosting, self._name, self._duplex = hosting, name, duplex

    async def ask(self, body: Json) -> Json:
        return await self._duplex.ask(body)

    async def end(self) -> None:
        await self._hosting.end(self._name)
