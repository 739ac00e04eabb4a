"""A handoff that is checked, as it stands: its name, its offer, and what the plan says of it.

Pure. A handoff is named by its giver, the giver's round and its receiver. So whoever offers it
again, after a crash or in a fork, gives it the name that it has, and it is accepted once.
"""

from __future__ import annotations

from omium.execution.records import PlannedHandoff
from omium.execution.state import AgentState, ExecutionState, HandoffState
from omium.types import AgentName


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


def known(state: ExecutionState, to: AgentName, name: str) -> HandoffState | None:
    found = (h for (_, receiver), h in state.handoffs.items() if receiver == to)
    return next((h for h in found if h.name == name), None)


def to_judge(state: ExecutionState, to: AgentName, name: str) -> tuple[HandoffState | None, str]:
    """The handoff that is to be judged under this name, or why there is nothing to judge."""
    handoff = known(state, to, name)
    if handoff is None:
        return None, f"no handoff {name!r} to agent {to!r}"
    if standing(state, handoff.source, handoff.to) is not handoff:
        return None, f"handoff {handoff.name!r} is superseded: {handoff.source!r} has run again"
    if handoff.status != "offered":
        return None, f"handoff {handoff.name!r} is {handoff.status} already"
    return handoff, ""
