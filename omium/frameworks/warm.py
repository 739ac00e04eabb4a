"""What the adapters' warm-ups have in common: OpenAI's client, used once.

It loads much of itself when it is first used. Nothing leaves the process: the transport is a
function, which answers every request alike.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import openai

_ANSWER = {
    "id": "warm",
    "object": "chat.completion",
    "created": 0,
    "model": "warm",
    "choices": [
        {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "done"}}
    ],
}


@contextmanager
def answering_client() -> Iterator[httpx.Client]:
    """An HTTP client to whom every request is answered with a completion, ``done``."""
    transport = httpx.MockTransport(lambda _: httpx.Response(200, json=_ANSWER))
    with httpx.Client(transport=transport) as web:
        yield web


def warm_openai() -> None:
    """Ask OpenAI's client."""
    with (
        answering_client() as web,
        openai.OpenAI(api_key="none", base_url="http://localhost", http_client=web) as client,
    ):
        client.chat.completions.create(model="warm", messages=[{"role": "user", "content": "warm"}])
