"""The gateway over HTTP: answers, errors, and what it does with the journal."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from msgspec.structs import replace

from omium.actors import messages as m
from omium.clock import ManualClock
from omium.execution.events import CallCompleted, CallFailed, CallIntended, type_of
from omium.frameworks.scope import CONTROL_HEADER, ERROR_HEADER, SCOPE_HEADER, Scope, encode_scope
from omium.llm.wire import merge_chunks
from omium.serve import gateway as gateway_module
from omium.testing.runtime import QUICK
from omium.testing.scripted import Answer, ErrorAnswer, Rule, When
from tests.actors.gates import gate
from tests.actors.hand_made import HandMadeWorker
from tests.actors.stage import MODEL, Stage, stage

HELLO: dict[str, Any] = {"model": MODEL, "messages": [{"role": "user", "content": "hello"}]}


@dataclass(kw_only=True)
class Caller:
    """Somebody who holds a lease and calls the gateway as the hook does."""

    http: httpx.AsyncClient
    lease: m.Lease
    scope: Scope

    async def post(self, body: Any = HELLO, **changes: Any) -> httpx.Response:
        scope = replace(self.scope, **changes)
        return await self.http.post(
            "/v1/chat/completions", json=body, headers={SCOPE_HEADER: encode_scope(scope)}
        )

    @asynccontextmanager
    async def stream(self, body: Any = HELLO, **changes: Any) -> AsyncIterator[AsyncIterator[str]]:
        """The data of the events that answer ``body``."""
        headers = {SCOPE_HEADER: encode_scope(replace(self.scope, **changes))}
        wanted = {**body, "stream": True}
        async with self.http.stream(
            "POST", "/v1/chat/completions", json=wanted, headers=headers
        ) as response:
            assert response.status_code == 200, await response.aread()
            yield (line.removeprefix("data: ") async for line in response.aiter_lines() if line)


@asynccontextmanager
async def http_of(s: Stage, key: str | None = None) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(
        base_url=s.runtime.gateway_url,
        headers={"authorization": f"Bearer {key or s.runtime.api_key}"},
        timeout=20,
    ) as http:
        yield http


@asynccontextmanager
async def caller(s: Stage) -> AsyncIterator[Caller]:
    async with HandMadeWorker(s.runtime) as worker, http_of(s, f"{s.runtime.api_key}.1") as http:
        await s.do()
        lease = await worker.leased()
        scope = Scope(
            tenant=lease.tenant,
            execution_id=lease.execution_id,
            agent=lease.agent,
            epoch=lease.epoch,
            step="0",
            scope="0",
            ordinal=0,
            occurrence=0,
        )
        yield Caller(http=http, lease=lease, scope=scope)


def said(response: httpx.Response) -> str:
    assert response.status_code == 200, response.text
    return response.json()["choices"][0]["message"]["content"]


def text_of(chunks: list[str]) -> str:
    assert chunks[-1] == "[DONE]"
    whole = merge_chunks([json.loads(chunk) for chunk in chunks[:-1]])
    return whole["choices"][0]["message"]["content"]


async def entries_of(s: Stage, lease: m.Lease) -> list[Any]:
    page = await s.client.view(lease.execution_id)
    assert s.runtime.replica is not None
    entries = s.runtime.replica.journal.entries(lease.execution_id)
    assert len(entries) == page.row.last_index
    return [entry.event for entry in entries]


# ------------------------------------------------------------------ answers


async def test_a_call_is_journaled_once_and_answered_from_the_journal_after(
    tmp_path: Path,
) -> None:
    answer = Answer(content="hi", prompt_tokens=11, completion_tokens=3)
    async with stage(tmp_path, [Rule(answer=answer)]) as s, caller(s) as c:
        first, second = await c.post(), await c.post()
        assert said(first) == said(second) == "hi"
        assert first.json() == second.json()
        assert first.headers["x-omium-source"] == MODEL
        assert second.headers["x-omium-source"] == "journal"
        events = await entries_of(s, c.lease)
    (intended,) = [event for event in events if isinstance(event, CallIntended)]
    (completed,) = [event for event in events if isinstance(event, CallCompleted)]
    assert intended.request.inline == HELLO
    assert completed.call == events.index(intended) + 1
    assert (completed.usage.prompt_tokens, completed.usage.completion_tokens) == (11, 3)
    assert completed.usage.cost_micros is None
    assert completed.served_by == MODEL
    assert s.provider.received == 1


async def test_another_occurrence_step_or_request_is_another_call(tmp_path: Path) -> None:
    async with stage(tmp_path) as s, caller(s) as c:
        await c.post()
        await c.post(occurrence=1, ordinal=1)
        await c.post(step="1", scope="1")
        await c.post({**HELLO, "temperature": 0.5}, ordinal=2)
    assert s.provider.received == 4


async def test_a_recorded_answer_is_streamed_and_a_streamed_one_given_whole(
    tmp_path: Path,
) -> None:
    answer = Answer(content="one two three", prompt_tokens=4, completion_tokens=3)
    async with stage(tmp_path, [Rule(answer=answer)]) as s, caller(s) as c:
        async with c.stream() as chunks:
            assert text_of([chunk async for chunk in chunks]) == "one two three"
        whole = await c.post()
        assert said(whole) == "one two three"
        # The usage was asked of the provider although the caller did not want it.
        assert whole.json()["usage"]["completion_tokens"] == 3
        async with c.stream() as chunks:
            replayed = [chunk async for chunk in chunks]
            assert text_of(replayed) == "one two three"
            assert all(json.loads(chunk)["choices"] for chunk in replayed[:-1])
        async with c.stream({**HELLO, "stream_options": {"include_usage": True}}) as chunks:
            *_, last, _done = [chunk async for chunk in chunks]
            assert json.loads(last)["usage"]["completion_tokens"] == 3
    assert s.provider.received == 1


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_equal_requests_under_way_are_one_call(tmp_path: Path, stream: bool) -> None:
    with gate() as upstream:

        def held_answer(_: dict[str, Any]) -> Answer:
            upstream.hold()
            return Answer(content="shared")

        async with stage(tmp_path, [Rule(answer=held_answer)]) as s, caller(s) as c:

            async def streamed() -> str:
                async with c.stream() as chunks:
                    return text_of([chunk async for chunk in chunks])

            async def whole() -> str:
                return said(await c.post())

            first = asyncio.create_task(streamed() if stream else whole())
            await upstream.reached()
            others = [asyncio.create_task(ask()) for ask in (whole, streamed, whole)]
            # Those who wait have arrived once the gateway has answered somebody who came later.
            assert (await c.http.get("/healthz")).json() == {"status": "ok", "flights": 1}
            upstream.open()
            assert await asyncio.gather(first, *others) == ["shared"] * 4
            events = await entries_of(s, c.lease)
    assert [type_of(e) for e in events if type_of(e).startswith("call.")] == [
        "call.intended",
        "call.completed",
    ]
    assert s.provider.received == 1


async def test_a_stream_is_not_whole_before_it_is_on_record(tmp_path: Path) -> None:
    answer = Answer(content="one two three four", chunks=2)
    with gate() as upstream:

        def held_answer(_: dict[str, Any]) -> Answer:
            upstream.hold()
            return answer

        async with stage(tmp_path, [Rule(answer=held_answer)]) as s, caller(s) as c:
            async with asyncio.timeout(20):
                came: list[str] = []
                reading = asyncio.create_task(_read(c, came))
                await upstream.reached()
                await s.runtime.stop_coordinator()
                upstream.open()
                await asyncio.to_thread(s.provider.wait, answered=1)
                done, _ = await asyncio.wait([reading], timeout=0.3)
                assert not done
                # Text has come, and nothing that says that it was all.
                so_far = [json.loads(chunk)["choices"][0] for chunk in came]
                assert "".join(c["delta"].get("content") or "" for c in so_far)
                assert [c["finish_reason"] for c in so_far] == [None] * len(so_far)
                await s.runtime.start_coordinator()
                await reading
                assert text_of(came) == "one two three four"


async def _read(c: Caller, came: list[str]) -> None:
    async with c.stream() as chunks:
        async for chunk in chunks:
            came.append(chunk)  # noqa: PERF401 (looked at while it grows)


async def test_the_caller_may_go_and_the_answer_is_recorded(tmp_path: Path) -> None:
    with gate() as upstream:

        def held_answer(_: dict[str, Any]) -> Answer:
            upstream.hold()
            return Answer(content="kept")

        async with stage(tmp_path, [Rule(answer=held_answer)]) as s, caller(s) as c:
            asking = asyncio.create_task(c.post())
            await upstream.reached()
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
            upstream.open()
            again = await c.post()
            assert said(again) == "kept"
    assert s.provider.received == 1


async def test_anyone_with_a_key_may_ask_without_an_execution(tmp_path: Path) -> None:
    async with stage(tmp_path) as s, http_of(s) as http:
        response = await http.post("/v1/chat/completions", json=HELLO)
        assert said(response) == "echo: hello"
        again = await http.post("/v1/chat/completions", json=HELLO)
        assert again.headers["x-omium-source"] == MODEL
    assert s.provider.received == 2


# ------------------------------------------------------------------ errors


def refused(response: httpx.Response, status: int, kind: str) -> str:
    """The message of an error in OpenAI's shape."""
    assert response.status_code == status, response.text
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["type"] == kind
    # The runtime retries, knowingly; an SDK must not.
    assert response.headers["x-should-retry"] == "false"
    return error["message"]


@pytest.mark.parametrize("key", ["Bearer wrong", "Bearer wrong.1", "Bearer .", "Basic eDp5"])
async def test_an_unknown_key_is_refused(tmp_path: Path, key: str) -> None:
    async with stage(tmp_path) as s, http_of(s) as http:
        headers = {"authorization": key}
        response = await http.post("/v1/chat/completions", json=HELLO, headers=headers)
        assert "does not know that key" in refused(response, 401, "model_refused")
    assert s.provider.received == 0


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "not a JSON object"),
        (b"{", "not a JSON object"),
        (b"[]", "not a JSON object"),
        (b'{"messages": [NaN]}', "not a JSON object"),
        (b'"\xff"', "not a JSON object"),
        (b"[" * 100_000, "not a JSON object"),
        (b"{}", "no list of messages"),
        (b'{"messages": "hello"}', "no list of messages"),
    ],
)
async def test_what_is_no_request_is_refused(tmp_path: Path, content: bytes, reason: str) -> None:
    async with stage(tmp_path) as s, http_of(s) as http:
        response = await http.post("/v1/chat/completions", content=content)
        assert reason in refused(response, 400, "input")


async def test_a_request_that_is_too_large_is_refused(tmp_path: Path) -> None:
    async with stage(tmp_path) as s, http_of(s) as http:
        content = b'{"messages": ["' + b"x" * gateway_module.BODY_BYTES_MAX + b'"]}'
        response = await http.post("/v1/chat/completions", content=content)
        assert "over 4194304 bytes" in refused(response, 413, "model_refused")
    assert s.provider.received == 0


async def test_an_unknown_model_is_named(tmp_path: Path) -> None:
    async with stage(tmp_path) as s, http_of(s) as http:
        for stream in (False, True):
            body = {**HELLO, "model": "nowhere/gpt", "stream": stream}
            response = await http.post("/v1/chat/completions", json=body)
            assert "no model provider 'nowhere'" in refused(response, 404, "not_found")


@pytest.mark.parametrize("header", ["!!", "e30=", "x" * 5_000])
async def test_a_scope_that_is_none_is_refused(tmp_path: Path, header: str) -> None:
    async with stage(tmp_path) as s, http_of(s) as http:
        response = await http.post(
            "/v1/chat/completions", json=HELLO, headers={SCOPE_HEADER: header}
        )
        assert SCOPE_HEADER in refused(response, 400, "input")


async def test_the_key_of_an_attempt_that_is_over_is_refused(tmp_path: Path) -> None:
    async with stage(tmp_path) as s, http_of(s, f"{s.runtime.api_key}.7") as http:
        response = await http.post("/v1/chat/completions", json=HELLO)
        assert "attempt is over" in refused(response, 409, "attempt_fenced")
        assert response.headers[CONTROL_HEADER] == "fenced"
    assert s.provider.received == 0


async def test_a_stale_attempt_is_refused_and_nothing_is_asked(tmp_path: Path) -> None:
    clock = ManualClock()
    async with stage(tmp_path, clock=clock) as s, caller(s) as c:
        clock.advance(QUICK.heartbeat_timeout_s + 100)
        await s.result(c.lease.execution_id)
        before = await entries_of(s, c.lease)
        for stream in (False, True):
            response = await c.post({**HELLO, "stream": stream})
            assert "superseded" in refused(response, 409, "attempt_fenced")
            assert response.headers[CONTROL_HEADER] == "fenced"
        assert await entries_of(s, c.lease) == before
    assert s.provider.received == 0


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_who_joins_what_came_too_late_for_an_earlier_attempt_is_answered(
    tmp_path: Path, stream: bool
) -> None:
    patient = dataclasses.replace(QUICK, heartbeat_timeout_s=600.0, reconnect_grace_s=600.0)
    async with stage(tmp_path, settings=patient) as s, caller(s) as c, asyncio.timeout(20):
        await s.runtime.stop_coordinator()
        # Nobody can say yet that this one is superseded.
        late = asyncio.create_task(c.post(epoch=c.scope.epoch - 1))
        while (await c.http.get("/healthz")).json()["flights"] == 0:
            pass
        asking = asyncio.create_task(c.post({**HELLO, "stream": stream}))
        assert (await c.http.get("/healthz")).json()["flights"] == 1
        await s.runtime.start_coordinator()
        assert "superseded" in refused(await late, 409, "attempt_fenced")
        answered = await asking
        assert answered.status_code == 200
    assert s.provider.received == 1


async def test_a_call_that_failed_is_recorded_and_made_again_when_asked(tmp_path: Path) -> None:
    broken = Answer(error=ErrorAnswer(status=503, message="overloaded"))
    rules = [Rule(answer=broken, times=1), Rule(answer=Answer(content="better"))]
    async with stage(tmp_path, rules) as s, caller(s) as c:
        response = await c.post()
        assert "overloaded" in refused(response, 502, "model_unreachable")
        assert json.loads(response.headers[ERROR_HEADER])[0] == "model_unreachable"
        assert said(await c.post()) == "better"
        events = await entries_of(s, c.lease)
    (failed,) = [event for event in events if isinstance(event, CallFailed)]
    assert failed.failure.kind == "model_unreachable"
    assert s.provider.received == 2


async def test_calls_under_way_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateway_module, "FLIGHTS_MAX", 2)
    with gate() as upstream:

        def held_answer(_: dict[str, Any]) -> Answer:
            upstream.hold()
            return Answer(content="x")

        async with stage(tmp_path, [Rule(answer=held_answer)]) as s, http_of(s) as http:
            ask = [http.post("/v1/chat/completions", json=HELLO) for _ in range(2)]
            under_way = [asyncio.create_task(one) for one in ask]
            async with asyncio.timeout(10):
                while (await http.get("/healthz")).json()["flights"] < 2:
                    pass
            third = await http.post("/v1/chat/completions", json=HELLO)
            assert "2 calls are under way" in refused(third, 502, "model_unreachable")
            upstream.open()
            assert [said(await one) for one in under_way] == ["x", "x"]


async def test_a_stream_that_breaks_off_ends_in_an_error(tmp_path: Path) -> None:
    broken = Rule(when=When(stream=True), answer=Answer(content="one two", drop_after_chunks=2))
    async with stage(tmp_path, [broken]) as s, caller(s) as c:
        async with c.stream() as chunks:
            *_, last = [json.loads(chunk) async for chunk in chunks]
        assert last["error"]["type"] == "model_unreachable"
        events = await entries_of(s, c.lease)
    assert [type_of(e) for e in events if type_of(e).startswith("call.")] == [
        "call.intended",
        "call.failed",
    ]
