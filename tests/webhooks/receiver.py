"""A receiver of webhooks on a real port, which answers as it is told to."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import msgspec

HOST = "127.0.0.1"
WAIT_S = 20.0


def status(code: int, *headers: str, body: bytes = b"") -> bytes:
    """An answer, byte by byte."""
    lines = [f"HTTP/1.1 {code} Said", f"content-length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


OK = status(204)
SILENCE = b""
"""No answer at all, and the connection stays open."""


@dataclass(kw_only=True)
class Received:
    """A message as it came."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def data(self) -> Any:
        return msgspec.json.decode(self.body)


@dataclass(kw_only=True)
class Receiver:
    """``answers`` are given one after the other, then the last one for ever."""

    answers: list[bytes]
    messages: list[Received] = field(default_factory=list[Received])
    port: int = 0
    open: int = 0
    open_most: int = 0
    _changed: asyncio.Condition = field(default_factory=asyncio.Condition)
    _writers: set[asyncio.StreamWriter] = field(default_factory=set[asyncio.StreamWriter])

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}/hook?a=b"

    async def got(self, count: int) -> Sequence[Received]:
        """Wait for so many messages."""
        async with asyncio.timeout(WAIT_S), self._changed:
            await self._changed.wait_for(lambda: len(self.messages) >= count)
        return self.messages

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        self.open += 1
        self.open_most = max(self.open_most, self.open)
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            first, *lines = head.strip().split("\r\n")
            headers = dict(line.split(": ", 1) for line in lines)
            headers = {name.lower(): value for name, value in headers.items()}
            body = await reader.readexactly(int(headers["content-length"]))
            answer = self.answers[min(len(self.messages), len(self.answers) - 1)]
            async with self._changed:
                message = Received(path=first.split(" ")[1], headers=headers, body=body)
                self.messages.append(message)
                self._changed.notify_all()
            if answer == SILENCE:
                await reader.read()
            writer.write(answer)
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self.open -= 1
            self._writers.discard(writer)
            writer.close()

    def hang_up(self) -> None:
        """Close what is open."""
        for writer in list(self._writers):
            writer.transport.abort()


@asynccontextmanager
async def receiving(
    *answers: bytes, port: int = 0, tls: ssl.SSLContext | None = None
) -> AsyncIterator[Receiver]:
    """A receiver that gives those answers; one that thanks where there are none."""
    receiver = Receiver(answers=list(answers) or [OK])
    server = await asyncio.start_server(receiver.serve, HOST, port, ssl=tls)
    receiver.port = server.sockets[0].getsockname()[1]
    try:
        yield receiver
    finally:
        server.close()
        receiver.hang_up()
        await server.wait_closed()
