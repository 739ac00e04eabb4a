"""Agents that stand in for a giver whose output is not taken, run by real workers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from omium.definitions import Workflow
from omium.errors import ExecutionFailed, ExecutionPaused
from omium.execution.events import Append, HandoffDecided, type_of
from tests.actors.judging import asked
from tests.actors.stage import Stage, agent, stage, workflow
from tests.actors.test_handoffs import RATED
from tests.actors.test_voting import EVEN, rated, votes

NAME = "giver#1>taker"


def spared(
    *validators: str, giver: dict[str, Any] | None = None, takes: dict[str, Any] | None = None
) -> Workflow:
    """A giver, a taker of what ``validators`` are for, and who stands in between the two."""
    return workflow(
        agent("giver", "tests.actors.handing:give", **(giver or {})),
        agent("mender", "tests.actors.handing:mend"),
        *([agent("judge", "tests.actors.judging:small")] if "judge" in validators else []),
        agent("taker", "gather", **(takes or {})),
        handoffs=[
            {
                "from": "giver",
                "to": "taker",
                "stand_in": "mender",
                **({"validators": [*validators]} if validators else {}),
            }
        ],
    )


def decisions(journal: list[Any]) -> list[tuple[str, str]]:
    found = [entry.event for entry in journal if isinstance(entry.event, HandoffDecided)]
    return [(event.decision, event.by) for event in found]


async def test_nobody_is_leased_to_stand_in_for_what_is_taken(tmp_path: Path) -> None:
    good = rated(4)
    async with stage(tmp_path) as s:
        execution_id = await s.submit(spared(EVEN), {"values": [good], "mended": rated(6)})
        result: Any = await s.result(execution_id)
        types = await s.types(execution_id)
        view = await s.client.view(execution_id)
    assert result["from"] == {"giver": good}
    assert types.count("attempt.started") == 2
    assert {one.name: one.status for one in view.agents}["mender"] == "skipped"


async def test_another_agent_answers_and_is_told_why(tmp_path: Path) -> None:
    odd, even = rated(5), rated(6)
    async with stage(tmp_path) as s:
        flow = spared(EVEN, giver={"retries": 1})
        execution_id = await s.submit(flow, {"values": [odd], "mended": even})
        result: Any = await s.result(execution_id)
        journal = await s.journal(execution_id)
        (handoff,) = (await s.client.view(execution_id)).handoffs
    given = result["from"]["giver"]
    assert given["token"] == even["token"]
    assert given["instead_of"] == odd
    (why,) = given["why"]
    assert (why["to"], why["source"]) == ("taker", "giver")
    assert why["reasons"][0]["validator"] == EVEN
    assert decisions(journal) == [("retry", ""), ("delegate", ""), ("answer", "")]
    second = "giver#2>taker"
    assert votes(journal) == [
        (NAME, EVEN, "against"),
        (second, EVEN, "against"),
        (second, EVEN, "for"),
    ]
    assert handoff.status == "accepted"


async def test_what_is_not_taken_of_a_stand_in_either_is_for_a_person(tmp_path: Path) -> None:
    flow = spared(takes={"input": RATED})
    async with stage(tmp_path) as s:
        bad = {"values": [{"rate": "much"}], "mended": {"rate": "more"}}
        execution_id = await s.submit(flow, bad)
        with pytest.raises(ExecutionPaused, match="/rate"):
            await s.result(execution_id)
        await s.client.resume(execution_id, decision="answer", answer={"rate": 7})
        result: Any = await s.result(execution_id)
        journal = await s.journal(execution_id)
    assert result["from"] == {"giver": {"rate": 7}}
    assert decisions(journal) == [("delegate", ""), ("answer", ""), ("answer", "somebody")]


async def test_its_output_is_held_to_what_its_giver_promises(tmp_path: Path) -> None:
    promised = {"type": "object", "required": ["rate"], "properties": {"rate": {"maximum": 5}}}
    async with stage(tmp_path) as s:
        flow = spared(EVEN, giver={"output": promised})
        execution_id = await s.submit(flow, {"values": [rated(5)], "mended": rated(6)})
        with pytest.raises(ExecutionFailed, match="mender") as failed:
            await s.result(execution_id)
    assert failed.value.failure_kind == "output_schema"


async def test_a_judge_votes_about_what_a_stand_in_hands_over(tmp_path: Path) -> None:
    far, near = rated(12), rated(6)
    async with stage(tmp_path) as s:
        execution_id = await s.submit(spared("judge"), {"values": [far], "mended": near})
        result: Any = await s.result(execution_id)
        journal = await s.journal(execution_id)
    assert result["from"]["giver"]["rate"] == 6
    assert votes(journal) == [(NAME, "judge", "against"), (NAME, "judge", "for")]
    assert (asked[str(far["token"])], asked[str(near["token"])]) == (1, 1)


EVENTS = ("handoff.rejected", "handoff.decided", "agent.completed")


@pytest.mark.parametrize("committed", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("kind", EVENTS)
async def test_a_worker_that_dies_on_the_way(tmp_path: Path, kind: str, committed: bool) -> None:
    """Whenever all workers die, the stand-in answers once and the taker takes that."""
    stages: list[Stage] = []
    died: list[str] = []

    def observer(append: Append, after: bool) -> None:
        theirs = append.writer is None or append.writer.agent in ("mender", "taker")
        if kind in map(type_of, append.events) and theirs and after == committed and not died:
            for worker in [*stages[0].runtime.spawner.workers]:
                died.append(worker)
                stages[0].runtime.spawner.end(worker)

    async with stage(tmp_path, observer=observer) as s:
        stages.append(s)
        flow = spared(EVEN)
        execution_id = await s.submit(flow, {"values": [rated(5)], "mended": rated(6)})
        result: Any = await s.result(execution_id)
        journal = await s.journal(execution_id)
    assert died
    assert result["from"]["giver"]["rate"] == 6
    assert decisions(journal) == [("delegate", ""), ("answer", "")]
    assert votes(journal)[-1] == (NAME, EVEN, "for")


async def test_a_fork_with_another_output_needs_nobody_to_stand_in(tmp_path: Path) -> None:
    even = rated(8)
    async with stage(tmp_path) as s:
        origin = await s.submit(spared(EVEN), {"values": [rated(5)], "mended": rated(6)})
        await s.result(origin)
        at = len(await s.journal(origin)) - 2
        fork = await s.client.fork(origin, at, {"outputs.giver": even})
        result: Any = await s.result(fork)
        types = await s.types(fork)
    assert result["from"] == {"giver": even}
    assert "handoff.rejected" not in types
    assert types.count("agent.skipped") == 1
