from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from omium.errors import (
    Conflict,
    CorruptRecord,
    DeadlineExceeded,
    InputError,
    StorageUnwritable,
    Unavailable,
)
from omium.testing.call_log import CallLog, RecordedCall
from omium.testing.scripted import (
    Answer,
    ErrorAnswer,
    Rule,
    Script,
    ScriptedProvider,
    ToolCall,
    When,
    load_script,
    read_calls,
)

SCHEMA = {
    "type": "object",
    "properties": {
        "apr": {"type": "number", "minimum": 2.5, "maximum": 8.5},
        "risk": {"enum": ["low", "high"]},
        "kind": {"const": "loan"},
    },
    "required": ["apr", "risk", "kind"],
    "additionalProperties": False,
}
VALUE = {"apr": 2.5, "risk": "low", "kind": "loan"}


def _client(base_url: str, key: str = "none") -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=base_url, api_key=key, max_retries=0, timeout=20)


async def _say(client: openai.AsyncOpenAI, text: str = "hello", **more: Any) -> Any:
    messages = [{"role": "user", "content": text}]
    return await client.chat.completions.create(model="m", messages=messages, **more)  # type: ignore[call-overload]


async def _content(client: openai.AsyncOpenAI, text: str, **more: Any) -> str:
    return (await _say(client, text, **more)).choices[0].message.content


# ------------------------------------------------------------------ rules


async def test_without_a_rule_it_echoes() -> None:
    async with ScriptedProvider() as provider, _client(provider.base_url) as client:
        answer = await _say(client, "hello")
        assert answer.choices[0].message.content == "echo: hello"
        assert answer.choices[0].finish_reason == "stop"
        assert answer.usage.total_tokens == (
            answer.usage.prompt_tokens + answer.usage.completion_tokens
        )


async def test_rules_match_in_order_and_are_used_up() -> None:
    rules = [
        Rule(when=When(contains="loan"), answer=Answer(content="first"), times=2),
        Rule(when=When(matches=r"lo.n\b"), answer=Answer(content={"n": 1})),
        Rule(when=When(model="other"), answer=Answer(content="other")),
        Rule(when=When(stream=True), answer=Answer(content="streamed")),
        Rule(
            when=When(predicate=lambda body: body.get("seed") == 7),
            answer=lambda body: Answer(content=f"seed {body['seed']}"),
        ),
    ]
    async with ScriptedProvider(rules) as provider, _client(provider.base_url) as client:
        said = [await _content(client, "a loan") for _ in range(3)]
        assert said == ["first", "first", '{"n": 1}']
        assert await _content(client, "x", seed=7) == "seed 7"
        assert await _content(client, "x") == "echo: x"
        await asyncio.to_thread(provider.wait, answered=5)
        assert [call.rule for call in provider.calls] == [0, 0, 1, 4, None]


async def test_rules_see_all_messages_and_count_tool_results() -> None:
    rules = [
        Rule(when=When(any_contains="you are"), answer=Answer(content="system seen")),
        Rule(when=When(any_matches="^res"), answer=Answer(content="result seen")),
        Rule(when=When(tool_messages=0), answer=Answer(content="none yet")),
    ]
    parts = [{"type": "text", "text": "in parts"}]
    async with ScriptedProvider(rules) as provider, httpx.AsyncClient() as http:

        async def ask(*messages: dict[str, Any]) -> str:
            answer = await http.post(
                f"{provider.base_url}/chat/completions", json={"messages": messages}
            )
            return answer.json()["choices"][0]["message"]["content"]

        assert await ask({"role": "system", "content": "you are"}) == "system seen"
        assert await ask({"role": "tool", "content": "result"}) == "result seen"
        assert await ask({"role": "user", "content": parts}) == "none yet"
        last = ({"role": "user", "content": parts}, {"role": "tool", "content": "1"})
        assert await ask(*last) == "echo: in parts"


# ------------------------------------------------------------------ answers


async def test_tool_calls_whole_and_streamed() -> None:
    calls = (
        ToolCall(name="apr", arguments={"years": 1}),
        ToolCall(name="note", arguments="{broken", id="mine"),
    )
    rules = [Rule(answer=Answer(tool_calls=calls, chunks=3))]
    async with ScriptedProvider(rules) as provider, _client(provider.base_url) as client:
        answer = await _say(client)
        assert answer.choices[0].finish_reason == "tool_calls"
        apr, note = answer.choices[0].message.tool_calls
        assert (apr.function.name, json.loads(apr.function.arguments)) == ("apr", {"years": 1})
        assert (note.id, note.function.arguments) == ("mine", "{broken")
        messages: Any = [{"role": "user", "content": "x"}]
        async with client.chat.completions.stream(model="m", messages=messages) as stream:
            final = await stream.get_final_completion()
        streamed = final.choices[0].message.tool_calls
        assert streamed is not None
        assert [call.function.arguments for call in streamed] == ['{"years": 1}', "{broken"]


@pytest.mark.parametrize("wanted", [True, False])
async def test_a_stream_has_its_pieces_and_its_usage_when_asked_for(wanted: bool) -> None:
    rules = [Rule(answer=Answer(content="abcdef", chunks=3, prompt_tokens=11))]
    more: dict[str, Any] = {"stream_options": {"include_usage": True}} if wanted else {}
    async with ScriptedProvider(rules) as provider, _client(provider.base_url) as client:
        chunks = [chunk async for chunk in await _say(client, stream=True, **more)]
    texts = [c.choices[0].delta.content for c in chunks if c.choices]
    assert texts == ["", "ab", "cd", "ef", None]
    usages = [chunk.usage.prompt_tokens for chunk in chunks if chunk.usage]
    assert usages == ([11] if wanted else [])


async def test_errors_come_in_openais_shape() -> None:
    rules = [
        Rule(when=When(contains="429"), answer=Answer(error=ErrorAnswer(status=429))),
        Rule(when=When(contains="503"), answer=Answer(error=ErrorAnswer(status=503, body={}))),
    ]
    script = Script(rules=tuple(rules), models=("m",), only_models=True, api_key="right")
    async with ScriptedProvider(script=script) as provider:
        async with _client(provider.base_url, "right") as client:
            with pytest.raises(openai.RateLimitError, match="scripted error"):
                await _say(client, "429")
            with pytest.raises(openai.InternalServerError):
                await _say(client, "503")
            with pytest.raises(openai.NotFoundError) as caught:
                await client.chat.completions.create(
                    model="gpt", messages=[{"role": "user", "content": "x"}]
                )
            assert caught.value.code == "model_not_found"
            assert [model.id async for model in client.models.list()] == ["m"]
            assert (await client.models.retrieve("m")).id == "m"
            with pytest.raises(openai.NotFoundError):
                await client.models.retrieve("gpt")
            with pytest.raises(openai.NotFoundError) as caught:
                await client.embeddings.create(model="m", input="x")
            assert caught.value.code == "unknown_url"
        async with _client(provider.base_url, "wrong") as client:
            with pytest.raises(openai.AuthenticationError):
                await _say(client)
            with pytest.raises(openai.AuthenticationError):
                await client.models.list()
        await asyncio.to_thread(provider.wait, answered=4)
        assert [call.status for call in provider.calls] == [429, 503, 404, 401]


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", b'{"messages": []}', b"\xff"])
async def test_a_request_that_is_none_is_refused_and_counted(content: bytes) -> None:
    async with ScriptedProvider() as provider, httpx.AsyncClient() as http:
        answer = await http.post(f"{provider.base_url}/chat/completions", content=content)
        assert answer.status_code == 400
        assert answer.json()["error"]["type"] == "invalid_request_error"
        await asyncio.to_thread(provider.wait, answered=1)
        assert (provider.received, provider.calls[0].status) == (1, 400)


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("after", [0, 1, 100])
async def test_a_dropped_answer_never_looks_whole(stream: bool, after: int) -> None:
    rules = [Rule(answer=Answer(content="abcdef", drop_after_chunks=after), times=1)]
    body = {"messages": [{"role": "user", "content": "x"}], "stream": stream}
    async with ScriptedProvider(rules) as provider, httpx.AsyncClient() as http:
        url = f"{provider.base_url}/chat/completions"
        with pytest.raises(httpx.RemoteProtocolError):
            await http.post(url, json=body)
        assert (await http.post(url, json=body)).status_code == 200
        await asyncio.to_thread(provider.wait, answered=2)
        assert [call.sent for call in provider.calls] == [False, True]


@pytest.mark.parametrize("stream", [True, False])
async def test_malformed_answers_are_malformed(stream: bool) -> None:
    rules = [Rule(answer=Answer(content="abcdef", malformed=True))]
    async with ScriptedProvider(rules) as provider, _client(provider.base_url) as client:
        with pytest.raises(ValueError, match=r"delimiter|value|Expecting"):
            answer = await _say(client, stream=stream)
            if stream:
                async for _ in answer:
                    pass


async def test_a_delay_is_waited_out_and_stopping_cuts_it_short() -> None:
    clock = asyncio.get_running_loop()
    rules = [
        Rule(answer=Answer(content="late", delay_s=0.3), times=1),
        Rule(answer=Answer(delay_s=600)),
    ]
    async with _client("http://127.0.0.1:1/v1") as client:
        async with ScriptedProvider(rules) as provider:
            client.base_url = provider.base_url
            began = clock.time()
            assert await _content(client, "x") == "late"
            assert clock.time() - began >= 0.29
            waiting = asyncio.create_task(_say(client))
            await asyncio.to_thread(provider.wait, received=2, answered=1)
            began = clock.time()
        assert clock.time() - began < 5
        with pytest.raises(openai.APIConnectionError):
            await waiting
        assert [call.sent for call in provider.calls] == [True, False]


# ------------------------------------------------------------------ guided answers


async def test_auto_satisfies_a_schema() -> None:
    format_: Any = {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}}
    rules = [Rule(answer=Answer(auto=True, content="free"))]
    async with ScriptedProvider(rules) as provider, _client(provider.base_url) as client:
        assert json.loads(await _content(client, "x", response_format=format_)) == VALUE
        assert await _content(client, "x", response_format={"type": "json_object"}) == "{}"
        assert await _content(client, "x") == "free"


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "apr"}}])
async def test_auto_calls_the_tool_that_is_forced(choice: Any) -> None:
    tools = [{"type": "function", "function": {"name": "apr", "parameters": SCHEMA}}]
    rules = [Rule(answer=Answer(auto=True, content="free"))]
    async with ScriptedProvider(rules) as provider, _client(provider.base_url) as client:
        answer = await _say(client, tools=tools, tool_choice=choice)
        (call,) = answer.choices[0].message.tool_calls
        assert (call.function.name, json.loads(call.function.arguments)) == ("apr", VALUE)
        assert await _content(client, "x", tools=tools, tool_choice="auto") == "free"


async def test_auto_says_when_it_cannot() -> None:
    schema = {"type": "string", "pattern": "^A+$"}
    format_: Any = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    rules = [Rule(answer=Answer(auto=True))]
    async with ScriptedProvider(rules) as provider, _client(provider.base_url) as client:
        with pytest.raises(openai.InternalServerError, match="no minimal value"):
            await _say(client, response_format=format_)


# ------------------------------------------------------------------ life and record


async def test_calls_are_recorded_in_memory_and_in_the_file(tmp_path: Path) -> None:
    log = tmp_path / "calls.jsonl"
    scope = {"x-omium-scope": "e1/a/3"}
    async with ScriptedProvider(log=log) as provider, _client(provider.base_url) as client:
        await _say(client, "x", extra_headers=scope)
        async for _ in await _say(client, "x", stream=True):
            pass
        await _say(client, "y")
        await asyncio.to_thread(provider.wait, answered=3)
        calls = provider.calls
        assert calls[0].body["messages"][0]["content"] == "x"
    assert read_calls(log) == calls
    assert [call.scope for call in calls] == ["e1/a/3", None, None]
    assert [(call.status, call.sent, call.stream) for call in calls] == [
        (200, True, False),
        (200, True, True),
        (200, True, False),
    ]
    one, same, other = (call.digest for call in calls)
    assert one == same != other


async def test_a_client_that_left_did_not_get_its_answer() -> None:
    rules = [Rule(answer=Answer(content="late", delay_s=0.3))]
    async with ScriptedProvider(rules) as provider:
        with pytest.raises(httpx.ReadTimeout):
            async with httpx.AsyncClient(timeout=0.1) as http:
                await http.post(
                    f"{provider.base_url}/chat/completions",
                    json={"messages": [{"role": "user", "content": "x"}]},
                )
        await asyncio.to_thread(provider.wait, answered=1)
        assert provider.calls[0].sent is False


def test_waiting_for_calls_has_a_limit() -> None:
    with ScriptedProvider() as provider:
        provider.wait(received=0)
        with pytest.raises(DeadlineExceeded, match="1 calls received"):
            provider.wait(received=1, timeout_s=0.05)


async def test_a_request_is_in_the_file_before_it_is_answered(tmp_path: Path) -> None:
    log = tmp_path / "log"
    rules = [Rule(answer=Answer(delay_s=600))]
    async with ScriptedProvider(rules, log=log) as provider, _client(provider.base_url) as client:
        asking = asyncio.create_task(_say(client))
        await asyncio.to_thread(provider.wait, received=1)
        (call,) = read_calls(log)
        assert (call.status, call.sent) == (None, None)
        asking.cancel()


def test_it_is_a_plain_context_manager_too() -> None:
    provider = ScriptedProvider()
    with provider, openai.OpenAI(base_url=provider.base_url, api_key="x", max_retries=0) as client:
        assert [model.id for model in client.models.list()] == ["scripted"]
    with pytest.raises(Unavailable):
        _ = provider.base_url
    provider.stop()
    with pytest.raises(Conflict):
        provider.start()


def test_a_port_that_is_taken_and_a_log_that_cannot_be_written(tmp_path: Path) -> None:
    with ScriptedProvider() as provider:
        port = int(provider.base_url.split(":")[2].partition("/")[0])
        with pytest.raises(InputError, match=f"port {port}"):
            ScriptedProvider(port=port).start()
    with ScriptedProvider(port=port) as provider:
        assert provider.base_url.endswith(f":{port}/v1")
    with pytest.raises(StorageUnwritable):
        ScriptedProvider(log=tmp_path / "no" / "log").start()


def test_memory_keeps_the_newest_calls_and_counts_all(tmp_path: Path) -> None:
    log = CallLog(tmp_path / "log", kept_max=3)
    log.open()
    for number in range(5):
        call = RecordedCall(
            call=str(number), time_ms=0, digest="", model="", stream=False, scope=None
        )
        log.arrived(call)
        log.done(call)
    log.close()
    assert [call.call for call in log.calls()] == ["2", "3", "4"]
    assert log.received == 5
    assert len(read_calls(tmp_path / "log")) == 5


def test_a_damaged_log_is_named_and_a_line_in_progress_is_not_read(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(b'{"event": "rece')
    assert read_calls(log) == []
    log.write_bytes(b'{"event": "rece\n')
    with pytest.raises(CorruptRecord, match="log:1"):
        read_calls(log)


# ------------------------------------------------------------------ scripts in files


SCRIPT: dict[str, Any] = {
    "models": ["m"],
    "rules": [
        {"when": {"contains": "hello"}, "answer": {"content": {"apr": 5.5}}, "times": 1},
        {"answer": {"tool_calls": [{"name": "f", "arguments": {"x": 1}}]}},
    ],
}


def test_a_script_is_read_from_json_and_yaml(tmp_path: Path) -> None:
    (tmp_path / "s.json").write_text(json.dumps(SCRIPT))
    (tmp_path / "s.yaml").write_text(
        "models: [m]\n"
        "rules:\n"
        "  - {when: {contains: hello}, answer: {content: {apr: 5.5}}, times: 1}\n"
        "  - answer:\n"
        "      tool_calls: [{name: f, arguments: {x: 1}}]\n"
    )
    script = load_script(tmp_path / "s.json")
    assert script == load_script(tmp_path / "s.yaml") == Script.model_validate(SCRIPT)
    assert script.rules[0].times == 1


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "Expecting"),
        ("[]", "script"),
        ('{"rules": [{"answr": {}}]}', "rules.0.answr"),
        ('{"rules": [{"answer": {"delay_s": -1}}]}', "delay_s"),
        ('{"rules": [{"when": {"matches": "("}}]}', "not a regular expression"),
        ('{"rules": [{"times": 0}]}', "times"),
        ('{"rules": [{"answer": {"error": {"status": 200}}}]}', "status"),
    ],
)
def test_a_wrong_script_says_where(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "s.json"
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        load_script(path)
    assert says in str(caught.value)
    with pytest.raises(InputError, match="cannot read"):
        load_script(tmp_path / "missing.json")


@pytest.fixture
def process(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    (tmp_path / "s.json").write_text(json.dumps(SCRIPT))
    argv = [sys.executable, "-m", "omium.testing.scripted", "--port", "0"]
    argv += ["--script", str(tmp_path / "s.json"), "--log", str(tmp_path / "log")]
    child = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    with child:
        yield child
        child.kill()


def test_it_runs_as_a_process(process: subprocess.Popen[str], tmp_path: Path) -> None:
    assert process.stdout is not None
    base_url = process.stdout.readline().strip()
    body = {"model": "m", "messages": [{"role": "user", "content": "hello"}]}
    with httpx.Client() as http:
        first = http.post(f"{base_url}/chat/completions", json=body).json()
        second = http.post(f"{base_url}/chat/completions", json=body).json()
    assert first["choices"][0]["message"]["content"] == '{"apr": 5.5}'
    assert second["choices"][0]["message"]["tool_calls"][0]["function"]["name"] == "f"
    os.kill(process.pid, signal.SIGTERM)
    _, stderr = process.communicate(timeout=20)
    assert stderr == ""
    calls = read_calls(tmp_path / "log")
    assert [(call.rule, call.sent) for call in calls] == [(0, True), (1, True)]


def test_the_process_refuses_a_wrong_script(tmp_path: Path) -> None:
    path = tmp_path / "s.json"
    path.write_text("{")
    argv = [sys.executable, "-m", "omium.testing.scripted", "--script", str(path)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=50, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("error: script ")
    assert "Traceback" not in done.stderr
