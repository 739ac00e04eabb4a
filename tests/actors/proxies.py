"""Proxies between seats of a group, which can fall silent: a network partition in one process.

A silent one keeps every stream open and lets nothing through, as a cut cable does.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

from omium.actors.link import Address
from omium.ports import free_ports

HOST = "127.0.0.1"


class Proxy:
    """One way from one seat to another, for what is sent there and what is answered."""

    def __init__(self, target: Address) -> None:
        self.address: Address = (HOST, free_ports(1)[0])
        self._target = target
        self._open = asyncio.Event()
        self._open.set()
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._begun = asyncio.ensure_future(self._begin())

    async def _begin(self) -> None:
        self._server = await asyncio.start_server(self._serve, *self.address)

    def cut(self) -> None:
        self._open.clear()

    def mend(self) -> None:
        self._open.set()

    async def close(self) -> None:
        await self._begun
        assert self._server is not None
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        out: asyncio.StreamWriter | None = None
        try:
            back, out = await asyncio.open_connection(*self._target)
            await asyncio.gather(self._pass(reader, out), self._pass(back, writer))
        except OSError:
            pass
        finally:
            for one in (writer, out):
                if one is not None:
                    one.close()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while data := await reader.read(65_536):
                await self._open.wait()
                writer.write(data)
                await writer.drain()
        writer.close()


class Proxies:
    """A proxy for every pair of seats, made when its way is first asked for."""

    def __init__(self) -> None:
        self._proxies: dict[tuple[int, int], Proxy] = {}

    def route(self, source: int, target: int, address: Address) -> Address:
        if (source, target) not in self._proxies:
            self._proxies[source, target] = Proxy(address)
        return self._proxies[source, target].address

    def isolate(self, seat: int) -> None:
        """Let nothing pass between a seat and all others."""
        for pair, proxy in self._proxies.items():
            if seat in pair:
                proxy.cut()

    def mend(self) -> None:
        for proxy in self._proxies.values():
            proxy.mend()

    async def close(self) -> None:
        self.mend()
        for proxy in self._proxies.values():
            await proxy.close()
