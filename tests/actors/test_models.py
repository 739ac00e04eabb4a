"""Models that fail an agent: what is put on record, and how often they are asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from omium.errors import ExecutionFailed
from omium.execution.records import Failure
from omium.llm.providers import Provider
from omium.testing.scripted import Answer, ErrorAnswer, Rule, Script, When
from tests.actors.stage import Stage, stage

BLOCKING = {"entrypoint": "script_blocking"}
KINDS = pytest.mark.parametrize("fields", [{}, BLOCKING], ids=["async", "blocking"])
STREAMS = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])


async def failure_of(s: Stage, *actions: dict[str, Any], **fields: Any) -> Failure:
    """The failure that ``actions`` end in."""
    execution_id = await s.do(*actions, **fields)
    with pytest.raises(ExecutionFailed):
        await s.result(execution_id)
    failure = (await s.client.view(execution_id)).failure
    assert failure is not None
    return failure


@KINDS
@STREAMS
async def test_an_overloaded_model_is_asked_once_and_is_unreachable(
    tmp_path: Path, fields: dict[str, Any], stream: bool
) -> None:
    overloaded = Answer(error=ErrorAnswer(status=503, message="overloaded"))
    async with stage(tmp_path, [Rule(answer=overloaded)]) as s:
        failure = await failure_of(s, {"ask": "x", "stream": stream}, **fields)
    assert failure.kind == "model_unreachable"
    assert "overloaded" in failure.message
    assert failure.retryable
    # Neither the agent's SDK nor the gateway tried again by itself.
    assert s.provider.received == 1


async def test_a_model_that_nobody_serves_is_unreachable(tmp_path: Path) -> None:
    nobody = Provider(name="scripted", base_url="http://127.0.0.1:9/v1")
    async with stage(tmp_path, providers={"scripted": nobody}) as s:
        failure = await failure_of(s, {"ask": "x"})
    assert failure.kind == "model_unreachable"
    assert "no connection to http://127.0.0.1:9/v1/chat/completions" in failure.message


@KINDS
async def test_a_wrong_key_is_refused(tmp_path: Path, fields: dict[str, Any]) -> None:
    async with stage(tmp_path, script=Script(api_key="right")) as s:
        failure = await failure_of(s, {"ask": "x"}, **fields)
    assert failure.kind == "model_refused"
    assert "HTTP 401" in failure.message
    assert "Incorrect API key" in failure.message
    assert s.provider.received == 1


async def test_the_providers_key_and_not_the_agents_reaches_the_provider(tmp_path: Path) -> None:
    async with stage(tmp_path, script=Script(api_key="right")) as s:
        url = s.provider.base_url
        with_key = Provider(name="scripted", base_url=url, api_key=SecretStr("right"))
        async with stage(tmp_path / "other", providers={"scripted": with_key}) as other:
            execution_id = await other.do({"ask": "x"})
            assert await other.result(execution_id) == {"heard": ["echo: x"]}


async def test_an_unknown_model_is_named(tmp_path: Path) -> None:
    async with stage(tmp_path, providers={}) as s:
        failure = await failure_of(s, {"ask": "x"})
    assert failure.kind == "not_found"
    assert "no model provider 'scripted'" in failure.message
    assert not failure.retryable


@KINDS
async def test_a_stream_that_breaks_off_is_an_unreachable_model(
    tmp_path: Path, fields: dict[str, Any]
) -> None:
    broken = Answer(content="one two", drop_after_chunks=2)
    async with stage(tmp_path, [Rule(answer=broken)]) as s:
        failure = await failure_of(s, {"ask": "x", "stream": True}, **fields)
    assert failure.kind == "model_unreachable"
    assert failure.message.startswith("model 'scripted/scripted' is unreachable:")
    assert s.provider.received == 1


async def test_a_malformed_answer_is_an_unreachable_model(tmp_path: Path) -> None:
    async with stage(tmp_path, [Rule(answer=Answer(malformed=True))]) as s:
        failure = await failure_of(s, {"ask": "x"})
    assert failure.kind == "model_unreachable"


async def test_a_retried_agent_asks_a_failed_model_again_and_no_other(tmp_path: Path) -> None:
    overloaded = Answer(error=ErrorAnswer(status=500, message="overloaded"))
    rules = [Rule(when=When(contains="second"), answer=overloaded, times=1)]
    async with stage(tmp_path, rules) as s:
        execution_id = await s.do({"ask": "first"}, {"ask": "second"}, retries=1)
        assert await s.result(execution_id) == {"heard": ["echo: first", "echo: second"]}
    assert [c.body["messages"][0]["content"] for c in s.provider.calls] == [
        "first",
        "second",
        "second",
    ]


async def test_a_failure_after_an_error_that_was_got_over_is_the_agents_own(
    tmp_path: Path,
) -> None:
    overloaded = Answer(error=ErrorAnswer(status=500, message="overloaded"))
    rules = [Rule(when=When(contains="first"), answer=overloaded)]
    async with stage(tmp_path, rules) as s:
        failure = await failure_of(
            s, {"ask": "first", "or": "nothing"}, {"ask": "second"}, {"fail": "my own fault"}
        )
    assert failure.kind == "agent"
    assert failure.message == "RuntimeError: my own fault"
    assert s.provider.received == 2
