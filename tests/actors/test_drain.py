"""Draining: steps under way come to their end, nothing new begins, and all can go on later."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from omium.execution.events import CallIntended
from tests.actors.gates import Gate, gate
from tests.actors.stage import Stage, stage

BLOCKING = {"entrypoint": "script_blocking"}
KINDS = pytest.mark.parametrize("fields", [{}, BLOCKING], ids=["async", "blocking"])


def pay(till: Gate, fields: dict[str, Any]) -> dict[str, Any]:
    suffix = "_blocking" if fields else ""
    return {"tool": f"pay{suffix}", "with": {"till": till.name, "amount": 7}}


async def restarted(s: Stage) -> None:
    await s.runtime.stop_coordinator()
    await s.runtime.start_coordinator()


@KINDS
async def test_a_step_comes_to_its_end_and_no_tool_of_the_next_one_begins(
    tmp_path: Path, fields: dict[str, Any]
) -> None:
    async with stage(tmp_path) as s:
        with gate() as held, gate() as till:
            execution_id = await s.do(
                {"hold": held.name}, {"checkpoint": "one"}, pay(till, fields), **fields
            )
            await held.reached()
            assert await s.client.begin_drain() == 1
            draining = asyncio.create_task(s.client.drain(20))
            held.open()
            assert await draining == 0
            assert not till.notes
            entries = await s.client.entries(execution_id)
            assert not any(isinstance(entry.event, CallIntended) for entry in entries)
            till.open()
            await restarted(s)
            assert await s.result(execution_id) == {"heard": [7]}
            assert len(till.notes) == 1


async def test_nothing_is_leased_while_draining(tmp_path: Path) -> None:
    async with stage(tmp_path) as s:
        assert await s.client.drain(5) == 0
        execution_id = await s.do({"checkpoint": "one"})
        for _ in range(3):
            s.runtime.tick()
        assert (await s.client.view(execution_id)).status == "queued"
        await restarted(s)
        assert await s.result(execution_id) == {"heard": []}


async def test_a_step_that_takes_longer_than_the_grace_is_counted(tmp_path: Path) -> None:
    async with stage(tmp_path) as s:
        with gate() as held:
            execution_id = await s.do({"hold": held.name}, {"checkpoint": "one"})
            await held.reached()
            assert await s.client.drain(0.1) == 1
            await restarted(s)
            held.open()
            assert await s.result(execution_id) == {"heard": []}
