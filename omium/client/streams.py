"""Following an execution over SSE, through lost connections: each entry once and in order."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import httpx
import msgspec
from httpx_sse import EventSource, SSEError

from omium.client.problems import error_of
from omium.client.shapes import Event
from omium.client.transport import PAUSE_S, PAUSE_S_MAX, Transport
from omium.errors import Unavailable

SILENCE_S = 45.0
"""Without so much as a heartbeat, which comes every 15 s: the connection is dead."""

_EXTRAS = ("delta", "lagged")


async def follow(
    transport: Transport, path: str, after: int, *, live: bool, retry_s: float
) -> AsyncGenerator[Event]:
    """Events of the stream at ``path`` after journal index ``after``, until it has ended.

    Connects again by itself, from where it was. Raises ``Unavailable`` after ``retry_s``
    seconds without a service, and what the service refuses the stream for.
    """
    loop = asyncio.get_running_loop()
    lost_s: float | None = None
    pause_s = PAUSE_S
    while True:
        try:
            async with transport.stream(
                path,
                params={"after": after},
                headers={"accept": "text/event-stream"},
                silence_s=SILENCE_S,
            ) as answer:
                if answer.status_code == 204:
                    return
                async with aclosing(_events(answer)) as events:
                    async for event in events:
                        lost_s, pause_s = None, PAUSE_S
                        if event.type == "end":
                            return
                        if event.index is None:
                            if live:
                                yield event
                        elif event.index > after:
                            after = event.index
                            yield event
            # A stream that ends without its end was cut off.
            raise Unavailable("the stream was cut off")
        except (Unavailable, httpx.TransportError, SSEError, msgspec.DecodeError) as error:
            lost_s = loop.time() if lost_s is None else lost_s
            if loop.time() - lost_s > retry_s:
                raise Unavailable(f"no stream from {transport.address}: {error}") from error
        # With jitter, so that those who were cut off together do not come back together.
        await asyncio.sleep(pause_s * random.uniform(0.5, 1.5))
        pause_s = min(pause_s * 2, PAUSE_S_MAX)


async def _events(answer: httpx.Response) -> AsyncGenerator[Event]:
    async for sent in EventSource(answer).aiter_sse():
        if not sent.data:
            continue
        data: Any = msgspec.json.decode(sent.data)
        if sent.event == "problem":
            raise error_of(int(data.get("status", 500)), sent.data.encode())
        index = None if sent.event in (*_EXTRAS, "end") else int(data["index"])
        yield Event(index=index, type=sent.event, data=data)
