from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import psutil
import pytest

from omium.errors import ConfigError, Conflict, InputError, ModelUnreachable, Unavailable
from omium.llm.llamacpp import LlamaServer
from omium.llm.upstream import Upstream
from omium.llm.wire import merge_chunks, usage_of

SCHEMA = {
    "type": "object",
    "properties": {
        "principal": {"type": "integer"},
        "risk": {"enum": ["low", "medium", "high"]},
    },
    "required": ["principal", "risk"],
    "additionalProperties": False,
}
STORY: dict[str, Any] = {
    "model": "m",
    "messages": [{"role": "user", "content": "Write a very long story about the sea."}],
    "max_tokens": 4000,
}


@pytest.fixture(scope="module")
def server(smollm2: Path) -> Iterator[LlamaServer]:
    with LlamaServer() as server:
        server.start(smollm2, ctx_tokens=2048, threads=1, slots=2)
        yield server


@pytest.mark.model
async def test_it_answers_the_real_client_under_a_schema(server: LlamaServer) -> None:
    key = server.provider.api_key
    assert key is not None
    format_: Any = {"type": "json_schema", "json_schema": {"name": "loan", "schema": SCHEMA}}
    async with openai.AsyncOpenAI(
        base_url=server.provider.base_url, api_key=key.get_secret_value(), max_retries=0
    ) as client:
        answer = await client.chat.completions.create(
            model="smollm2",
            messages=[{"role": "user", "content": "A loan of 10000 at low risk. As JSON:"}],
            response_format=format_,
            temperature=0,
            max_tokens=100,
        )
    value = json.loads(answer.choices[0].message.content or "")
    assert isinstance(value["principal"], int)
    assert value["risk"] in {"low", "medium", "high"}
    assert answer.usage is not None
    assert answer.usage.completion_tokens > 0


@pytest.mark.model
async def test_the_stream_and_the_whole_answer_are_the_same(server: LlamaServer) -> None:
    body = {**STORY, "max_tokens": 24, "temperature": 0, "seed": 1, "cache_prompt": False}
    async with Upstream(server.provider) as upstream:
        whole = await upstream.complete(body)
        asked = {**body, "stream_options": {"include_usage": True}}
        streamed = merge_chunks([chunk async for chunk in upstream.stream(asked)])
    assert streamed["choices"][0]["message"] == whole["choices"][0]["message"]
    assert streamed["choices"][0]["finish_reason"] == "length"
    assert usage_of(streamed) == usage_of(whole)
    assert usage_of(whole) is not None


@pytest.mark.model
def test_only_its_key_opens_it(server: LlamaServer) -> None:
    assert server.provider.base_url.startswith("http://127.0.0.1:")
    with httpx.Client(trust_env=False) as http:
        answer = http.post(f"{server.provider.base_url}/chat/completions", json=STORY)
    assert answer.status_code == 401


@pytest.mark.model
def test_it_is_started_once(server: LlamaServer, smollm2: Path) -> None:
    with pytest.raises(Conflict, match="already answers"):
        server.start(smollm2, ctx_tokens=512, threads=1, slots=1)


@pytest.mark.model
async def test_stopping_ends_requests_in_flight_and_frees_the_port(smollm2: Path) -> None:
    server = LlamaServer()
    base_url = await asyncio.to_thread(server.start, smollm2, ctx_tokens=4096, threads=1, slots=2)
    port = int(base_url.split(":")[2].partition("/")[0])
    async with Upstream(server.provider) as upstream:
        stream = upstream.stream(STORY)
        await anext(stream)
        whole = asyncio.create_task(upstream.complete(STORY))
        waiting = asyncio.create_task(upstream.complete(STORY))
        # Both slots are busy and one request waits when the stream has moved on.
        for _ in range(5):
            await anext(stream)
        assert not whole.done()
        server.stop()
        for call in (whole, waiting, _rest(stream)):
            with pytest.raises(ModelUnreachable):
                await call
    server.stop()
    mine = psutil.Process().net_connections("tcp")
    assert not [item for item in mine if item.laddr and item.laddr.port == port]
    with pytest.raises(Unavailable):
        _ = server.provider
    # The same object can load again.
    assert server.start(smollm2, ctx_tokens=512, threads=1, slots=1).startswith("http://127.0.0.1")
    server.stop()


async def _rest(stream: Any) -> None:
    async for _ in stream:
        pass


@pytest.mark.model
def test_a_process_that_forgets_to_stop_ends_all_the_same_and_silently(smollm2: Path) -> None:
    code = f"""
import threading, httpx
from pathlib import Path
from omium.llm.llamacpp import LlamaServer
server = LlamaServer()
url = server.start(Path({str(smollm2)!r}), ctx_tokens=4096, threads=1, slots=1)
key = server.provider.api_key.get_secret_value()
begun = threading.Event()
def ask():
    body = dict(messages=[dict(role="user", content="A long story.")], max_tokens=4000, stream=True)
    try:
        with httpx.stream("POST", url + "/chat/completions", json=body, timeout=600,
                          headers=dict(authorization="Bearer " + key)) as answer:
            for _ in answer.iter_bytes():
                begun.set()
    except httpx.HTTPError:
        pass
threading.Thread(target=ask, daemon=True).start()
begun.wait(30)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=50, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("kind", ["ctx_tokens", "threads", "slots"])
def test_a_size_below_one_is_named(tmp_path: Path, kind: str) -> None:
    sizes = {"ctx_tokens": 512, "threads": 1, "slots": 1, kind: 0}
    with pytest.raises(InputError, match=f"{kind} must be at least 1"):
        LlamaServer().start(tmp_path / "x.gguf", **sizes)


def test_a_file_that_cannot_be_loaded_is_named(tmp_path: Path, capfd: Any) -> None:
    pytest.importorskip("xllamacpp")
    path = tmp_path / "x.gguf"
    server = LlamaServer()
    for content, error in ((None, InputError), (b"no", InputError), (b"GGUF\0\0", Unavailable)):
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(error, match=r"x\.gguf"):
            server.start(path, ctx_tokens=512, threads=1, slots=1)
    with pytest.raises(Unavailable, match="not started"):
        _ = server.provider
    assert capfd.readouterr() == ("", "")


def test_without_the_extra_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "xllamacpp", None)
    with pytest.raises(ConfigError, match=r"pip install 'omium\[local\]'"):
        LlamaServer().start(tmp_path / "x.gguf", ctx_tokens=512, threads=1, slots=1)
