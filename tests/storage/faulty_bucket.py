"""A proxy in front of an S3 server that does what object stores do on bad days.

What it passes on, it passes on as it came: the signature of a request holds for its bytes.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager, suppress
from typing import Literal, TypeAlias
from urllib.parse import urlsplit

Fault: TypeAlias = Literal["none", "slow_down", "slow", "lost_answer", "cut", "hang"]
"""``slow_down`` answers 503 and does nothing; ``cut`` breaks the connection in the middle of the
request; ``lost_answer`` breaks it once the request has been carried out; ``slow`` passes it on
after a while; ``hang`` says nothing until ``FaultyBucket.release``, and is no fault after that."""

SLOW_S = 0.05
SLOW_DOWN = (
    b"HTTP/1.1 503 Slow Down\r\nContent-Type: application/xml\r\nConnection: close\r\n"
    b"Content-Length: 0\r\n\r\n"
)


def then(faults: Iterable[Fault], last: Fault) -> Iterator[Fault]:
    """All of ``faults``, and after them the ``last`` one for ever."""
    yield from faults
    while True:
        yield last


class FaultyBucket:
    """See the module's docstring. Make one with ``faulty_bucket``."""

    def __init__(self, target: tuple[str, int], faults: Iterable[Fault]) -> None:
        self._target = target
        self._faults = then(faults, "none")
        self.done: dict[Fault, int] = {}
        """How often each fault was done."""
        self.hanging = asyncio.Event()
        """Set once a request hangs."""
        self._released = asyncio.Event()

    def release(self) -> None:
        """Let go of what hangs, and let nothing hang any more."""
        self._released.set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            await self._exchange(reader, writer)
        writer.close()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        fault = next(self._faults)
        self.done[fault] = self.done.get(fault, 0) + 1
        if fault == "cut":
            return
        body = await reader.readexactly(_length(head))
        if fault == "hang" and not self._released.is_set():
            self.hanging.set()
            await self._released.wait()
            return
        if fault == "slow_down":
            writer.write(SLOW_DOWN)
            await writer.drain()
            return
        if fault == "slow":
            await asyncio.sleep(SLOW_S)
        answer = await self._answer(head, body)
        if fault != "lost_answer":
            writer.write(answer)
            await writer.drain()

    async def _answer(self, head: bytes, body: bytes) -> bytes:
        """What the server says, to the end: it closes the connection then, which is not signed."""
        reader, writer = await asyncio.open_connection(*self._target)
        try:
            first, _, rest = head.partition(b"\r\n")
            writer.write(first + b"\r\nConnection: close\r\n" + rest + body)
            return await reader.read()
        finally:
            writer.close()


def _length(head: bytes) -> int:
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    return 0


@asynccontextmanager
async def faulty_bucket(
    endpoint: str, faults: Iterable[Fault]
) -> AsyncIterator[tuple[str, FaultyBucket]]:
    """A proxy before the server at ``endpoint`` that does one fault for each request, and none when
    there is no more. Yields its own endpoint."""
    parts = urlsplit(endpoint)
    assert parts.hostname is not None and parts.port is not None
    proxy = FaultyBucket((parts.hostname, parts.port), faults)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", proxy
    finally:
        proxy.release()
        server.close()
        await server.wait_closed()
