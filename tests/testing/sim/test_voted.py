"""The auditor of votes finds each way in which a journal may break their law."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from omium.execution.events import (
    AgentCompleted,
    AttemptEnded,
    AttemptStarted,
    Created,
    Entry,
    Event,
    HandoffAccepted,
    HandoffDecided,
    HandoffOffered,
    HandoffRejected,
    HandoffVoted,
)
from omium.execution.records import Payload, PlannedAgent, PlannedHandoff, Reason
from omium.testing.sim.executions import audit
from omium.testing.sim.voted import Asked, asked_again
from omium.types import AgentName, ExecutionId, TenantId, WorkerId

NAME = ExecutionId("ex")
A, B = AgentName("a"), AgentName("b")
HANDOFF = "a#1>b"
OUTPUT = Payload(inline=7)
GIVER, RECEIVER, SUCCESSOR = 1, 2, 3

Line = tuple[int, Event]
"""An event, and the epoch of who wrote it: 0 for the coordinator."""


def vote(validator: str, ballot: str = "for", epoch: int = RECEIVER) -> Line:
    why = "" if ballot == "for" else "so it is"
    return epoch, HandoffVoted(
        agent=B,
        handoff=HANDOFF,
        validator=validator,
        ballot="for" if ballot == "for" else "against",
        reason=why,
    )


def lease(agent: AgentName, epoch: int) -> Line:
    return 0, AttemptStarted(agent=agent, epoch=epoch, worker=WorkerId("w"), cause="first")


def outvoted(*against: str) -> Line:
    reasons = tuple(Reason(code="vote", validator=who, message="so it is") for who in against)
    return RECEIVER, HandoffRejected(agent=B, handoff=HANDOFF, reasons=reasons)


ACCEPTED: Line = (RECEIVER, HandoffAccepted(agent=B, handoff=HANDOFF))
LOST: Line = (0, AttemptEnded(agent=B, epoch=RECEIVER, end="worker_lost"))
ANSWERED: Line = (
    0,
    HandoffDecided(agent=B, handoff=HANDOFF, decision="answer", output=OUTPUT, by="somebody"),
)
PLAN = (
    PlannedAgent(name=A),
    PlannedAgent(
        name=B,
        upstream=(A,),
        checked=(PlannedHandoff(source=A, schema="", validators=("v1", "v2", "v3"), votes_min=2),),
    ),
)
BEGINNING: tuple[Line, ...] = (
    (
        0,
        Created(
            tenant=TenantId("t"),
            workflow="w",
            version="1",
            digest="d",
            definition=Payload(inline={}),
            inputs=Payload(inline={}),
            plan=PLAN,
        ),
    ),
    lease(A, GIVER),
    (GIVER, AgentCompleted(agent=A, output=OUTPUT)),
    (0, HandoffOffered(agent=A, to=B, handoff=HANDOFF, epoch=GIVER, schema="")),
    lease(B, RECEIVER),
)


def journal(lines: Sequence[Line]) -> dict[ExecutionId, list[Entry]]:
    """The journal that begins with an offer to the attempt ``RECEIVER``, and goes on so."""
    entries: list[Entry] = []
    sequences: dict[int, int] = {}
    for index, (epoch, event) in enumerate([*BEGINNING, *lines], start=1):
        if epoch:
            sequences[epoch] = sequences.get(epoch, 0) + 1
        entries.append(
            Entry(
                execution_id=NAME,
                index=index,
                at_ms=0,
                epoch=epoch,
                sequence=sequences.get(epoch, 0) if epoch else 0,
                event=event,
            )
        )
    return {NAME: entries}


def test_what_is_right_is_counted() -> None:
    lines = [
        vote("v1"),
        LOST,
        lease(B, SUCCESSOR),
        vote("v2", "against", SUCCESSOR),
        vote("v3", "for", SUCCESSOR),
        (SUCCESSOR, HandoffAccepted(agent=B, handoff=HANDOFF)),
    ]
    counts = {"for": 2, "against": 1, "gone_on": 1, "accepted": 1}
    assert +audit(journal(lines)) == counts


def test_what_is_given_in_answer_is_voted_about_anew() -> None:
    against = [vote(f"v{n}", "against") for n in (1, 2, 3)]
    again = [vote(f"v{n}", "for", SUCCESSOR) for n in (1, 2, 3)]
    accepted = (SUCCESSOR, HandoffAccepted(agent=B, handoff=HANDOFF))
    lines = [*against, outvoted("v1", "v2", "v3"), ANSWERED, lease(B, SUCCESSOR), *again, accepted]
    assert audit(journal(lines))["answer"] == 1
    stale = [*against, outvoted("v1", "v2", "v3"), ANSWERED, lease(B, SUCCESSOR), accepted]
    with pytest.raises(AssertionError, match="0 of 0 votes"):
        audit(journal(stale))


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        ([vote("v1"), vote("v1", "against")], "v1 votes twice"),
        ([vote("v1", epoch=0)], "nobody who owns b asks v1"),
        ([vote("v4")], "v4 has no vote"),
        ([vote("v1"), vote("v2"), ACCEPTED], "2 of 2 votes are for .*: it is accepted"),
        (
            [vote("v1"), vote("v2", "against"), vote("v3", "against"), ACCEPTED],
            "1 of 3 votes are for a#1>b, and 2 of 3 have to be: it is accepted",
        ),
        ([vote("v1", "against"), outvoted("v1")], "0 of 1 .*: it is outvoted"),
        (
            [vote("v1"), vote("v2"), vote("v3", "against"), outvoted("v3")],
            "2 of 3 .*: it is outvoted",
        ),
        (
            [vote("v1"), vote("v2", "against"), vote("v3", "against"), outvoted("v1", "v2")],
            "is outvoted by .*v1.*, not .*v3",
        ),
        ([vote("v1"), vote("v2"), vote("v3"), ACCEPTED, vote("v1")], "after the verdict"),
        ([vote("v1"), vote("v2"), vote("v3"), ACCEPTED, ACCEPTED], "judged a second time"),
        ([vote("v1"), vote("v2"), vote("v3"), ACCEPTED, ANSWERED], "which is not rejected"),
        ([vote("v1"), LOST, lease(B, SUCCESSOR), vote("v2")], "whose owner is epoch 3"),
    ],
)
def test_what_is_wrong_is_found(lines: list[Line], told: str) -> None:
    with pytest.raises(AssertionError, match=told):
        audit(journal(lines))


def asks(validator: str, leased: int) -> Asked:
    return Asked(execution=NAME, handoff=HANDOFF, validator=validator, leased=leased)


def test_who_has_voted_is_not_to_be_asked_again() -> None:
    first = len(BEGINNING)
    told = journal([vote("v1"), LOST, lease(B, SUCCESSOR)])
    # Its answer was lost with the worker that asked.
    assert asked_again(told, [asks("v1", first), asks("v2", first), asks("v2", first + 3)]) == 1
    with pytest.raises(AssertionError, match="v1 has voted about a#1>b before 8"):
        asked_again(told, [asks("v1", first), asks("v1", first + 3)])


def test_after_an_answer_all_are_asked_again() -> None:
    against = [vote(f"v{n}", "against") for n in (1, 2, 3)]
    lines = [*against, outvoted("v1", "v2", "v3"), ANSWERED, lease(B, SUCCESSOR)]
    first, last = len(BEGINNING), len(BEGINNING) + len(lines)
    assert asked_again(journal(lines), [asks("v1", first), asks("v1", last)]) == 0
