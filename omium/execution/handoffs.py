"""Handoffs that are checked: offered by who is done, accepted or rejected by who is next.

Pure. ``check_*`` refuse and change nothing, ``evolve_*`` change a state by one event that was let
through; ``machine``, ``fold`` and ``routing`` call them. A handoff whose receiver takes anything
needs none of this: it is made by its giver's ``agent.completed``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias

from omium.execution import stand_ins
from omium.execution.events import (
    Entry,
    Event,
    Failed,
    FailureRecorded,
    HandoffAccepted,
    HandoffDecided,
    HandoffOffered,
    HandoffRejected,
    HandoffVoted,
    Paused,
)
from omium.execution.offers import known, name_of, planned, standing, to_judge
from omium.execution.records import Failure, Reason, Rejection
from omium.execution.state import AgentState, ExecutionState, HandoffState
from omium.execution.votes import check_count, left_to_vote
from omium.types import AgentName

AboutHandoff: TypeAlias = (
    HandoffOffered | HandoffVoted | HandoffAccepted | HandoffRejected | HandoffDecided
)

HANDOFF_REJECTED = "handoff_rejected"
"""The failure of a handoff that its receiver did not take."""

REASONS_TOLD_MAX = 5


def to_offer(
    state: ExecutionState, agent: AgentState, givers: list[AgentName]
) -> list[HandoffOffered]:
    """What is to be offered to an agent that waits for nobody else. ``givers`` hand to it."""
    return [
        HandoffOffered(
            agent=one.source,
            to=agent.name,
            handoff=name_of(state, one.source, agent.name),
            epoch=state.agents[one.source].epoch,
            schema=one.schema,
        )
        for one in agent.checked
        if one.source in givers and standing(state, one.source, agent.name) is None
    ]


def may_be_delivered(state: ExecutionState, agent: AgentState, givers: list[AgentName]) -> bool:
    """Whether all that is handed to an agent and checked was offered to it, not rejected, and
    judged where agents do that."""
    for one in agent.checked:
        if one.source in givers:
            handoff = standing(state, one.source, agent.name)
            if handoff is None or handoff.status not in ("offered", "accepted"):
                return False
            if handoff.status == "offered" and left_to_vote(state, handoff):
                return False
    return True


def to_accept(state: ExecutionState, agent: AgentState) -> list[HandoffState]:
    """The handoffs that an attempt at an agent has to judge before it does anything else."""
    offered = [standing(state, one.source, agent.name) for one in agent.checked]
    return [one for one in offered if one is not None and one.status == "offered"]


def overdue(state: ExecutionState, now_ms: int) -> list[HandoffRejected]:
    """What is to be written about offers that nobody accepted in time. A pause costs no time."""
    if state.status not in ("queued", "running"):
        return []
    found: list[HandoffRejected] = []
    for handoff in state.handoffs.values():
        one = planned(state.agents[handoff.to], handoff.source)
        limit_s = one.deadline_s if one is not None else None
        stands = standing(state, handoff.source, handoff.to) is handoff
        since_ms = max(handoff.offered_ms, state.awake_ms)
        late = limit_s is not None and now_ms - since_ms > limit_s * 1_000
        # The time of judges is not the receiver's: they vote before it may look.
        waits = stands and handoff.status == "offered" and not left_to_vote(state, handoff)
        if late and waits:
            reason = Reason(code="deadline", message=f"it was not accepted within {limit_s:g} s")
            found.append(HandoffRejected(agent=handoff.to, handoff=handoff.name, reasons=(reason,)))
    return found


def _is_late(handoff: HandoffState) -> bool:
    """Whether all that is wrong with a handoff is that nobody looked at it in time."""
    return all(reason.code == "deadline" for reason in handoff.reasons)


def not_taken(state: ExecutionState) -> Iterator[HandoffState]:
    """The handoffs that were rejected, and about which something is to be decided; those too of
    which it was decided that the execution fails."""
    for handoff in state.handoffs.values():
        stands = standing(state, handoff.source, handoff.to) is handoff
        if stands and handoff.status in ("rejected", "failed"):
            yield handoff


def rejections(state: ExecutionState, source: AgentName) -> tuple[Rejection, ...]:
    """Why an agent runs again: what those said who did not take its last output; or why it stands
    in. Nothing, where it runs for another reason."""
    agent = state.agents[source]
    if agent.stands_in is not None:
        return stand_ins.told(state, agent)
    return tuple(
        Rejection(to=handoff.to, reasons=handoff.own_reasons)
        for handoff in state.handoffs.values()
        if handoff.source == source
        and handoff.status == "rejected"
        and handoff.own_reasons
        and standing(state, source, handoff.to) is not handoff
    )


def run_again(state: ExecutionState, handoff: HandoffState) -> tuple[AgentName, ...]:
    """The agents that begin anew when a handoff is tried again: its giver, and all that wait,
    directly or not, for its output."""
    found = {handoff.source}
    grown = True
    while grown:
        more = {a.name for a in state.agents.values() if found.intersection(a.upstream)} - found
        grown = bool(more)
        found |= more
    return tuple(name for name in state.agents if name in found)


def _is_heard_elsewhere(state: ExecutionState, handoff: HandoffState) -> bool:
    """Whether others than the receiver have begun to work on what was handed to them as well. To
    judge it is no such work, nor to stand in for it."""
    others = set(run_again(state, handoff)) - {handoff.source, handoff.to}
    agents = (state.agents[name] for name in others)
    return any(a.attempts for a in agents if not a.judges and a.stands_in is None)


# ------------------------------------------------------------------------------- what follows


def after_rejection(state: ExecutionState) -> tuple[Event, ...]:
    """What the coordinator is to write about the first handoff that was rejected; nothing where
    there is none.

    As often as its giver may be tried again it is, unless others have begun to work on the same
    output. Then, and when that does not help, another agent stands in for it, where the definition
    names one. A person decides when its output is not taken either, or a person's was not.
    """
    handoff = next(not_taken(state), None)
    if handoff is None:
        return ()
    giver = state.agents[handoff.source]
    one = planned(state.agents[handoff.to], handoff.source)
    late = _is_late(handoff)
    # Another output would wait as long; and what somebody gave in answer was the last try.
    again = handoff.status == "rejected" and handoff.value is None and not late
    again = again and one is not None and handoff.rejections <= one.retries
    again = again and not _is_heard_elsewhere(state, handoff)
    delegated = stand_ins.delegation(state, handoff) if not again and not late else None
    whose = repr(handoff.source)
    if one is not None and handoff.by_agent:
        whose = f"{one.stand_in!r}, who stands in for {handoff.source!r},"
    failure = Failure(
        kind=HANDOFF_REJECTED,
        message=f"agent {handoff.to!r} rejects what {whose} hands to it: {told(handoff)}",
        agent=handoff.source,
        checkpoint=giver.checkpoint,
        retryable=again or delegated is not None,
    )
    if handoff.status == "failed":
        return (Failed(failure=failure),)
    if again:
        retry = HandoffDecided(
            agent=handoff.to,
            handoff=handoff.name,
            decision="retry",
            agents=run_again(state, handoff),
        )
        return (FailureRecorded(failure=failure), retry)
    if delegated is not None:
        return (FailureRecorded(failure=failure), delegated)
    return (
        FailureRecorded(failure=failure),
        Paused(reason="handoff_rejected", detail=failure.message),
    )


def told(handoff: HandoffState) -> str:
    """Why a handoff was rejected, in one line."""
    lines = [line_of(reason) for reason in handoff.reasons]
    more = len(lines) - REASONS_TOLD_MAX
    return "; ".join([*lines[:REASONS_TOLD_MAX], *([f"and {more} more"] if more > 0 else [])])


def line_of(reason: Reason) -> str:
    """One reason in one line."""
    match reason.code:
        case "schema":
            return f"{reason.path or '/'}: {reason.message}"
        case "vote":
            return f"{reason.validator}: {reason.message}"
        case _:
            return reason.message


# ------------------------------------------------------------------------------- events


def check_offer(state: ExecutionState, event: HandoffOffered, *, taken: bool) -> str | None:
    """Why a handoff may not be offered so; None where it may. ``taken``: the giver hands to the
    receiver."""
    receiver = state.agents.get(event.to)
    if receiver is None or event.agent not in receiver.upstream or not taken:
        return f"agent {event.agent!r} does not hand to {event.to!r}"
    if event.handoff != name_of(state, event.agent, event.to):
        return f"{event.handoff!r} is not the name of what {event.agent!r} hands to {event.to!r}"
    if event.epoch != state.agents[event.agent].epoch:
        return f"epoch {event.epoch} of agent {event.agent!r} is superseded"
    if standing(state, event.agent, event.to) is not None:
        return f"handoff {event.handoff!r} is offered already"
    one = planned(receiver, event.agent)
    if not state.is_copied and (one is None or one.schema != event.schema):
        return f"agent {event.to!r} takes from {event.agent!r} what fits another schema"
    return None


def check_verdict(
    state: ExecutionState, event: HandoffAccepted | HandoffRejected, *, by_attempt: bool
) -> str | None:
    """Why a handoff may not be accepted or rejected; None where it may."""
    handoff, problem = to_judge(state, event.agent, event.handoff)
    if handoff is None:
        return problem
    if isinstance(event, HandoffAccepted) and not by_attempt:
        return "only an attempt of its receiver accepts a handoff"
    if isinstance(event, HandoffRejected) and not event.reasons:
        return "who rejects a handoff gives a reason"
    return check_count(state, handoff, event)


def check_decision(state: ExecutionState, event: HandoffDecided) -> str | None:
    """Why something may not be decided about a rejected handoff; None where it may."""
    handoff = known(state, event.agent, event.handoff)
    delegated = handoff is not None and handoff.status == "delegated"
    # A person has a name; what has none is a stand-in's, and may come a second time.
    by_agent = event.decision == "answer" and not event.by
    if delegated or by_agent or event.decision == "delegate":
        return _check_stand_in(state, handoff, event)
    if handoff is None or handoff not in not_taken(state):
        return f"handoff {event.handoff!r} waits for no decision"
    if (event.decision == "answer") != (event.output is not None):
        return "an answer, and nothing else, has an output"
    if event.agents != (run_again(state, handoff) if event.decision == "retry" else ()):
        return f"other agents run again when handoff {event.handoff!r} is tried again"
    return None


def _check_stand_in(
    state: ExecutionState, handoff: HandoffState | None, event: HandoffDecided
) -> str | None:
    """Why a stand-in may not be asked, or its output not be offered; None where it may."""
    if handoff is not None and handoff in not_taken(state):
        meant = event == stand_ins.delegation(state, handoff)
    else:
        meant = event in stand_ins.answers(state)
    return None if meant else f"handoff {event.handoff!r} is not for a stand-in to answer so"


def check_work(state: ExecutionState, agent: AgentState) -> str | None:
    """Why an attempt may not work yet; None where all that is handed to it is accepted."""
    waiting = to_accept(state, agent) if agent.checked else []
    if not waiting:
        return None
    return f"agent {agent.name!r} has not accepted handoff {waiting[0].name!r}"


def evolve_offer(state: ExecutionState, entry: Entry, event: HandoffOffered) -> None:
    """Let an output be offered. What was rejected before it on the same way is counted on."""
    before = state.handoffs.get((event.agent, event.to))
    state.handoffs[event.agent, event.to] = HandoffState(
        name=event.handoff,
        source=event.agent,
        to=event.to,
        epoch=event.epoch,
        schema=event.schema,
        index=entry.index,
        offered_ms=entry.at_ms,
        rejections=before.rejections if before is not None else 0,
    )


def evolve_verdict(state: ExecutionState, event: HandoffAccepted | HandoffRejected) -> None:
    """Let a handoff be accepted or rejected. Who rejects does not work, and its attempt ends."""
    handoff = known(state, event.agent, event.handoff)
    assert handoff is not None
    if isinstance(event, HandoffAccepted):
        handoff.status = "accepted"
        handoff.rejections = 0
        return
    handoff.status = "rejected"
    handoff.reasons = event.reasons
    if handoff.value is None and not _is_late(handoff):
        handoff.own_reasons = event.reasons
    handoff.rejections += 1
    receiver = state.agents[event.agent]
    if receiver.status == "leased":
        receiver.status = "waiting"
        receiver.worker = None


def evolve_decision(state: ExecutionState, entry: Entry, event: HandoffDecided) -> None:
    """Let a handoff be what was decided. Its agents begin anew in ``routing``."""
    handoff = known(state, event.agent, event.handoff)
    assert handoff is not None
    if event.by:
        # A person's word is a new beginning: what may be tried by itself is counted anew.
        handoff.rejections = 0
    match event.decision:
        case "delegate":
            handoff.status = "delegated"
        case "answer":
            handoff.by_agent = handoff.status == "delegated"
            handoff.status, handoff.value = "offered", event.output
            handoff.offered_ms = entry.at_ms
            handoff.votes = ()
        case "approve" if _is_late(handoff):
            # Nobody has looked at it, and somebody is to.
            handoff.status, handoff.offered_ms = "offered", entry.at_ms
        case "approve":
            handoff.status = "accepted"
        case "fail":
            handoff.status = "failed"
        case "retry":
            pass
