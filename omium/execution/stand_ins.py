"""Stand-ins: agents that are asked for another output when that of a giver is not taken.

Pure. A stand-in waits for one giver and stands in towards one receiver. It runs when what the one
hands to the other was rejected and the giver is not to run again, is given the output and the
reasons, and what it hands over is offered to the receiver instead: once, as no stand-in has a
second answer. Where nothing is rejected it is skipped.
"""

from __future__ import annotations

from collections.abc import Iterator

from omium.execution.events import HandoffDecided
from omium.execution.offers import planned, standing
from omium.execution.records import Rejection
from omium.execution.state import AgentState, ExecutionState, HandoffState
from omium.execution.votes import judges_of
from omium.types import AgentName


def handoff_of(state: ExecutionState, agent: AgentState) -> HandoffState | None:
    """What the giver has offered to the receiver between whom ``agent`` stands in."""
    if agent.stands_in is None:
        return None
    return standing(state, agent.upstream[0], agent.stands_in)


def is_wanted(state: ExecutionState, agent: AgentState) -> bool:
    """Whether a stand-in is to have an output."""
    handoff = handoff_of(state, agent)
    return handoff is not None and handoff.status == "delegated"


def is_dispensable(state: ExecutionState, agent: AgentState) -> bool:
    """Whether a stand-in will not be wanted any more: the receiver has taken what it was offered,
    or is done."""
    assert agent.stands_in is not None
    handoff = handoff_of(state, agent)
    accepted = handoff is not None and handoff.status == "accepted"
    return accepted or state.agents[agent.stands_in].is_done


def delegation(state: ExecutionState, handoff: HandoffState) -> HandoffDecided | None:
    """What is to be written about a rejected handoff so that its stand-in runs; None where it has
    none, or somebody has answered already. One who was skipped, before a fork in which what
    was accepted is looked at anew, begins anew."""
    one = planned(state.agents[handoff.to], handoff.source)
    if one is None or one.stand_in is None or handoff.status != "rejected" or handoff.value:
        return None
    return HandoffDecided(
        agent=handoff.to,
        handoff=handoff.name,
        decision="delegate",
        agents=(one.stand_in,) if state.agents[one.stand_in].status == "skipped" else (),
        reason=f"agent {one.stand_in!r} stands in",
    )


def answers(state: ExecutionState) -> Iterator[HandoffDecided]:
    """What stand-ins have handed over, each to be offered instead of what was rejected. Judges of
    the handoff are to vote about that too: they begin anew."""
    for agent in state.agents.values():
        handoff = handoff_of(state, agent)
        if handoff is None or handoff.status != "delegated" or agent.status != "completed":
            continue
        one = planned(state.agents[handoff.to], handoff.source)
        judges = judges_of(state, one) if one is not None else []
        yield HandoffDecided(
            agent=handoff.to,
            handoff=handoff.name,
            decision="answer",
            agents=tuple(name for name in state.agents if name in judges),
            output=agent.output,
            reason=f"by agent {agent.name!r}",
        )


def told(state: ExecutionState, agent: AgentState) -> tuple[Rejection, ...]:
    """Why a stand-in runs: what the receiver has against the output of the giver."""
    handoff = handoff_of(state, agent)
    if handoff is None or handoff.status != "delegated":
        return ()
    return (Rejection(to=handoff.to, reasons=handoff.reasons, source=handoff.source),)


def judged_value(
    state: ExecutionState, judge: AgentState, source: AgentName
) -> HandoffState | None:
    """The handoff from ``source`` about which ``judge`` votes anew: its value is a stand-in's."""
    for receiver in judge.judges:
        handoff = standing(state, source, receiver)
        if handoff is not None and handoff.by_agent:
            return handoff
    return None
