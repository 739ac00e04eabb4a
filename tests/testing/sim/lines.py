"""Journals written by hand, for the laws that are told from journals alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

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
from omium.testing.sim.flows import about, output
from omium.types import AgentName, ExecutionId, TenantId, WorkerId

NAME = ExecutionId("ex")
A, B, SPARE = AgentName("a"), AgentName("b"), AgentName("spare")
HANDOFF = "a#1>b"
GIVER, RECEIVER, SUCCESSOR = 1, 2, 3
WHY = about(str(GIVER))

Line = tuple[int, Event]
"""An event, and the epoch of who wrote it: 0 for the coordinator."""


def created(*plan: PlannedAgent) -> Line:
    event = Created(
        tenant=TenantId("t"),
        workflow="w",
        version="1",
        digest="d",
        definition=Payload(inline={}),
        inputs=Payload(inline={}),
        plan=plan,
    )
    return 0, event


def lease(agent: AgentName, epoch: int) -> Line:
    return 0, AttemptStarted(agent=agent, epoch=epoch, worker=WorkerId("w"), cause="first")


def completed(agent: AgentName, epoch: int, *fits: AgentName, **of: str) -> Line:
    """An attempt hands over its output, which it has made ``of`` what others have."""
    made = output(fits=True, by=str(epoch), of={AgentName(name): by for name, by in of.items()})
    return epoch, AgentCompleted(agent=agent, output=Payload(inline=made), fits=fits)


def offered(epoch: int = GIVER, handoff: str = HANDOFF) -> Line:
    return 0, HandoffOffered(agent=A, to=B, handoff=handoff, epoch=epoch, schema="")


def vote(validator: str, ballot: str = "for", epoch: int = RECEIVER, why: str = WHY) -> Line:
    return epoch, HandoffVoted(
        agent=B,
        handoff=HANDOFF,
        validator=validator,
        ballot="for" if ballot == "for" else "against",
        reason=why,
    )


def outvoted(*against: str) -> Line:
    reasons = tuple(Reason(code="vote", validator=who, message=WHY) for who in against)
    return RECEIVER, HandoffRejected(agent=B, handoff=HANDOFF, reasons=reasons)


def accepted(epoch: int = RECEIVER, handoff: str = HANDOFF) -> Line:
    return epoch, HandoffAccepted(agent=B, handoff=handoff)


def unfit(epoch: int = RECEIVER, handoff: str = HANDOFF) -> Line:
    reasons = (Reason(code="schema", message="no"),)
    return epoch, HandoffRejected(agent=B, handoff=handoff, reasons=reasons)


ACCEPTED = accepted()
LATE: Line = (
    0,
    HandoffRejected(agent=B, handoff=HANDOFF, reasons=(Reason(code="deadline", message="late"),)),
)
LOST: Line = (0, AttemptEnded(agent=B, epoch=RECEIVER, end="worker_lost"))
ANSWERED: Line = (
    0,
    HandoffDecided(
        agent=B,
        handoff=HANDOFF,
        decision="answer",
        output=Payload(inline=output(fits=True, by="somebody")),
        by="somebody",
    ),
)
AGAIN: Line = (
    0,
    HandoffDecided(agent=B, handoff=HANDOFF, decision="retry", agents=(A, B)),
)


def decided(decision: Literal["approve", "fail"]) -> Line:
    event = HandoffDecided(agent=B, handoff=HANDOFF, decision=decision, by="somebody")
    return 0, event


def checking(
    *validators: str,
    judges: Sequence[str] = (),
    deadline_s: float | None = None,
    retries: int = 1,
    spare: bool = False,
) -> list[PlannedAgent]:
    """A plan: ``a`` hands to ``b``, which looks at it, after a vote of which two have to be for it,
    if there are as many to vote. Then ``a`` may run again, and if there is a ``spare``, that
    stands in for it."""
    one = PlannedHandoff(
        source=A,
        schema="",
        validators=(*validators, *judges),
        votes_min=min(2, len(validators) + len(judges)),
        deadline_s=deadline_s,
        retries=retries,
        stand_in=SPARE if spare else None,
    )
    return [
        PlannedAgent(name=A),
        *(PlannedAgent(name=AgentName(judge), upstream=(A,), judges=(B,)) for judge in judges),
        *([PlannedAgent(name=SPARE, upstream=(A,), stands_in=B)] if spare else []),
        PlannedAgent(name=B, upstream=(A,), checked=(one,)),
    ]


def beginning(*plan: PlannedAgent) -> list[Line]:
    """Up to the offer to ``b``, which is leased under the epoch ``RECEIVER``."""
    return [
        created(*plan),
        lease(A, GIVER),
        completed(A, GIVER),
        offered(),
        lease(B, RECEIVER),
    ]


def journal(lines: Sequence[Line], *, at_ms: Sequence[int] = ()) -> dict[ExecutionId, list[Entry]]:
    """The entries, of which the last ones were written ``at_ms`` and all others at 0."""
    entries: list[Entry] = []
    sequences: dict[int, int] = {}
    times = [0] * (len(lines) - len(at_ms)) + [*at_ms]
    for index, ((epoch, event), at) in enumerate(zip(lines, times, strict=True), start=1):
        if epoch:
            sequences[epoch] = sequences.get(epoch, 0) + 1
        entries.append(
            Entry(
                execution_id=NAME,
                index=index,
                at_ms=at,
                epoch=epoch,
                sequence=sequences.get(epoch, 0) if epoch else 0,
                event=event,
            )
        )
    return {NAME: entries}
