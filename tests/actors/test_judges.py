"""Agents that vote about a handoff: leased, tried again and journaled like all agents."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from omium.actors.voting import REASON_CHARS_MAX
from omium.definitions import Workflow
from omium.errors import ExecutionFailed, ExecutionPaused
from omium.execution.events import AgentCompleted, Append, HandoffRejected, type_of
from omium.execution.records import Reason
from omium.execution.votes import ANSWERED
from tests.actors.judging import asked
from tests.actors.stage import Stage, agent, stage, workflow
from tests.actors.test_voting import EVEN, rated, votes

NAME = "giver#1>taker"


def judged(
    *functions: str, judge: str = "small", of: dict[str, Any] | None = None, **fields: Any
) -> Workflow:
    """A giver, and a taker of what ``functions`` and agent ``judge`` are for; ``of`` is said of the
    judge, ``fields`` of the giver."""
    return workflow(
        agent("giver", "tests.actors.handing:give", **fields),
        agent("judge", f"tests.actors.judging:{judge}", **(of or {})),
        agent("taker", "gather"),
        handoffs=[{"from": "giver", "to": "taker", "validators": [*functions, "judge"]}],
    )


async def test_a_judge_votes_before_the_receiver_is_leased(tmp_path: Path) -> None:
    good = rated(4)
    async with stage(tmp_path) as s:
        execution_id = await s.submit(judged(EVEN), {"values": [good]})
        result: Any = await s.result(execution_id)
        types = await s.types(execution_id)
        view = await s.client.view(execution_id)
    assert result["from"] == {"giver": good}, "the vote is not for the receiver"
    assert types[4:] == [
        *("attempt.started", "agent.completed"),
        *("handoff.offered", "handoff.voted"),
        *("attempt.started", "handoff.voted", "handoff.accepted", "agent.completed"),
        "execution.completed",
    ]
    (handoff,) = view.handoffs
    assert [(vote.validator, vote.ballot) for vote in handoff.votes] == [
        ("judge", "for"),
        (EVEN, "for"),
    ]


async def test_who_is_outvoted_runs_again_and_is_judged_anew(tmp_path: Path) -> None:
    far, good = rated(12), rated(4)
    async with stage(tmp_path) as s:
        flow = judged(EVEN, retries=1)
        execution_id = await s.submit(flow, {"values": [far, good]})
        result: Any = await s.result(execution_id)
        journal = await s.journal(execution_id)
    assert result["from"] == {"giver": good}
    second = "giver#2>taker"
    assert votes(journal) == [
        (NAME, "judge", "against"),
        (NAME, EVEN, "for"),
        (second, "judge", "for"),
        (second, EVEN, "for"),
    ]
    rejected = next(e.event for e in journal if isinstance(e.event, HandoffRejected))
    reason = Reason(code="vote", validator="judge", message="12 of at most 10")
    assert rejected.reasons == (reason,)


async def test_a_persons_answer_is_not_for_agents_to_judge(tmp_path: Path) -> None:
    far, answer = rated(12), rated(15)
    async with stage(tmp_path) as s:
        execution_id = await s.submit(judged(EVEN), {"values": [far]})
        with pytest.raises(ExecutionPaused, match="judge: 12 of at most 10"):
            await s.result(execution_id)
        # The function is asked about it, and says no.
        await s.client.resume(execution_id, decision="answer", answer=answer)
        with pytest.raises(ExecutionPaused, match="an even number"):
            await s.result(execution_id)
        (handoff,) = (await s.client.view(execution_id)).handoffs
        votes_told = [(vote.validator, vote.ballot, vote.reason) for vote in handoff.votes]
        assert votes_told[0] == ("judge", "for", ANSWERED)
        await s.client.resume(execution_id, decision="answer", answer={**answer, "rate": 16})
        result: Any = await s.result(execution_id)
    assert result["from"]["giver"]["rate"] == 16
    assert asked[str(answer["token"])] == 0


async def test_what_is_no_vote_is_tried_again_and_its_reason_is_cut(tmp_path: Path) -> None:
    good = rated(4)
    async with stage(tmp_path) as s:
        flow = judged(judge="vague", of={"retries": 1})
        execution_id = await s.submit(flow, {"values": [good]})
        with pytest.raises(ExecutionPaused, match="judge: xxx"):
            await s.result(execution_id)
        journal = await s.journal(execution_id)
    assert "failure.recorded" in [type_of(entry.event) for entry in journal]
    said = [e.event for e in journal if isinstance(e.event, AgentCompleted)]
    reason = "x" * REASON_CHARS_MAX
    assert said[-1].agent == "judge"
    assert said[-1].output.inline == {"ballot": "against", "reason": reason}


async def test_a_judge_that_has_no_vote_fails_the_execution(tmp_path: Path) -> None:
    async with stage(tmp_path) as s:
        execution_id = await s.submit(judged(judge="vague"), {"values": [rated(4)]})
        with pytest.raises(ExecutionFailed, match="judge"):
            await s.result(execution_id)
        assert votes(await s.journal(execution_id)) == []


@pytest.mark.parametrize("committed", [False, True], ids=["before", "after"])
async def test_a_judge_whose_worker_dies(tmp_path: Path, committed: bool) -> None:
    stages: list[Stage] = []
    died: list[str] = []

    def observer(append: Append, after: bool) -> None:
        writer = append.writer.agent if append.writer is not None else ""
        ends = "agent.completed" in map(type_of, append.events)
        if writer == "judge" and ends and after == committed and not died:
            for worker in [*stages[0].runtime.spawner.workers]:
                died.append(worker)
                stages[0].runtime.spawner.end(worker)

    good = rated(4)
    async with stage(tmp_path, observer=observer) as s:
        stages.append(s)
        execution_id = await s.submit(judged(), {"values": [good]})
        await s.result(execution_id)
        journal = await s.journal(execution_id)
    assert died
    assert votes(journal) == [(NAME, "judge", "for")]
    if committed:
        assert asked[str(good["token"])] == 1
