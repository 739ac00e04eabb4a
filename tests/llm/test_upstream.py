from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from omium.errors import InputError, ModelRefused, ModelUnreachable
from omium.llm.providers import Provider
from omium.llm.upstream import Upstream
from omium.llm.wire import merge_chunks, usage_of
from omium.testing.scripted import (
    Answer,
    ErrorAnswer,
    Rule,
    Script,
    ScriptedProvider,
    ToolCall,
    When,
)

ASK: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "hello"}]}
BASE_URL = "http://provider.invalid/v1"


def _provider(base_url: str = BASE_URL, **more: Any) -> Provider:
    return Provider(name="p", base_url=base_url, **more)


def _upstream(
    respond: Callable[[httpx.Request], httpx.Response], *, bytes_max: int = 1 << 20, **more: Any
) -> Upstream:
    return Upstream(
        _provider(**more),
        transport=httpx.MockTransport(respond),
        response_bytes_max=bytes_max,
    )


async def _collect(upstream: Upstream, body: dict[str, Any]) -> list[dict[str, Any]]:
    return [chunk async for chunk in upstream.stream(body)]


# ------------------------------------------------------------------ over the real network


async def test_the_whole_and_the_streamed_answer_are_the_same() -> None:
    async with (
        ScriptedProvider([Rule(answer=Answer(content="one two three"))]) as provider,
        Upstream(_provider(provider.base_url)) as upstream,
    ):
        whole = await upstream.complete(ASK)
        chunks = await _collect(upstream, {**ASK, "stream_options": {"include_usage": True}})
        assert len(chunks) > 3
        streamed = merge_chunks(chunks)
        assert {**streamed, "id": 0} == {**whole, "id": 0}
        assert usage_of(streamed) == usage_of(whole) is not None
        assert [call.stream for call in provider.calls] == [False, True]


async def test_fields_it_does_not_know_pass_unharmed() -> None:
    body = {**ASK, "x_new": {"deep": [1, None, "é\ud800"]}, "temperature": 0.1, "stream": True}
    async with (
        ScriptedProvider() as provider,
        Upstream(_provider(provider.base_url)) as upstream,
    ):
        await upstream.complete({**body, "stream_options": {"include_usage": True}})
        await _collect(upstream, body)
        assert [call.body for call in provider.calls] == [{**body, "stream": False}, body]
    assert body["stream"] is True


async def test_key_and_headers_reach_the_provider() -> None:
    script = Script(api_key="sk-right")
    async with ScriptedProvider(script=script) as provider:
        right = _provider(provider.base_url, api_key=SecretStr("sk-right"))
        async with Upstream(right) as upstream:
            await upstream.complete(ASK, headers={"x-omium-scope": "e1/s2"})
        assert provider.calls[-1].scope == "e1/s2"
        async with Upstream(_provider(provider.base_url)) as upstream:
            with pytest.raises(ModelRefused) as refused:
                await upstream.complete(ASK)
        assert refused.value.status == 401
        assert "Incorrect API key" in refused.value.reason


@pytest.mark.parametrize("status", [400, 404, 422, 429])
async def test_a_refusal_carries_status_and_message(status: int) -> None:
    rule = Rule(answer=Answer(error=ErrorAnswer(status=status, message="because")))
    async with (
        ScriptedProvider([rule]) as provider,
        Upstream(_provider(provider.base_url)) as upstream,
    ):
        for call in (upstream.complete(ASK), _collect(upstream, ASK)):
            with pytest.raises(ModelRefused) as refused:
                await call
            assert (refused.value.status, refused.value.reason) == (status, "because")
            assert refused.value.model == "p/m"
        assert provider.received == 2


@pytest.mark.parametrize(
    "answer",
    [
        Answer(error=ErrorAnswer(status=500)),
        Answer(error=ErrorAnswer(status=503)),
        Answer(content="x" * 100, drop_after_chunks=0),
        Answer(content="x" * 100, drop_after_chunks=2),
        Answer(content="x" * 100, malformed=True),
    ],
    ids=["500", "503", "dropped before", "dropped within", "malformed"],
)
async def test_a_provider_in_trouble_is_unreachable_and_asked_once(answer: Answer) -> None:
    async with (
        ScriptedProvider([Rule(answer=answer)]) as provider,
        Upstream(_provider(provider.base_url)) as upstream,
    ):
        for call in (upstream.complete(ASK), _collect(upstream, ASK)):
            with pytest.raises(ModelUnreachable):
                await call
        assert provider.received == 2
        # The connection pool survives: the next call is answered.


async def test_the_chunks_before_a_break_arrive() -> None:
    rule = Rule(answer=Answer(content="abcdefgh", chunks=8, drop_after_chunks=3))
    async with (
        ScriptedProvider([rule]) as provider,
        Upstream(_provider(provider.base_url)) as upstream,
    ):
        seen: list[dict[str, Any]] = []
        with pytest.raises(ModelUnreachable, match="connection broke"):
            async for chunk in upstream.stream(ASK):
                seen.append(chunk)  # noqa: PERF401 - what came before the error counts
        assert merge_chunks(seen)["choices"][0]["message"]["content"] == "ab"


async def test_a_slow_provider_meets_the_time_out() -> None:
    rule = Rule(answer=Answer(delay_s=30))
    async with (
        ScriptedProvider([rule]) as provider,
        Upstream(_provider(provider.base_url, timeout_s=0.2)) as upstream,
    ):
        for call in (upstream.complete(ASK), _collect(upstream, ASK)):
            with pytest.raises(ModelUnreachable, match=r"no answer within 0\.2 s"):
                await call


async def test_a_stream_that_trickles_meets_the_time_out_too() -> None:
    rule = Rule(answer=Answer(content="x" * 100, chunks=100, chunk_delay_s=0.02))
    async with (
        ScriptedProvider([rule]) as provider,
        Upstream(_provider(provider.base_url, timeout_s=0.4)) as upstream,
    ):
        with pytest.raises(ModelUnreachable, match=r"no answer within 0\.4 s"):
            await _collect(upstream, ASK)


async def test_nobody_there_is_unreachable() -> None:
    async with ScriptedProvider() as provider:
        gone = provider.base_url
    async with Upstream(_provider(gone)) as upstream:
        with pytest.raises(ModelUnreachable, match="no connection to"):
            await upstream.complete(ASK)


async def test_a_proxy_is_for_what_lies_beyond_the_machine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with ScriptedProvider() as proxy, ScriptedProvider() as provider:
        monkeypatch.setenv("HTTP_PROXY", proxy.base_url.removesuffix("/v1"))
        monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.delenv("no_proxy", raising=False)
        async with Upstream(_provider(provider.base_url)) as upstream:
            await upstream.complete(ASK)
        assert (proxy.received, provider.received) == (0, 1)
        async with Upstream(_provider(BASE_URL)) as upstream:
            with pytest.raises(ModelRefused):
                await upstream.complete(ASK)
        assert provider.received == 1


async def test_the_model_named_by_the_rule_decides_over_one_connection_pool() -> None:
    rules = [Rule(when=When(model=name), answer=Answer(content=name)) for name in ("a", "b")]
    async with (
        ScriptedProvider(rules) as provider,
        Upstream(_provider(provider.base_url), connections_max=2) as upstream,
    ):
        names = ["a", "b"] * 10
        answers = await asyncio.gather(
            *(upstream.complete({**ASK, "model": name}) for name in names)
        )
        contents = [answer["choices"][0]["message"]["content"] for answer in answers]
        assert contents == names


async def test_leaving_a_stream_early_closes_its_connection() -> None:
    rule = Rule(answer=Answer(content="x" * 50, chunks=50, chunk_delay_s=30))
    async with (
        ScriptedProvider([rule]) as provider,
        Upstream(_provider(provider.base_url), connections_max=1) as upstream,
    ):
        for _ in range(3):
            stream = upstream.stream(ASK)
            await anext(stream)
            await stream.aclose()
        assert provider.received == 3


# ------------------------------------------------------------------ answers no server should give


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b'{"choices": 3}',
        b'{"id": "x"}',
        b"<html>",
        b"\xff\xfe",
        b'{"choices": [], "x": NaN}',
    ],
)
async def test_an_answer_that_is_none_is_unreachable(content: bytes) -> None:
    async with _upstream(lambda _: httpx.Response(200, content=content)) as upstream:
        with pytest.raises(ModelUnreachable):
            await upstream.complete(ASK)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b'{"choices": []}',
        b'data: {"id": "x", "choices": []}\n\n',
        b"data: [DONE]",
        b"data: {\n\n",
        b"data: 3\n\ndata: [DONE]\n\n",
    ],
)
async def test_a_stream_without_its_end_is_broken(content: bytes) -> None:
    async with _upstream(lambda _: httpx.Response(200, content=content)) as upstream:
        with pytest.raises(ModelUnreachable):
            await _collect(upstream, ASK)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        ({"message": "context too long", "code": 400}, ModelRefused),
        ({"message": "context too long", "code": 500}, ModelUnreachable),
        ({"message": "context too long"}, ModelUnreachable),
        ("context too long", ModelUnreachable),
    ],
)
async def test_an_error_within_a_stream_is_one(error: Any, expected: type[Exception]) -> None:
    content = b"data: " + json.dumps({"error": error}).encode() + b"\n\ndata: [DONE]\n\n"
    async with _upstream(lambda _: httpx.Response(200, content=content)) as upstream:
        with pytest.raises(expected, match="context too long"):
            await _collect(upstream, ASK)


class _Endless(httpx.AsyncByteStream):
    def __init__(self, block: bytes) -> None:
        self.block = block
        self.sent = 0

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            self.sent += len(self.block)
            yield self.block


@pytest.mark.parametrize("block", [b"x" * 1000, b'data: {"a":1}\n\n', b": ping\n\n"])
async def test_an_endless_answer_meets_its_bound(block: bytes) -> None:
    endless = _Endless(block)
    answer = httpx.Response(200, stream=endless)
    async with _upstream(lambda _: answer, bytes_max=50_000) as upstream:
        for call in (upstream.complete(ASK), _collect(upstream, ASK)):
            endless.sent = 0
            with pytest.raises(ModelUnreachable, match="50000 bytes"):
                await call
            assert endless.sent < 60_000
            answer = httpx.Response(200, stream=endless)


async def test_an_endless_refusal_meets_its_bound() -> None:
    endless = _Endless(b"x" * 1000)
    async with _upstream(lambda _: httpx.Response(400, stream=endless)) as upstream:
        with pytest.raises(ModelRefused) as refused:
            await upstream.complete(ASK)
    assert endless.sent < 100_000
    assert len(str(refused.value)) < 1000


async def test_a_compression_bomb_meets_the_bound() -> None:
    bomb = gzip.compress(b" " * 5_000_000)
    headers = {"content-encoding": "gzip"}
    async with _upstream(
        lambda _: httpx.Response(200, content=bomb, headers=headers), bytes_max=100_000
    ) as upstream:
        with pytest.raises(ModelUnreachable, match="100000 bytes"):
            await upstream.complete(ASK)


async def test_a_redirect_is_not_followed() -> None:
    asked: list[str] = []

    def respond(request: httpx.Request) -> httpx.Response:
        asked.append(str(request.url))
        return httpx.Response(307, headers={"location": "http://elsewhere.invalid/"})

    async with _upstream(respond, api_key=SecretStr("sk")) as upstream:
        with pytest.raises(ModelRefused, match=r"redirects to 'http://elsewhere\.invalid/'"):
            await upstream.complete(ASK)
    assert asked == [f"{BASE_URL}/chat/completions"]


async def test_a_request_that_is_not_json_is_the_callers_mistake() -> None:
    async with _upstream(lambda _: httpx.Response(200)) as upstream:
        with pytest.raises(InputError, match="cannot be written as JSON"):
            await upstream.complete({**ASK, "x": float("nan")})


# ------------------------------------------------------------------ gathered from streams

SCHEMA = {"type": "object", "properties": {"apr": {"type": "number", "minimum": 2}}}
GUIDED = {"type": "json_schema", "json_schema": {"name": "a", "strict": True, "schema": SCHEMA}}
TOOL = {"type": "function", "function": {"name": "rate", "parameters": SCHEMA}}


@pytest.mark.parametrize(
    ("answer", "more"),
    [
        (Answer(content="one two three four", prompt_tokens=7, completion_tokens=4), {}),
        (Answer(content=""), {"n": 2}),
        (Answer(auto=True), {"response_format": GUIDED}),
        (Answer(content="cut", finish_reason="length"), {"max_tokens": 1, "stream": None}),
        (
            Answer(
                tool_calls=(
                    ToolCall(name="rate", arguments={"apr": 5.5}, id="call_1"),
                    ToolCall(name="rate", arguments="{not JSON", id="call_2"),
                )
            ),
            {"tools": [TOOL], "tool_choice": "auto"},
        ),
    ],
    ids=["text", "nothing", "guided", "cut off", "tools"],
)
async def test_a_gathered_answer_is_the_whole_one(answer: Answer, more: dict[str, Any]) -> None:
    seen: list[dict[str, Any]] = []
    async with (
        ScriptedProvider([Rule(answer=answer)]) as provider,
        Upstream(_provider(provider.base_url)) as upstream,
    ):
        whole = await upstream.complete({**ASK, **more})
        gathered = await upstream.gather({**ASK, **more}, seen.append)
        assert {**gathered, "id": 0} == {**whole, "id": 0}
        assert usage_of(gathered) is not None
        assert len(seen) > 2
        assert [call.stream for call in provider.calls] == [False, True]


async def test_where_no_stream_may_be_asked_for_whole_answers_are() -> None:
    async with ScriptedProvider() as provider:
        async with Upstream(_provider(provider.base_url, stream=False)) as upstream:
            await upstream.gather(ASK, _never)
        async with Upstream(_provider(provider.base_url)) as upstream:
            await upstream.gather({**ASK, "modalities": ["text", "audio"]}, _never)
        assert [call.stream for call in provider.calls] == [False, False]


@pytest.mark.parametrize("status", [400, 422])
async def test_a_model_that_refuses_streams_is_asked_for_whole_answers(status: int) -> None:
    refusal = ErrorAnswer(status=status, message="must be verified to stream this model")
    rules = [Rule(when=When(stream=True, model="m"), answer=Answer(error=refusal))]
    async with (
        ScriptedProvider(rules) as provider,
        Upstream(_provider(provider.base_url)) as upstream,
    ):
        for _ in range(2):
            assert (await upstream.gather(ASK, _never))["choices"]
        await upstream.gather({**ASK, "model": "other"}, _forgotten)
        assert [call.stream for call in provider.calls] == [True, False, False, True]


async def test_any_other_refusal_is_one_and_asked_for_once() -> None:
    for status, message in ((400, "too long"), (401, "no key to stream with"), (429, "stream on")):
        rule = Rule(answer=Answer(error=ErrorAnswer(status=status, message=message)))
        async with (
            ScriptedProvider([rule]) as provider,
            Upstream(_provider(provider.base_url)) as upstream,
        ):
            with pytest.raises(ModelRefused, match=message):
                await upstream.gather(ASK, _never)
            assert provider.received == 1


async def test_a_provider_that_answers_a_stream_whole_is_understood() -> None:
    completion = {
        "id": "c",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "one two"},
                "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3},
    }
    seen: list[dict[str, Any]] = []
    async with _upstream(lambda _: httpx.Response(200, json=completion)) as upstream:
        assert await upstream.gather(ASK, seen.append) == completion
    assert len(seen) > 2
    async with _upstream(lambda _: httpx.Response(200, json={"choices": None})) as upstream:
        with pytest.raises(ModelUnreachable, match="no choices"):
            await upstream.gather(ASK, _never)


async def test_a_model_that_leaves_the_usage_out_of_streams_is_asked_for_whole_answers() -> None:
    asked: list[bool] = []

    def respond(request: httpx.Request) -> httpx.Response:
        asked.append(json.loads(request.content)["stream"])
        chunk = {"id": "c", "choices": [{"index": 0, "delta": {"content": "x"}}]}
        if asked[-1]:
            events = f"data: {json.dumps(chunk)}\n\ndata: [DONE]\n\n"
            return httpx.Response(200, text=events, headers={"content-type": "text/event-stream"})
        return httpx.Response(200, json={"choices": []})

    async with _upstream(respond) as upstream:
        await upstream.gather(ASK, _forgotten)
        await upstream.gather(ASK, _never)
    assert asked == [True, False]


async def test_a_stream_that_breaks_off_is_no_answer() -> None:
    for answer in (
        Answer(content="x" * 100, drop_after_chunks=2),
        Answer(content="x" * 100, malformed=True),
    ):
        async with (
            ScriptedProvider([Rule(answer=answer)]) as provider,
            Upstream(_provider(provider.base_url)) as upstream,
        ):
            with pytest.raises(ModelUnreachable):
                await upstream.gather(ASK, _forgotten)
            assert provider.received == 1


def _never(chunk: dict[str, Any]) -> None:
    raise AssertionError(f"nobody asked for a stream: {chunk}")


def _forgotten(_: dict[str, Any]) -> None:
    pass
