"""How long a call and an execution may take, and how soon a cancellation is felt."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from omium.clock import ManualClock
from omium.errors import ExecutionCancelled, ExecutionFailed, ExecutionPaused
from omium.testing.runtime import QUICK
from omium.testing.script import Answer, Rule
from tests.actors.gates import gate
from tests.actors.stage import agent, stage, workflow

BLOCKING = {"entrypoint": "script_blocking"}
KINDS = pytest.mark.parametrize("fields", [{}, BLOCKING], ids=["async", "blocking"])


@KINDS
async def test_a_tool_call_that_takes_too_long_fails_the_attempt(
    tmp_path: Path, fields: dict[str, Any]
) -> None:
    clock = ManualClock()
    async with stage(tmp_path, clock=clock) as s:
        with gate() as till:
            name = "pay_blocking" if fields else "pay"
            action = {"tool": name, "with": {"till": till.name, "amount": 1}}
            execution_id = await s.do(action, call_timeout_s=3.0, **fields)
            await till.reached()
            clock.advance(2)
            await s.ticked()
            assert (await s.client.view(execution_id)).status == "running"
            clock.advance(2)
            await s.ticked()
            with pytest.raises(ExecutionFailed) as failed:
                await s.result(execution_id)
            assert failed.value.failure_kind == "deadline_exceeded"
            assert f"tool call '{name}'" in str(failed.value)
            assert "took longer than 3 s" in str(failed.value)
            till.open()
            await s.idle()
            # What it did nobody knows: that is for a person to say.
            await s.client.resume(execution_id)
            with pytest.raises(ExecutionPaused):
                await s.result(execution_id)
            await s.client.resume(execution_id, decision="answer", answer=1)
            assert await s.result(execution_id) == {"heard": [1]}


async def test_an_llm_call_that_takes_too_long_is_made_again(tmp_path: Path) -> None:
    clock = ManualClock()
    rules = [Rule(answer=Answer(content="late", delay_s=30), times=1)]
    async with stage(tmp_path, rules, clock=clock) as s:
        execution_id = await s.do({"ask": "now"}, call_timeout_s=3.0, retries=1)
        await s.asked(1)
        clock.advance(4)
        await s.ticked()
        entry = await s.until(execution_id, "failure.recorded")
        assert "llm call" in str(entry.event)
        await s.client.cancel(execution_id)


@KINDS
async def test_a_step_has_a_limit_however_busy_it_is(
    tmp_path: Path, fields: dict[str, Any]
) -> None:
    """``timeout_s`` does not see it: something is written every few seconds."""
    clock = ManualClock()
    settings = replace(QUICK, heartbeat_timeout_s=10_000, stop_grace_s=10_000)
    async with stage(tmp_path, clock=clock, settings=settings) as s:
        with gate() as first, gate() as second, gate() as third:
            execution_id = await s.do(
                {"ask": "one"},
                {"hold": first.name},
                {"checkpoint": "first"},
                {"ask": "two"},
                {"hold": second.name},
                {"ask": "three"},
                {"hold": third.name},
                timeout_s=7.0,
                step_timeout_s=10.0,
                **fields,
            )
            # Each step has its own time: the second time it is 12 s since the agent began.
            for held in (first, second):
                await held.reached()
                clock.advance(6)
                await s.ticked()
                assert (await s.client.view(execution_id)).status == "running"
                held.open()
            await third.reached()
            clock.advance(6)
            await s.ticked()
            with pytest.raises(ExecutionFailed) as failed:
                await s.result(execution_id)
            assert failed.value.failure_kind == "deadline_exceeded"
            assert "a whole step of agent 'doer' took longer than 10 s" in str(failed.value)
            third.open()
            await s.idle()
            # What was done of it stays: only the rest is to be done in another ten seconds.
            await s.client.resume(execution_id)
            await s.result(execution_id)
            assert s.provider.received == 3


async def test_an_execution_that_takes_too_long_fails_and_can_be_resumed(tmp_path: Path) -> None:
    clock = ManualClock()
    async with stage(tmp_path, clock=clock) as s:
        with gate() as held:
            flow = workflow(agent("doer"), timeout_s=60.0)
            execution_id = await s.submit(flow, {"do": [{"hold": held.name}]})
            await held.reached()
            clock.advance(61)
            s.runtime.tick()
            await s.client.runtime()
            with pytest.raises(ExecutionFailed, match="took longer than 60 s"):
                await s.result(execution_id)
            held.open()
            await s.idle()
            await s.client.resume(execution_id)
            assert await s.result(execution_id) == {"heard": []}


ACTIONS = {
    "async tool": ({}, {"tool": "pay", "with": {"amount": 1}}),
    "llm call, async": ({}, {"ask": "wait"}),
    "llm call, blocking": (BLOCKING, {"ask": "wait"}),
}


@pytest.mark.parametrize("what", ACTIONS)
async def test_a_cancellation_is_felt_within_a_second(tmp_path: Path, what: str) -> None:
    fields, action = ACTIONS[what]
    rules = [Rule(answer=Answer(content="late", delay_s=20))]
    async with stage(tmp_path, rules) as s:
        with gate() as till:
            if "with" in action:
                action = {**action, "with": {**action["with"], "till": till.name}}
            execution_id = await s.do(action, **fields)
            await (till.reached() if "with" in action else s.asked(1))
            began_s = time.monotonic()
            await s.client.cancel(execution_id)
            await s.idle()
            took_s = time.monotonic() - began_s
            print(f"{what}: {took_s * 1000:.0f} ms")  # noqa: T201
            assert took_s < 1
            with pytest.raises(ExecutionCancelled):
                await s.result(execution_id)


async def test_a_blocking_tool_is_waited_for_and_then_nothing_more_is_done(tmp_path: Path) -> None:
    async with stage(tmp_path) as s:
        with gate() as till:
            pay = {"tool": "pay_blocking", "with": {"till": till.name, "amount": 1}}
            execution_id = await s.do(pay, pay, **BLOCKING)
            await till.reached()
            await s.client.cancel(execution_id)
            view = await s.client.view(execution_id)
            assert view.status == "cancelled"
            till.open()
            await s.idle()
            assert len(till.notes) == 1
