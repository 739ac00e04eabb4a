"""What a fresh process does once, so that its first real team need not wait.

Nothing leaves the process: the client's transport is a function.
"""

from __future__ import annotations

import httpx
import openai

_ANSWER = {
    "id": "warm",
    "object": "chat.completion",
    "created": 0,
    "model": "warm",
    "choices": [
        {
            "index": 0,
            "finish_reason": "stop",
            "message": {"role": "assistant", "content": "done"},
        }
    ],
}


def warm_up() -> None:
    """Ask a client: OpenAI's loads much of itself when first used."""
    transport = httpx.MockTransport(lambda _: httpx.Response(200, json=_ANSWER))
    with (
        httpx.Client(transport=transport) as web,
        openai.OpenAI(api_key="none", base_url="http://localhost", http_client=web) as client,
    ):
        client.chat.completions.create(model="warm", messages=[{"role": "user", "content": "warm"}])
