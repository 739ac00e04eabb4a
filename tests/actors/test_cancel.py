"""A cancelled execution: its agent stops wherever it is, and nothing follows in its journal."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from omium.execution.events import type_of
from omium.testing.runtime import QUICK
from omium.testing.scripted import Answer, Rule
from omium.types import ExecutionId
from tests.actors.gates import gate
from tests.actors.stage import WAIT_S, Stage, agent, stage, workflow

LONG_S = 10_000.0
NEVER = Rule(answer=Answer(content="too late", delay_s=600.0))
BLOCKING = {"entrypoint": "script_blocking"}


def written(s: Stage, execution_id: ExecutionId) -> list[str]:
    """All that is in a journal, also what came after the execution's end."""
    assert s.runtime.replica is not None
    entries = s.runtime.replica.journal.entries(execution_id)
    return [type_of(entry.event) for entry in entries]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("fields", [{}, BLOCKING], ids=["async", "thread"])
async def test_a_question_to_the_model_is_given_up(
    tmp_path: Path, fields: dict[str, Any], stream: bool
) -> None:
    """Also where the agent waits in a thread, and without an end to its worker."""
    settings = replace(QUICK, stop_grace_s=LONG_S, cancel_grace_s=LONG_S)
    async with stage(tmp_path, [NEVER], settings=settings) as s:
        execution_id = await s.do({"ask": "slow", "stream": stream}, {"ask": "never"}, **fields)
        await s.asked(1)
        workers = set(s.runtime.spawner.workers)
        await s.client.cancel(execution_id)
        await s.idle()
        # The gateway waits for no answer either.
        async with httpx.AsyncClient() as http, asyncio.timeout(WAIT_S):
            while (await http.get(f"{s.runtime.gateway_url}/healthz")).json()["flights"]:
                pass
        assert set(s.runtime.spawner.workers) == workers
        assert written(s, execution_id)[-2:] == ["call.intended", "execution.cancelled"]
    assert s.provider.received == 1


async def test_a_tool_on_the_event_loop_is_stopped(tmp_path: Path) -> None:
    settings = replace(QUICK, stop_grace_s=LONG_S, cancel_grace_s=LONG_S)
    async with stage(tmp_path, settings=settings) as s:
        with gate() as till:
            execution_id = await s.do(
                {"tool": "pay", "with": {"till": till.name, "amount": 1}}, {"ask": "never"}
            )
            await till.reached()
            await s.client.cancel(execution_id)
            await s.idle()
        assert written(s, execution_id)[-2:] == ["call.intended", "execution.cancelled"]
    assert s.provider.received == 0


async def test_a_tool_that_blocks_is_ended_with_its_process(tmp_path: Path) -> None:
    settings = replace(QUICK, stop_grace_s=LONG_S, cancel_grace_s=0.0)
    async with stage(tmp_path, settings=settings) as s:
        with gate() as till:
            execution_id = await s.do(
                {"tool": "pay_blocking", "with": {"till": till.name, "amount": 1}},
                {"ask": "never"},
                **BLOCKING,
            )
            await till.reached()
            before = set(s.runtime.spawner.workers)
            await s.client.cancel(execution_id)
            async with asyncio.timeout(WAIT_S):
                while before & set(s.runtime.spawner.workers):
                    await s.ticked()
        assert written(s, execution_id)[-2:] == ["call.intended", "execution.cancelled"]
    assert s.provider.received == 0


async def test_but_not_while_the_process_works_for_others(tmp_path: Path) -> None:
    settings = replace(QUICK, stop_grace_s=LONG_S, cancel_grace_s=0.0)
    async with stage(tmp_path, settings=settings) as s:
        flow = workflow(agent("doer", "script_blocking"))
        with gate() as till, gate() as other:
            places = (till, other)
            cancelled, kept = [
                await s.submit(flow, {"do": [{"hold": place.name}, {"ask": "on"}]})
                for place in places
            ]
            for place in places:
                await place.reached()
            assert len(s.runtime.spawner.workers) == 1
            await s.client.cancel(cancelled)
            for _ in range(3):
                await s.ticked()
            other.open()
            assert await s.result(kept) == {"heard": ["echo: on"]}
            till.open()
        assert written(s, kept).count("attempt.started") == 1
        assert written(s, cancelled)[-1] == "execution.cancelled"
    assert s.provider.received == 1
