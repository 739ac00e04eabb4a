"""Tools: run once in effect, and what happens where nobody can know whether they were."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from omium.errors import Conflict, ExecutionFailed, ExecutionPaused, InputError
from omium.execution.events import CallFailed, CallIntended
from omium.types import ExecutionId
from tests.actors.gates import Gate, gate
from tests.actors.stage import Stage, stage

BLOCKING = {"entrypoint": "script_blocking"}
KINDS = pytest.mark.parametrize("fields", [{}, BLOCKING], ids=["async", "blocking"])


def tool(name: str, till: Gate, fields: dict[str, Any], amount: int = 7) -> dict[str, Any]:
    suffix = "_blocking" if fields else ""
    return {"tool": name + suffix, "with": {"till": till.name, "amount": amount}}


@KINDS
async def test_an_idempotent_tool_runs_again_with_the_same_effect_key(
    tmp_path: Path, fields: dict[str, Any]
) -> None:
    async with stage(tmp_path) as s:
        with gate() as till:
            execution_id = await s.do(tool("put", till, fields), **fields)
            await till.reached()
            s.kill()
            await till.reached(2)
            till.open()
            assert await s.result(execution_id) == {"heard": [7]}
        entries = await s.journal(execution_id)
    intents = [e.event for e in entries if isinstance(e.event, CallIntended)]
    assert till.notes[0] == till.notes[1]
    assert till.notes == [intent.effect_key for intent in intents]


async def test_effect_keys_differ_by_arguments_occurrence_and_execution(tmp_path: Path) -> None:
    async with stage(tmp_path) as s:
        with gate() as till:
            till.open()
            for _ in range(2):
                await s.result(
                    await s.do(
                        tool("put", till, {}), tool("put", till, {}), tool("put", till, {}, 8)
                    )
                )
    assert len(till.notes) == len(set(till.notes)) == 6
    assert all(till.notes)


async def unknown(s: Stage, till: Gate, fields: dict[str, Any]) -> ExecutionId:
    """An execution whose tool, not idempotent, was running when its worker was killed."""
    execution_id = await s.do(
        {"ask": "first"}, tool("pay", till, fields), {"ask": "last"}, **fields
    )
    await till.reached()
    s.kill()
    with pytest.raises(ExecutionPaused, match="nobody knows how it ended"):
        await s.result(execution_id)
    return execution_id


@KINDS
async def test_a_tool_that_is_not_idempotent_pauses_the_execution(
    tmp_path: Path, fields: dict[str, Any]
) -> None:
    async with stage(tmp_path) as s:
        with gate() as till:
            execution_id = await unknown(s, till, fields)
            view = await s.client.view(execution_id)
            assert view.status == "paused"
            assert view.pause_reason == "outcome_unknown"
            intent = (await s.journal(execution_id))[view.pause_call - 1].event
            assert isinstance(intent, CallIntended)
            assert intent.key.kind == "tool"
            await s.idle()
    assert len(till.notes) == 1


async def test_deciding_retry_runs_the_tool_again(tmp_path: Path) -> None:
    async with stage(tmp_path) as s:
        with gate() as till:
            execution_id = await unknown(s, till, {})
            till.open()
            await s.client.resume(execution_id, decision="retry", by="tester")
            assert await s.result(execution_id) == {"heard": ["echo: first", 7, "echo: last"]}
    assert len(till.notes) == 2
    assert till.notes[0] == till.notes[1]
    assert s.provider.received == 2


async def test_deciding_an_answer_gives_it_in_place_of_the_tool(tmp_path: Path) -> None:
    async with stage(tmp_path) as s:
        with gate() as till:
            execution_id = await unknown(s, till, {})
            await s.client.resume(execution_id, decision="answer", answer=99)
            assert await s.result(execution_id) == {"heard": ["echo: first", 99, "echo: last"]}
    assert len(till.notes) == 1
    assert s.provider.received == 2


async def test_deciding_fail_lets_the_agent_see_a_tool_that_failed(tmp_path: Path) -> None:
    async with stage(tmp_path) as s:
        with gate() as till:
            execution_id = await s.do({"try": "pay", "with": {"till": till.name, "amount": 7}})
            await till.reached()
            s.kill()
            with pytest.raises(ExecutionPaused):
                await s.result(execution_id)
            await s.client.resume(execution_id, decision="fail")
            result: Any = await s.result(execution_id)
    assert result["heard"][0].startswith("ToolError: tool 'pay':")
    assert len(till.notes) == 1


async def test_a_decision_is_asked_for_and_checked(tmp_path: Path) -> None:
    async with stage(tmp_path) as s:
        with gate() as till:
            execution_id = await unknown(s, till, {})
            with pytest.raises(Conflict, match="waits for a decision about tool call 'pay'"):
                await s.client.resume(execution_id)
            with pytest.raises(InputError, match="goes with the decision 'answer'"):
                await s.client.resume(execution_id, decision="retry", answer=3)
            till.open()
            await s.client.resume(execution_id, decision="retry")
            await s.result(execution_id)
            failing = await s.do({"fail": "at once"})
            with pytest.raises(ExecutionFailed):
                await s.result(failing)
            with pytest.raises(Conflict, match="waits for no decision"):
                await s.client.resume(failing, decision="retry")


async def test_a_paused_execution_can_be_cancelled(tmp_path: Path) -> None:
    async with stage(tmp_path) as s:
        with gate() as till:
            execution_id = await unknown(s, till, {})
            await s.client.cancel(execution_id)
        assert (await s.client.view(execution_id)).status == "cancelled"
    assert len(till.notes) == 1


async def test_a_tool_that_raises_is_recorded_and_seen_and_not_run_again(tmp_path: Path) -> None:
    async with stage(tmp_path) as s:
        with gate() as till, gate() as held:
            execution_id = await s.do(
                {"try": "broken", "with": {"till": till.name}}, {"hold": held.name}
            )
            await held.reached()
            s.kill()
            await held.reached(2)
            held.open()
            assert await s.result(execution_id) == {
                "heard": ["ToolError: tool 'broken': ValueError: no such account"]
            }
        entries = await s.journal(execution_id)
    (failed,) = [e.event for e in entries if isinstance(e.event, CallFailed)]
    assert failed.failure.error_type == "ValueError"
    assert failed.failure.agent == "doer"
    assert till.notes == ["ran"]


async def test_a_tool_that_raises_and_is_not_caught_fails_the_execution(tmp_path: Path) -> None:
    async with stage(tmp_path) as s:
        with gate() as till:
            execution_id = await s.do({"tool": "broken", "with": {"till": till.name}})
            with pytest.raises(ExecutionFailed, match="no such account") as failed:
                await s.result(execution_id)
    assert failed.value.failure_kind == "tool"


@KINDS
async def test_a_result_that_is_not_json_is_a_clear_error(
    tmp_path: Path, fields: dict[str, Any]
) -> None:
    async with stage(tmp_path) as s:
        execution_id = await s.do({"tool": "unfit"}, **fields)
        with pytest.raises(ExecutionFailed, match="its result, a set, is not JSON") as failed:
            await s.result(execution_id)
    assert failed.value.failure_kind == "tool"


async def test_a_tool_that_was_not_declared_is_named(tmp_path: Path) -> None:
    async with stage(tmp_path) as s:
        execution_id = await s.do({"tool": "pay"}, tools=["add", "put"])
        with pytest.raises(ExecutionFailed, match="declares no such tool, but add, put"):
            await s.result(execution_id)


async def test_a_large_result_goes_through_the_blob_store(tmp_path: Path) -> None:
    async with stage(tmp_path) as s:
        with gate() as held:
            large = "x" * 200_000
            execution_id = await s.do(
                {"tool": "add", "with": {"a": large, "b": "y"}}, {"hold": held.name}
            )
            await held.reached()
            s.kill()
            await held.reached(2)
            held.open()
            assert await s.result(execution_id) == {"heard": [large + "y"]}
        view = await s.client.view(execution_id)
    assert view.agents[0].output is not None
    assert view.agents[0].output.blob is not None


async def test_parallel_calls_of_one_agent_are_each_run_once(tmp_path: Path) -> None:
    async with stage(tmp_path) as s:
        with gate() as till:
            ids = [await s.do(tool("pay", till, {}, amount)) for amount in range(4)]
            await till.reached(4)
            till.open()
            results = await asyncio.gather(*map(s.result, ids))
    assert results == [{"heard": [amount]} for amount in range(4)]
    assert len(set(till.notes)) == 4
