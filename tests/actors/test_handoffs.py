"""Handoffs that their receivers check, by real workers and a real coordinator."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from omium.errors import AnswerError, Conflict, ExecutionFailed, ExecutionPaused
from omium.execution.events import Entry, HandoffDecided, HandoffRejected, type_of
from omium.execution.records import Reason
from omium.types import Json
from tests.actors.stage import Stage, agent, stage, workflow

RATED: dict[str, Any] = {
    "type": "object",
    "properties": {"rate": {"type": "number", "maximum": 10}},
    "required": ["rate"],
}
GOOD: dict[str, Json] = {"rate": 5}
BAD: dict[str, Json] = {"rate": 50}


def checked(*, takes: dict[str, Any] | None = None, **fields: Any) -> Any:
    """A giver, and a taker that looks at what it is handed."""
    return workflow(
        agent("giver", "tests.actors.handing:give", **fields),
        agent("taker", "gather", input=RATED, **(takes or {})),
    )


async def paused(s: Stage, *values: Any, **fields: Any) -> Any:
    """An execution that is paused for a handoff which was rejected."""
    execution_id = await s.submit(checked(**fields), {"values": [*values]})
    with pytest.raises(ExecutionPaused, match="'taker' rejects what 'giver' hands to it"):
        await s.result(execution_id)
    return execution_id


def handed(journal: list[Entry]) -> list[str]:
    return [type_of(e.event) for e in journal if type_of(e.event).startswith("handoff.")]


async def test_what_fits_is_offered_accepted_and_worked_on(tmp_path: Path) -> None:
    async with stage(tmp_path) as s:
        execution_id = await s.submit(checked(), {"values": [GOOD]})
        result: Any = await s.result(execution_id)
        types = await s.types(execution_id)
        view = await s.client.view(execution_id)
    assert result["from"] == {"giver": GOOD}
    assert types[4:] == [
        "handoff.offered",
        "attempt.started",
        "handoff.accepted",
        "agent.completed",
        "execution.completed",
    ]
    (handoff,) = view.handoffs
    assert (handoff.handoff, handoff.status, handoff.index) == ("giver#1>taker", "accepted", 5)


async def test_who_takes_anything_is_handed_over_to_without_a_word(tmp_path: Path) -> None:
    flow = workflow(agent("giver", "tests.actors.handing:give"), agent("taker", "gather"))
    async with stage(tmp_path) as s:
        execution_id = await s.submit(flow, {"values": [BAD]})
        await s.result(execution_id)
        assert handed(await s.journal(execution_id)) == []


async def test_a_giver_runs_again_as_often_as_it_may(tmp_path: Path) -> None:
    async with stage(tmp_path) as s:
        execution_id = await s.submit(checked(retries=2), {"values": [BAD, BAD, GOOD]})
        result: Any = await s.result(execution_id)
        journal = await s.journal(execution_id)
    assert result["from"] == {"giver": GOOD}
    reject, retry = "handoff.rejected", "handoff.decided"
    assert handed(journal) == [
        *("handoff.offered", reject, retry) * 2,
        "handoff.offered",
        "handoff.accepted",
    ]
    first = next(e.event for e in journal if isinstance(e.event, HandoffRejected))
    assert first.reasons == (
        Reason(code="schema", path="/rate", message="found 50, expected a number of at most 10"),
    )
    decided = [e.event for e in journal if isinstance(e.event, HandoffDecided)]
    assert [(d.decision, d.agents, d.by) for d in decided] == [
        ("retry", ("giver", "taker"), "")
    ] * 2


async def test_a_giver_is_told_why_it_runs_again(tmp_path: Path) -> None:
    flow = workflow(
        agent("giver", "tests.actors.handing:heed", retries=1),
        agent("taker", "gather", input=RATED),
    )
    async with stage(tmp_path) as s:
        result: Any = await s.result(await s.submit(flow, {}))
    told = result["from"]["giver"]
    assert told["last"] == {"rate": 50}
    reason = {
        "code": "schema",
        "path": "/rate",
        "message": "found 50, expected a number of at most 10",
    }
    assert told["why"] == [{"to": "taker", "reasons": [reason]}]


async def test_what_does_not_fit_waits_for_a_person(tmp_path: Path) -> None:
    async with stage(tmp_path) as s:
        execution_id = await paused(s, BAD)
        view = await s.client.view(execution_id)
        assert view.pause_reason == "handoff_rejected"
        (handoff,) = view.handoffs
        assert [reason.path for reason in handoff.reasons] == ["/rate"]
        with pytest.raises(Conflict, match="--decide retry, answer, approve or fail"):
            await s.client.resume(execution_id)
        with pytest.raises(AnswerError, match="at most 10"):
            await s.client.resume(execution_id, decision="answer", answer={"rate": 11})
        await s.client.resume(execution_id, decision="answer", answer=GOOD, by="Ann")
        result: Any = await s.result(execution_id)
        assert result["from"] == {"giver": GOOD}
        journal = await s.journal(execution_id)
    decided = next(e.event for e in journal if isinstance(e.event, HandoffDecided))
    assert (decided.decision, decided.by) == ("answer", "Ann")


async def test_all_that_is_offered_may_be_rejected_at_once(tmp_path: Path) -> None:
    flow = workflow(
        agent("one", "tests.actors.handing:give", retries=1),
        agent("other", "tests.actors.handing:give", retries=1),
        agent("taker", "gather", input=RATED),
        handoffs=[{"from": "one", "to": "taker"}, {"from": "other", "to": "taker"}],
    )
    async with stage(tmp_path) as s:
        execution_id = await s.submit(flow, {"values": [BAD, GOOD]})
        result: Any = await s.result(execution_id)
        journal = await s.journal(execution_id)
    assert result["from"] == {"one": GOOD, "other": GOOD}
    assert (
        handed(journal)
        == [
            step
            for step in ("handoff.offered", "handoff.rejected", "handoff.decided")
            for _ in ("one", "other")
        ]
        + ["handoff.offered"] * 2
        + ["handoff.accepted"] * 2
    )


async def test_it_may_be_taken_as_it_is_or_be_tried_again(tmp_path: Path) -> None:
    async with stage(tmp_path) as s:
        execution_id = await paused(s, BAD)
        await s.client.resume(execution_id, decision="approve")
        result: Any = await s.result(execution_id)
        assert result["from"] == {"giver": BAD}
        execution_id = await paused(s, BAD, GOOD)
        await s.client.resume(execution_id, decision="retry")
        result = await s.result(execution_id)
        assert result["from"] == {"giver": GOOD}


async def test_an_execution_that_failed_by_it_tries_again_when_resumed(tmp_path: Path) -> None:
    async with stage(tmp_path) as s:
        execution_id = await paused(s, BAD, GOOD)
        await s.client.resume(execution_id, decision="fail")
        with pytest.raises(ExecutionFailed, match="/rate: found 50"):
            await s.result(execution_id)
        failure = (await s.client.view(execution_id)).failure
        assert failure is not None
        assert (failure.kind, failure.agent) == ("handoff_rejected", "giver")
        await s.client.resume(execution_id)
        result: Any = await s.result(execution_id)
        assert result["from"] == {"giver": GOOD}


async def test_a_large_output_is_looked_at_like_a_small_one(tmp_path: Path) -> None:
    async with stage(tmp_path) as s:
        execution_id = await paused(s, {**BAD, "padding": "x" * 100_000})
        await s.client.resume(execution_id, decision="approve")
        result: Any = await s.result(execution_id)
    assert len(result["from"]["giver"]["padding"]) == 100_000


async def test_a_fork_looks_at_what_it_is_handed_anew(tmp_path: Path) -> None:
    async with stage(tmp_path) as s:
        origin = await paused(s, BAD, BAD, retries=1)
        last = (await s.client.view(origin)).row.last_index
        better = await s.client.fork(origin, last, {"outputs.giver.rate": 7})
        result: Any = await s.result(better)
        assert result["from"] == {"giver": {"rate": 7}}
        laxer = await s.client.fork(origin, last, {"agents.taker.input.properties.rate": {}})
        result = await s.result(laxer)
        assert result["from"] == {"giver": BAD}
        same = await s.client.fork(origin, last)
        with pytest.raises(ExecutionPaused):
            await s.result(same)
