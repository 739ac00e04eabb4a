"""OpenAI's own client, pointed at the API."""

from __future__ import annotations

from pathlib import Path

import openai
import pytest

from omium.testing.script import Answer, ErrorAnswer, Rule
from tests.actors.stage import MODEL
from tests.serve.api.stage import Served, served


def client(s: Served, key: str | None = None) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=f"{s.url}/v1", api_key=key or s.key, max_retries=0)


async def test_a_completion_and_a_stream(tmp_path: Path) -> None:
    settings = {"models": (MODEL,)}
    async with (
        served(tmp_path, settings=settings) as s,
        client(s, await s.key_of("t", "run")) as ai,
    ):
        whole = await ai.chat.completions.create(
            model=MODEL, messages=[{"role": "user", "content": "hi"}]
        )
        assert whole.choices[0].message.content == "echo: hi"
        chunks = await ai.chat.completions.create(
            model=MODEL, messages=[{"role": "user", "content": "hi"}], stream=True
        )
        pieces = [chunk.choices[0].delta.content or "" async for chunk in chunks]
        assert "".join(pieces) == "echo: hi" and len(pieces) > 1
        assert [model.id async for model in ai.models.list()] == [MODEL]


async def test_errors_are_those_that_the_client_knows(tmp_path: Path) -> None:
    refuse = Answer(error=ErrorAnswer(status=401, message="no such key"))
    async with served(tmp_path, [Rule(answer=refuse)]) as s:
        async with client(s, await s.key_of("t", "read")) as ai:
            with pytest.raises(openai.PermissionDeniedError):
                await ai.chat.completions.create(model=MODEL, messages=[])
        async with client(s, "omk_nonsense") as ai:
            with pytest.raises(openai.AuthenticationError):
                await ai.chat.completions.create(model=MODEL, messages=[])
        async with client(s) as ai:
            with pytest.raises(openai.NotFoundError, match="nobody"):
                await ai.chat.completions.create(
                    model="nobody/nothing", messages=[{"role": "user", "content": "x"}]
                )
            # The provider refused the service's key, not the caller's.
            with pytest.raises(openai.APIStatusError) as caught:
                await ai.chat.completions.create(
                    model=MODEL, messages=[{"role": "user", "content": "x"}]
                )
            assert caught.value.status_code == 502
            assert isinstance(caught.value.body, dict)


async def test_what_is_no_completion_is_refused_here(tmp_path: Path) -> None:
    async with served(tmp_path) as s:
        for body in ([], {}, {"model": MODEL}, {"model": MODEL, "messages": [1]}):
            answer = await s.http.post("/v1/chat/completions", json=body)
            assert answer.status_code == 422, answer.text
            assert answer.json()["error"]["type"] == "invalid"
        # Whatever a caller sends beside the body stays here: the gateway trusts its headers.
        scope = {"x-omium-scope": "nonsense"}
        fine = {"model": MODEL, "messages": [{"role": "user", "content": "hi"}]}
        answer = await s.http.post("/v1/chat/completions", json=fine, headers=scope)
        assert answer.status_code == 200, answer.text
        assert "x-omium-source" not in answer.headers
        await s.stage.runtime.stop_gateway()
        away = await s.http.post("/v1/chat/completions", json=fine)
        assert away.status_code == 503
        await s.stage.runtime.start_gateway()
