"""Handoffs that are checked, while those who make them die or are slow."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from omium.actors.supervision import Limits
from omium.clock import ManualClock
from omium.errors import ExecutionPaused
from omium.execution.events import (
    Append,
    Entry,
    HandoffAccepted,
    HandoffOffered,
    HandoffRejected,
    type_of,
)
from omium.testing.runtime import QUICK
from tests.actors.dying import dying_stage
from tests.actors.gates import gate
from tests.actors.stage import Stage, stage
from tests.actors.test_handoffs import BAD, GOOD, checked

EVENTS = ["agent.completed", "handoff.offered", "handoff.rejected", "handoff.accepted"]


def accepted_once(journal: list[Entry]) -> None:
    """What is offered has one name, and the last of it was accepted, once."""
    offered = Counter(e.event.handoff for e in journal if isinstance(e.event, HandoffOffered))
    accepted = [e.event.handoff for e in journal if isinstance(e.event, HandoffAccepted)]
    rejected = [e.event.handoff for e in journal if isinstance(e.event, HandoffRejected)]
    assert offered == {"giver#1>taker": 1, "giver#2>taker": 1}
    assert (rejected, accepted) == (["giver#1>taker"], ["giver#2>taker"])


@pytest.mark.parametrize("event", EVENTS)
@pytest.mark.parametrize("committed", [False, True], ids=["before", "after"])
async def test_a_coordinator_that_dies_around_a_handoff_makes_it_once(
    tmp_path: Path, event: str, committed: bool
) -> None:
    async with dying_stage(tmp_path, event, committed=committed) as (s, back):
        execution_id = await s.submit(checked(retries=1), {"values": [BAD, GOOD]})
        await back()
        result: Any = await s.result(execution_id)
        assert result["from"] == {"giver": GOOD}
        accepted_once(await s.journal(execution_id))


@pytest.mark.parametrize("event", EVENTS)
@pytest.mark.parametrize("committed", [False, True], ids=["before", "after"])
async def test_a_worker_that_dies_around_a_handoff_makes_it_once(
    tmp_path: Path, event: str, committed: bool
) -> None:
    stages: list[Stage] = []
    died: list[str] = []

    def observer(append: Append, after: bool) -> None:
        if after == committed and not died and event in map(type_of, append.events):
            for worker in [*stages[0].runtime.spawner.workers]:
                died.append(worker)
                stages[0].runtime.spawner.end(worker)

    async with stage(tmp_path, observer=observer) as s:
        stages.append(s)
        execution_id = await s.submit(checked(retries=1), {"values": [BAD, GOOD]})
        result: Any = await s.result(execution_id)
        assert died
        assert result["from"] == {"giver": GOOD}
        accepted_once(await s.journal(execution_id))


async def test_who_is_slow_slows_down_those_before_it(tmp_path: Path) -> None:
    settings = replace(QUICK, limits=Limits(workers_max=2), handoffs_waiting_max=1)
    async with stage(tmp_path, settings=settings, capacity=1) as s:
        with gate() as slow:
            working = await s.submit(checked(), {"values": [GOOD], "taker": slow.name})
            await slow.reached()
            waiting = await s.submit(checked(), {"values": [GOOD]})
            await s.until(waiting, "handoff.offered")
            held = await s.submit(checked(), {"values": [GOOD]})
            await s.ticked()
            await s.ticked()
            view = await s.client.view(held)
            assert view.status == "queued", "its giver would add to what waits for the taker"
            slow.open()
            for execution_id in (working, waiting, held):
                await s.result(execution_id)


async def test_what_nobody_accepts_in_time_waits_for_a_person(tmp_path: Path) -> None:
    clock = ManualClock()
    limits = Limits(workers_max=2)
    settings = replace(QUICK, heartbeat_timeout_s=10_000, limits=limits)
    async with stage(tmp_path, settings=settings, capacity=1, clock=clock) as s:
        with gate() as slow:
            flow = checked(retries=5, takes={"accept_timeout_s": 60})
            working = await s.submit(flow, {"values": [GOOD], "taker": slow.name})
            await slow.reached()
            late = await s.submit(flow, {"values": [GOOD]})
            await s.until(late, "handoff.offered")
            clock.advance(59)
            await s.ticked()
            assert (await s.client.view(late)).status == "running"
            clock.advance(2)
            await s.ticked()
            with pytest.raises(ExecutionPaused, match="not accepted within 60 s"):
                await s.result(late)
            (handoff,) = (await s.client.view(late)).handoffs
            assert [reason.code for reason in handoff.reasons] == ["deadline"]
            slow.open()
            await s.result(working)
            # Whoever lets it be taken lets it be looked at.
            await s.client.resume(late, decision="approve")
            await s.result(late)
            types = await s.types(late)
    assert types[-4:] == [
        "attempt.started",
        "handoff.accepted",
        "agent.completed",
        "execution.completed",
    ]
