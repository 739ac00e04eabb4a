"""Lines between a client and a service that a test can cut, and services that come late."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import httpx


class Cuttable:
    """A way to a service. ``address`` is this side of it."""

    def __init__(self, service: str) -> None:
        there = urlsplit(service)
        assert there.hostname is not None and there.port is not None
        self._there = (there.hostname, there.port)
        self._writers: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None
        self.address = ""
        self.cuts = 0

    async def open(self, port: int = 0) -> None:
        self._server = await asyncio.start_server(self._carry, "127.0.0.1", port)
        port = self._server.sockets[0].getsockname()[1]
        self.address = f"http://127.0.0.1:{port}"

    def cut(self) -> None:
        """Break every connection there is; new ones may be made."""
        self.cuts += 1
        for writer in list(self._writers):
            writer.transport.abort()

    async def away(self, for_s: float) -> None:
        """Be gone for so long, and come back at the same address."""
        await self.close()
        await asyncio.sleep(for_s)
        await self.open(int(self.address.rpartition(":")[2]))

    async def close(self) -> None:
        assert self._server is not None
        self._server.close()
        self.cut()
        await self._server.wait_closed()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there_reader, there_writer = await asyncio.open_connection(*self._there)
        both = {writer, there_writer}
        self._writers |= both
        try:
            await asyncio.gather(_copy(reader, there_writer), _copy(there_reader, writer))
        finally:
            self._writers -= both
            for one in both:
                one.transport.abort()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    except ConnectionError:
        # Cut.
        pass
    finally:
        writer.transport.abort()


@asynccontextmanager
async def cuttable(service: str) -> AsyncIterator[Cuttable]:
    way = Cuttable(service)
    await way.open()
    try:
        yield way
    finally:
        await way.close()


class LosesAnswers(httpx.AsyncHTTPTransport):
    """Delivers requests, and loses the answer to the first ``lost`` of each method and path."""

    def __init__(self, lost: int) -> None:
        super().__init__()
        self._lost = lost
        self.sent: list[httpx.Request] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        answer = await super().handle_async_request(request)
        same = [one for one in self.sent if (one.method, one.url) == (request.method, request.url)]
        self.sent.append(request)
        if len(same) < self._lost:
            await answer.aclose()
            raise httpx.ReadError("the line went dead", request=request)
        return answer
