"""One way from one member of a group to another that can fall silent: a network partition where
no network can be cut.

A silent one keeps every stream open and lets nothing through, as a cut cable does.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

from omium.actors.link import Address
from omium.ports import free_ports

HOST = "127.0.0.1"
READ_BYTES = 65_536


class Proxy:
    """For what is sent to ``target``, and what is answered. Made in a running event loop; it
    listens ``at`` its address, or at a free port, a moment later."""

    def __init__(self, target: Address, *, at: Address | None = None) -> None:
        self.address: Address = at or (HOST, free_ports(1)[0])
        self._target = target
        self._open = asyncio.Event()
        self._open.set()
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._begun = asyncio.ensure_future(self._begin())

    async def _begin(self) -> None:
        self._server = await asyncio.start_server(self._serve, *self.address)

    def cut(self) -> None:
        """Let nothing through. What is on its way comes when it is mended."""
        self._open.clear()

    def mend(self) -> None:
        self._open.set()

    async def close(self) -> None:
        """Listen no more, and break every stream. Raises ``OSError`` where it could not listen."""
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
            await self._open.wait()
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
            while data := await reader.read(READ_BYTES):
                await self._open.wait()
                writer.write(data)
                await writer.drain()
        # Who has hung up is not heard either.
        await self._open.wait()
        writer.close()
