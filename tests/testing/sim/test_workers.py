"""What clients were told is looked for in the journals, and what an attempt says comes from its
lease."""

from __future__ import annotations

from random import Random

import pytest

from omium.actors.messages import Offer
from omium.definitions import Workflow, takes, workflow_from
from omium.execution.events import (
    AgentCompleted,
    Created,
    Entry,
    Event,
    HandoffAccepted,
    HandoffRejected,
    HandoffVoted,
    type_of,
)
from omium.execution.records import Payload, Vote, Writer
from omium.testing.sim.attempts import Lease, Said, attempt
from omium.testing.sim.flows import FIRST, RECEIVER, about, made_by, made_of, output
from omium.testing.sim.voted import Asked
from omium.testing.sim.workers import Acknowledged, ExecutionClients
from omium.testing.sim.world import World
from omium.types import AgentName, ExecutionId, TenantId

NAME = ExecutionId("ex")
HANDOFF = "first#1>last"
JUDGE = AgentName("judge")
WHY = about("1")
VOTED = HandoffVoted(agent=RECEIVER, handoff=HANDOFF, validator="judges:v1", ballot="for")
CREATED = Created(
    tenant=TenantId("t"),
    workflow="w",
    version="1",
    digest="d",
    definition=Payload(inline={}),
    inputs=Payload(inline={}),
    plan=(),
)


def flow() -> Workflow:
    """Two functions and a judge vote about what is handed over, and it may be handed back."""
    work = {"framework": "python", "entrypoint": "agents:work"}
    fits = {"type": "object", "properties": {"fits": {"const": True}}}
    again = {
        "type": "object",
        "properties": {"again": {"const": True}},
        "required": ["again"],
    }
    voters = ["judges:v1", "judges:v2", JUDGE]
    return workflow_from(
        {
            "name": "simulated",
            "version": "1",
            "agents": [
                {"name": FIRST, **work},
                {"name": JUDGE, **work},
                {"name": RECEIVER, "input": fits, **work},
            ],
            "handoffs": [
                {"from": FIRST, "to": RECEIVER, "validators": voters},
                {"from": RECEIVER, "to": FIRST, "when": again, "loop": {"max": 1}},
            ],
        }
    )


FLOW = flow()


def entry(event: Event, index: int, epoch: int = 0, sequence: int = 0) -> Entry:
    return Entry(
        execution_id=NAME, index=index, at_ms=0, epoch=epoch, sequence=sequence, event=event
    )


@pytest.mark.parametrize("index", [2, 0], ids=["written", "written before"])
def test_a_vote_that_was_acknowledged_is_not_lost(index: int) -> None:
    clients = ExecutionClients(World(1), [])
    writer = Writer(agent=RECEIVER, epoch=3, sequence=1)
    told = Acknowledged(execution=NAME, index=index, events=(VOTED,), writer=writer)
    clients.acknowledged.append(told)
    with pytest.raises(AssertionError, match="acknowledged and is not there"):
        clients.check({NAME: [entry(CREATED, 1)]})


def lease(*, votes: tuple[Vote, ...] = (), fits: bool = True) -> Lease:
    offer = Offer(
        handoff=HANDOFF,
        source=AgentName("first"),
        schema=takes(FLOW.agent(RECEIVER)),
        validators=("judges:v1", "judges:v2"),
        votes_min=2,
        votes=votes,
    )
    return Lease(
        execution=NAME,
        agent=RECEIVER,
        epoch=3,
        index=5,
        offers=(offer,),
        outputs={AgentName("first"): Payload(inline=output(fits=fits, by="1"))},
    )


def said(given: Lease, random: Random) -> tuple[list[Said], list[str]]:
    """What an attempt says, and who was asked for it."""
    asked: list[Asked] = []
    lines = [*attempt(given, FLOW, random, asked.append)]
    return lines, [one.validator for one in asked]


def test_who_has_voted_is_not_asked_and_is_counted() -> None:
    against = Vote(validator="judges:v1", ballot="against", reason=WHY)
    for seed in range(50):
        lines, asked = said(lease(votes=(against,)), Random(seed))
        if any(line.rash for line in lines):
            continue
        assert asked == ["judges:v2"]
        (rejected,) = lines[-1].events
        assert isinstance(rejected, HandoffRejected)
        assert rejected.reasons[0].validator == "judges:v1"


def test_nobody_votes_about_what_breaks_the_schema() -> None:
    honest = (said(lease(fits=False), Random(seed)) for seed in range(50))
    for lines, asked in honest:
        if not lines[0].rash:
            assert not asked
            assert [type_of(event) for event in lines[0].events] == ["handoff.rejected"]


def test_what_is_rash_comes_at_any_time_and_is_the_last() -> None:
    places: set[int] = set()
    kinds: set[str] = set()
    for seed in range(400):
        lines, _ = said(lease(), Random(seed))
        rash = [place for place, line in enumerate(lines) if line.rash]
        if rash:
            assert rash == [len(lines) - 1]
            places.update(rash)
            kinds.update(type_of(event) for event in lines[-1].events)
        elif isinstance(lines[2].events[0], HandoffAccepted):
            assert [type_of(line.events[0]) for line in lines[3:]] == [
                "step.started",
                "step.completed",
                "agent.completed",
            ]
    assert places == {0, 1, 2}
    assert kinds == {"handoff.voted", "handoff.accepted", "handoff.rejected", "step.started"}


def test_an_output_says_of_what_it_was_made_and_for_whom_it_is() -> None:
    fits: set[tuple[AgentName, ...]] = set()
    for seed in range(50):
        lines, _ = said(lease(), Random(seed))
        completed = lines[-1].events[0]
        if isinstance(completed, AgentCompleted):
            assert made_by(completed.output) == "3"
            assert made_of(completed.output) == {"first": "1"}
            fits.add(completed.fits)
    assert fits == {(), (FIRST,)}


def test_a_judge_hands_over_its_vote() -> None:
    given = Lease(
        execution=NAME,
        agent=JUDGE,
        epoch=4,
        index=6,
        outputs={FIRST: Payload(inline=output(fits=False, by="1"))},
    )
    ballots: set[object] = set()
    for seed in range(20):
        lines, asked = said(given, Random(seed))
        assert not asked
        (completed,) = lines[-1].events
        assert isinstance(completed, AgentCompleted)
        match completed.output.inline:
            case {"ballot": ballot, "reason": "of 1"}:
                ballots.add(ballot)
            case other:
                pytest.fail(f"{other} is no vote about it")
    assert ballots == {"for", "against"}
