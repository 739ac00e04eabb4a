"""Proxies on the ways between coordinators on one host, which fall silent on demand.

They run in a thread of their own, from before the first coordinator until after the last one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from pathlib import Path
from threading import Thread

from benchmarks.detours import environment, ways
from benchmarks.served import ROOT
from omium.testing.proxy import Proxy

LOOK_S = 0.05


class Proxies:
    """See the module's docstring. ``folder`` is where coordinators write down their ways."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._loop.run_forever, name="proxies", daemon=True)
        self._proxies: dict[tuple[int, int], Proxy] = {}
        self._looking: asyncio.Task[None] | None = None

    def open(self) -> dict[str, str]:
        """Begin, and return the environment of the coordinators."""
        made = environment(self._folder, ROOT)
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._begin(), self._loop).result()
        return made

    def close(self) -> None:
        """End all proxies. May be repeated."""
        if self._loop.is_closed():
            return
        if self._thread.is_alive():
            asyncio.run_coroutine_threadsafe(self._end(), self._loop).result()
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
        self._loop.close()

    def cut(self, pairs: Iterable[tuple[int, int]]) -> None:
        """From now on nothing gets from the first seat of each pair to the second. Raises
        ``KeyError`` for a way that nobody has gone yet."""
        asyncio.run_coroutine_threadsafe(self._cut([*pairs]), self._loop).result()

    def mend(self) -> None:
        """Everything gets through again."""
        asyncio.run_coroutine_threadsafe(self._mend(), self._loop).result()

    async def _begin(self) -> None:
        self._looking = asyncio.create_task(self._look())

    async def _look(self) -> None:
        while True:
            for pair, (at, to) in ways(self._folder).items():
                if pair not in self._proxies:
                    self._proxies[pair] = Proxy(to, at=at)
            await asyncio.sleep(LOOK_S)

    async def _cut(self, pairs: list[tuple[int, int]]) -> None:
        for pair in pairs:
            self._proxies[pair].cut()

    async def _mend(self) -> None:
        for proxy in self._proxies.values():
            proxy.mend()

    async def _end(self) -> None:
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)
        for proxy in self._proxies.values():
            await proxy.close()
