"""Validators that vote about a handoff, asked by real workers."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from omium.actors.voting import REASON_CHARS_MAX, vote_of
from omium.errors import EntrypointError, ExecutionPaused
from omium.execution.events import Append, Entry, HandoffRejected, HandoffVoted, type_of
from omium.execution.records import Reason, Vote
from omium.types import Json
from tests.actors.stage import Stage, agent, stage, workflow
from tests.actors.test_handoffs import RATED, handed
from tests.actors.validating import asked

SMALL, EVEN, RISING, VAGUE = (
    f"tests.actors.validating:{name}" for name in ("small", "even", "rising", "vague")
)


def voted_about(*validators: str, rule: Any = None, takes: Any = None, **fields: Any) -> Any:
    """A giver, and a taker of what enough validators are for."""
    return workflow(
        agent("giver", "tests.actors.handing:give", **fields),
        agent("taker", "gather", **(takes or {})),
        handoffs=[{"from": "giver", "to": "taker", "validators": [*validators], "rule": rule}],
    )


def rated(rate: int) -> dict[str, Json]:
    return {"rate": rate, "token": uuid4().hex}


def votes(journal: list[Entry]) -> list[tuple[str, str, str]]:
    return [
        (e.event.handoff, e.event.validator, e.event.ballot)
        for e in journal
        if isinstance(e.event, HandoffVoted)
    ]


async def test_all_are_for_it_and_it_is_taken(tmp_path: Path) -> None:
    good = rated(4)
    async with stage(tmp_path) as s:
        execution_id = await s.submit(voted_about(SMALL, RISING, EVEN), {"values": [good]})
        result: Any = await s.result(execution_id)
        types = await s.types(execution_id)
        (handoff,) = (await s.client.view(execution_id)).handoffs
    assert result["from"] == {"giver": good}, "each validator gets a copy"
    voted = "handoff.voted"
    assert types[4:] == [
        "handoff.offered",
        "attempt.started",
        *(voted, voted, voted, "handoff.accepted"),
        "agent.completed",
        "execution.completed",
    ]
    assert [(vote.validator, vote.ballot) for vote in handoff.votes] == [
        (name, "for") for name in (SMALL, RISING, EVEN)
    ]


async def test_a_tie_is_no_majority_and_the_giver_runs_again(tmp_path: Path) -> None:
    odd, good = rated(5), rated(4)
    async with stage(tmp_path) as s:
        flow = voted_about(SMALL, EVEN, rule="majority", retries=1)
        execution_id = await s.submit(flow, {"values": [odd, good]})
        result: Any = await s.result(execution_id)
        journal = await s.journal(execution_id)
    assert result["from"] == {"giver": good}
    first, second = "giver#1>taker", "giver#2>taker"
    assert votes(journal) == [
        (first, SMALL, "for"),
        (first, EVEN, "against"),
        (second, SMALL, "for"),
        (second, EVEN, "for"),
    ]
    rejected = next(e.event for e in journal if isinstance(e.event, HandoffRejected))
    message = "an even number was asked for"
    assert rejected.reasons == (Reason(code="vote", validator=EVEN, message=message),)


async def test_a_veto_waits_for_a_person(tmp_path: Path) -> None:
    far = rated(30)
    async with stage(tmp_path) as s:
        flow = voted_about(SMALL, RISING, EVEN)
        execution_id = await s.submit(flow, {"values": [far]})
        with pytest.raises(ExecutionPaused, match="ValueError: far too much"):
            await s.result(execution_id)
        (handoff,) = (await s.client.view(execution_id)).handoffs
        assert [(r.code, r.validator) for r in handoff.reasons] == [
            ("vote", SMALL),
            ("vote", RISING),
        ]
        # Of what a person says they are asked as well.
        await s.client.resume(execution_id, decision="answer", answer=rated(3))
        with pytest.raises(ExecutionPaused, match="an even number"):
            await s.result(execution_id)
        await s.client.resume(execution_id, decision="approve")
        result: Any = await s.result(execution_id)
        assert result["from"]["giver"]["rate"] == 3


async def test_as_many_as_were_asked_for_are_enough(tmp_path: Path) -> None:
    async with stage(tmp_path) as s:
        flow = voted_about(SMALL, EVEN, RISING, rule=1)
        execution_id = await s.submit(flow, {"values": [rated(22)]})
        await s.result(execution_id)
        assert [ballot for *_, ballot in votes(await s.journal(execution_id))] == [
            "against",
            "for",
            "against",
        ]


async def test_nobody_votes_about_what_breaks_the_schema(tmp_path: Path) -> None:
    bad = rated(50)
    async with stage(tmp_path) as s:
        flow = voted_about(SMALL, takes={"input": RATED})
        execution_id = await s.submit(flow, {"values": [bad]})
        with pytest.raises(ExecutionPaused, match="at most 10"):
            await s.result(execution_id)
        assert handed(await s.journal(execution_id)) == ["handoff.offered", "handoff.rejected"]
    assert not asked["small", str(bad["token"])]


@pytest.mark.parametrize("committed", [False, True], ids=["before", "after"])
async def test_who_has_voted_is_not_asked_again_after_a_worker_died(
    tmp_path: Path, committed: bool
) -> None:
    stages: list[Stage] = []
    died: list[str] = []

    def observer(append: Append, after: bool) -> None:
        if after == committed and not died and "handoff.voted" in map(type_of, append.events):
            for worker in [*stages[0].runtime.spawner.workers]:
                died.append(worker)
                stages[0].runtime.spawner.end(worker)

    good = rated(4)
    async with stage(tmp_path, observer=observer) as s:
        stages.append(s)
        execution_id = await s.submit(voted_about(SMALL, EVEN), {"values": [good]})
        await s.result(execution_id)
        journal = await s.journal(execution_id)
    assert died
    name = "giver#1>taker"
    assert votes(journal) == [(name, SMALL, "for"), (name, EVEN, "for")]
    token = str(good["token"])
    # Before its commit a vote is nobody's knowledge; after it, it is everybody's.
    assert asked["even", token] == 1
    if committed:
        assert asked["small", token] == 1


@pytest.mark.parametrize(
    ("validator", "output", "expected"),
    [
        (SMALL, {"rate": 1}, ("for", "")),
        (SMALL, {"rate": 11}, ("against", "it gave no reason")),
        (EVEN, {"rate": 2}, ("for", "an even number was asked for")),
        (RISING, {"rate": 21}, ("against", "ValueError: far too much")),
        (VAGUE, {"rate": ["yes", ""]}, ("against", "it returned list, expected True, False")),
        (VAGUE, {"rate": 1}, ("against", "it returned int, expected True, False")),
        (VAGUE, {}, ("against", "it returned NoneType, expected True, False")),
    ],
)
async def test_whatever_a_validator_does_is_a_vote(
    validator: str, output: Json, expected: tuple[str, str]
) -> None:
    vote = await vote_of(validator, output, ())
    assert (vote.validator, vote.ballot) == (validator, expected[0])
    assert vote.reason.startswith(expected[1])


async def test_a_reason_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.actors.validating.vague", lambda _: (False, "x" * 10_000))
    vote = await vote_of(VAGUE, {}, ())
    assert vote == Vote(validator=VAGUE, ballot="against", reason="x" * REASON_CHARS_MAX)


async def test_who_is_not_there_has_no_vote() -> None:
    with pytest.raises(EntrypointError, match="has no 'nobody'"):
        await vote_of("tests.actors.validating:nobody", {}, ())
