"""Handoffs that are checked: offered by who is done, accepted or rejected by who is next.

Pure. ``check_*`` refuse and change nothing, ``evolve_*`` change a state by one event that was let
through; ``machine``, ``fold`` and ``routing`` call them. A handoff whose receiver takes anything
needs none of this: it is made by its giver's ``agent.completed``.

A handoff is named by its giver, the giver's round and its receiver. So whoever offers it again,
after a crash or in a fork, gives it the name that it has, and it is accepted once.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias

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
from omium.execution.records import Failure, PlannedHandoff, Reason, Rejection, Vote
from omium.execution.state import AgentState, ExecutionState, HandoffState
from omium.types import AgentName

AboutHandoff: TypeAlias = (
    HandoffOffered | HandoffVoted | HandoffAccepted | HandoffRejected | HandoffDecided
)

ANSWERED = "a person has answered in its place"
"""Why a judge is on record for a value that a person handed over instead: it is not asked."""

NO_REASON = "it gave no reason"
"""Why a validator is against something that does not say why."""

HANDOFF_REJECTED = "handoff_rejected"
"""The failure of a handoff that its receiver did not take."""

REASONS_TOLD_MAX = 5


def name_of(state: ExecutionState, source: AgentName, to: AgentName) -> str:
    """The name of the handoff of the present output of ``source``: an agent completes once in a
    round."""
    return f"{source}#{state.agents[source].round}>{to}"


def standing(state: ExecutionState, source: AgentName, to: AgentName) -> HandoffState | None:
    """The handoff of the present output of ``source``, where it was offered."""
    handoff = state.handoffs.get((source, to))
    if handoff is None or handoff.name != name_of(state, source, to):
        return None
    giver = state.agents[source]
    return handoff if giver.status == "completed" and handoff.epoch == giver.epoch else None


def planned(agent: AgentState, source: AgentName) -> PlannedHandoff | None:
    """What the plan says of a checked handoff from ``source``; None where it is not checked."""
    return next((one for one in agent.checked if one.source == source), None)


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
            if handoff.status == "offered" and _left_to_vote(state, handoff):
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
        if late and stands and handoff.status == "offered":
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
    """Why an agent runs again: what those said who did not take its last output. Nothing, where it
    runs for another reason."""
    return tuple(
        Rejection(to=handoff.to, reasons=handoff.reasons)
        for handoff in state.handoffs.values()
        if handoff.source == source
        and handoff.status == "rejected"
        and not _is_late(handoff)
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
    judge it is no such work."""
    others = set(run_again(state, handoff)) - {handoff.source, handoff.to}
    agents = (state.agents[name] for name in others)
    return any(agent.attempts for agent in agents if not agent.judges)


# ------------------------------------------------------------------------------- what follows


def after_rejection(state: ExecutionState) -> tuple[Event, ...]:
    """What the coordinator is to write about the first handoff that was rejected; nothing where
    there is none.

    As often as its giver may be tried again it is, unless others have begun to work on the same
    output: then, and when that does not help, a person decides.
    """
    handoff = next(not_taken(state), None)
    if handoff is None:
        return ()
    giver = state.agents[handoff.source]
    one = planned(state.agents[handoff.to], handoff.source)
    again = one is not None and handoff.rejections <= one.retries
    # Another output of the giver would wait as long.
    again = again and not _is_late(handoff) and not _is_heard_elsewhere(state, handoff)
    again = again and handoff.status == "rejected"
    failure = Failure(
        kind=HANDOFF_REJECTED,
        message=f"agent {handoff.to!r} rejects what {handoff.source!r} hands to it: "
        f"{told(handoff)}",
        agent=handoff.source,
        checkpoint=giver.checkpoint,
        retryable=again,
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


# ------------------------------------------------------------------------------- votes


def outvoted(votes: tuple[Vote, ...], votes_min: int) -> tuple[Reason, ...]:
    """Why a handoff is not taken about which all have voted: nothing, where enough are for it."""
    if sum(vote.ballot == "for" for vote in votes) >= votes_min:
        return ()
    return tuple(
        Reason(code="vote", validator=vote.validator, message=vote.reason)
        for vote in votes
        if vote.ballot == "against"
    )


def _judges_of(state: ExecutionState, one: PlannedHandoff) -> list[AgentName]:
    """The validators of a handoff that are agents."""
    return [AgentName(name) for name in one.validators if name in state.agents]


def unjudged(state: ExecutionState, agent: AgentState) -> bool:
    """Whether an agent waits for somebody who judges for it. One who is to be skipped is waited
    for as well: all of a loop have to be done before its next round."""
    return any(
        not state.agents[judge].is_done for one in agent.checked for judge in _judges_of(state, one)
    )


def _left_to_vote(state: ExecutionState, handoff: HandoffState) -> list[AgentName]:
    """The judges of a handoff whose votes are not on record yet."""
    one = planned(state.agents[handoff.to], handoff.source)
    voted = {vote.validator for vote in handoff.votes}
    judges = _judges_of(state, one) if one is not None else []
    return [judge for judge in judges if judge not in voted]


def to_vote(state: ExecutionState) -> tuple[HandoffVoted, ...]:
    """The votes of judges that are to be put on record, one for each handoff that lacks some."""
    found: list[HandoffVoted] = []
    for handoff in state.handoffs.values():
        stands = standing(state, handoff.source, handoff.to) is handoff
        left = _left_to_vote(state, handoff) if stands and handoff.status == "offered" else []
        votes = (_judged(state, handoff, judge) for judge in left)
        vote = next((vote for vote in votes if vote is not None), None)
        if vote is not None:
            found.append(
                HandoffVoted(
                    agent=handoff.to,
                    handoff=handoff.name,
                    validator=vote.validator,
                    ballot=vote.ballot,
                    reason=vote.reason,
                )
            )
    return tuple(found)


def _judged(state: ExecutionState, handoff: HandoffState, judge: AgentName) -> Vote | None:
    """The vote of a judge about a handoff: what it handed over. None while it has not."""
    agent = state.agents[judge]
    if handoff.value is not None:
        return Vote(validator=judge, ballot="for", reason=ANSWERED)
    if agent.status != "completed" or agent.output is None:
        return None
    match agent.output.inline:
        case {"ballot": "for" | "against" as ballot, "reason": str(reason)}:
            why = reason or (NO_REASON if ballot == "against" else "")
            return Vote(validator=judge, ballot=ballot, reason=why)
        case _:
            # Somebody changed it in a fork: a worker lets nothing else be handed over.
            return Vote(validator=judge, ballot="against", reason="its output is no vote")


def check_vote(state: ExecutionState, event: HandoffVoted, *, by_attempt: bool) -> str | None:
    """Why a vote may not be given; None where it may."""
    handoff, problem = _to_judge(state, event.agent, event.handoff)
    if handoff is None:
        return problem
    judge = event.validator in state.agents
    if not by_attempt and not judge:
        return "only an attempt of its receiver asks about a handoff"
    one = planned(state.agents[handoff.to], handoff.source)
    if one is None or event.validator not in one.validators:
        return f"{event.validator!r} is no validator of handoff {handoff.name!r}"
    if any(vote.validator == event.validator for vote in handoff.votes):
        return f"{event.validator!r} has voted about handoff {handoff.name!r} already"
    if not judge:
        return None
    vote = Vote(validator=event.validator, ballot=event.ballot, reason=event.reason)
    if _judged(state, handoff, AgentName(event.validator)) != vote:
        return f"agent {event.validator!r} has not voted so about handoff {handoff.name!r}"
    return None


def _check_count(
    state: ExecutionState, handoff: HandoffState, event: HandoffAccepted | HandoffRejected
) -> str | None:
    """Why a verdict is not what the votes are; None where it is, or is not about them."""
    one = planned(state.agents[handoff.to], handoff.source)
    if one is None or not one.validators:
        return None
    if isinstance(event, HandoffAccepted):
        if _are_all(handoff, one) and not outvoted(handoff.votes, one.votes_min):
            return None
        return f"too few have voted for handoff {handoff.name!r}"
    # What a fork copied was voted about in its origin.
    if state.is_copied or not any(reason.code == "vote" for reason in event.reasons):
        return None
    if _are_all(handoff, one) and event.reasons == outvoted(handoff.votes, one.votes_min):
        return None
    return f"handoff {handoff.name!r} is not rejected by the votes about it"


def _are_all(handoff: HandoffState, one: PlannedHandoff) -> bool:
    return len(handoff.votes) == len(one.validators)


def evolve_vote(state: ExecutionState, event: HandoffVoted) -> None:
    """Let a vote be on record."""
    handoff = _known(state, event.agent, event.handoff)
    assert handoff is not None
    vote = Vote(validator=event.validator, ballot=event.ballot, reason=event.reason)
    handoff.votes = (*handoff.votes, vote)


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
    handoff, problem = _to_judge(state, event.agent, event.handoff)
    if handoff is None:
        return problem
    if isinstance(event, HandoffAccepted) and not by_attempt:
        return "only an attempt of its receiver accepts a handoff"
    if isinstance(event, HandoffRejected) and not event.reasons:
        return "who rejects a handoff gives a reason"
    return _check_count(state, handoff, event)


def _to_judge(state: ExecutionState, to: AgentName, name: str) -> tuple[HandoffState | None, str]:
    """The handoff that is to be judged under this name, or why there is nothing to judge."""
    handoff = _known(state, to, name)
    if handoff is None:
        return None, f"no handoff {name!r} to agent {to!r}"
    if standing(state, handoff.source, handoff.to) is not handoff:
        return None, f"handoff {handoff.name!r} is superseded: {handoff.source!r} has run again"
    if handoff.status != "offered":
        return None, f"handoff {handoff.name!r} is {handoff.status} already"
    return handoff, ""


def check_decision(state: ExecutionState, event: HandoffDecided) -> str | None:
    """Why something may not be decided about a rejected handoff; None where it may."""
    handoff = _known(state, event.agent, event.handoff)
    if handoff is None or handoff not in not_taken(state):
        return f"handoff {event.handoff!r} waits for no decision"
    if (event.decision == "answer") != (event.output is not None):
        return "an answer, and nothing else, has an output"
    if event.agents != (run_again(state, handoff) if event.decision == "retry" else ()):
        return f"other agents run again when handoff {event.handoff!r} is tried again"
    return None


def check_work(state: ExecutionState, agent: AgentState) -> str | None:
    """Why an attempt may not work yet; None where all that is handed to it is accepted."""
    waiting = to_accept(state, agent) if agent.checked else []
    if not waiting:
        return None
    return f"agent {agent.name!r} has not accepted handoff {waiting[0].name!r}"


def _known(state: ExecutionState, to: AgentName, name: str) -> HandoffState | None:
    found = (h for (_, receiver), h in state.handoffs.items() if receiver == to)
    return next((h for h in found if h.name == name), None)


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
    handoff = _known(state, event.agent, event.handoff)
    assert handoff is not None
    if isinstance(event, HandoffAccepted):
        handoff.status = "accepted"
        handoff.rejections = 0
        return
    handoff.status = "rejected"
    handoff.reasons = event.reasons
    handoff.rejections += 1
    receiver = state.agents[event.agent]
    if receiver.status == "leased":
        receiver.status = "waiting"
        receiver.worker = None


def evolve_decision(state: ExecutionState, entry: Entry, event: HandoffDecided) -> None:
    """Let a handoff be what was decided. Its agents begin anew in ``routing``."""
    handoff = _known(state, event.agent, event.handoff)
    assert handoff is not None
    if event.by:
        # A person's word is a new beginning: what may be tried by itself is counted anew.
        handoff.rejections = 0
    match event.decision:
        case "answer":
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
