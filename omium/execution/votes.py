"""Votes about a handoff: those of functions, which its receiver's worker asks, and of judges.

Pure. What the votes on record come to is the verdict; nobody votes twice about one value.
"""

from __future__ import annotations

from omium.execution.events import Entry, HandoffAccepted, HandoffRejected, HandoffVoted
from omium.execution.offers import known, planned, standing, to_judge
from omium.execution.records import PlannedHandoff, Reason, Vote
from omium.execution.state import AgentState, ExecutionState, HandoffState
from omium.types import AgentName

ANSWERED = "a person has answered in its place"
"""Why a judge is on record for a value that a person handed over instead: it is not asked."""

NO_REASON = "it gave no reason"
"""Why a validator is against something that does not say why."""


def outvoted(votes: tuple[Vote, ...], votes_min: int) -> tuple[Reason, ...]:
    """Why a handoff is not taken about which all have voted: nothing, where enough are for it."""
    if sum(vote.ballot == "for" for vote in votes) >= votes_min:
        return ()
    return tuple(
        Reason(code="vote", validator=vote.validator, message=vote.reason)
        for vote in votes
        if vote.ballot == "against"
    )


def judges_of(state: ExecutionState, one: PlannedHandoff) -> list[AgentName]:
    """The validators of a handoff that are agents."""
    return [AgentName(name) for name in one.validators if name in state.agents]


def unjudged(state: ExecutionState, agent: AgentState) -> bool:
    """Whether an agent waits for somebody who judges for it. One who is to be skipped is waited
    for as well: all of a loop have to be done before its next round."""
    return any(
        not state.agents[judge].is_done for one in agent.checked for judge in judges_of(state, one)
    )


def left_to_vote(state: ExecutionState, handoff: HandoffState) -> list[AgentName]:
    """The judges of a handoff whose votes are not on record yet."""
    one = planned(state.agents[handoff.to], handoff.source)
    voted = {vote.validator for vote in handoff.votes}
    judges = judges_of(state, one) if one is not None else []
    return [judge for judge in judges if judge not in voted]


def to_vote(state: ExecutionState) -> tuple[HandoffVoted, ...]:
    """The votes of judges that are to be put on record, one for each handoff that lacks some."""
    found: list[HandoffVoted] = []
    for handoff in state.handoffs.values():
        stands = standing(state, handoff.source, handoff.to) is handoff
        left = left_to_vote(state, handoff) if stands and handoff.status == "offered" else []
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
    if handoff.value is not None and not handoff.by_agent:
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
    handoff, problem = to_judge(state, event.agent, event.handoff)
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


def check_count(
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


def evolve_vote(state: ExecutionState, entry: Entry, event: HandoffVoted) -> None:
    """Let a vote be on record. The receiver's time begins when the last judge has voted."""
    handoff = known(state, event.agent, event.handoff)
    assert handoff is not None
    vote = Vote(validator=event.validator, ballot=event.ballot, reason=event.reason)
    handoff.votes = (*handoff.votes, vote)
    if event.validator in state.agents:
        handoff.offered_ms = entry.at_ms
