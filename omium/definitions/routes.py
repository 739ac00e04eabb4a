"""What the handoffs of a valid workflow say beyond who hands to whom: conditions and loops.

Pure. ``fitting`` is the one place where a condition meets an output, ``misfits`` where an input
schema does.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from omium.definitions.digest import digest_of
from omium.definitions.graph import graph
from omium.definitions.model import Agent, Handoff, Workflow
from omium.definitions.problems import Problem
from omium.definitions.schema import problems_of
from omium.types import Json


def handoffs_of(workflow: Workflow) -> Iterator[Handoff]:
    """The handoffs that say more than a chain can, in order."""
    for handoff in workflow.handoffs or ():
        if isinstance(handoff, Handoff):
            yield handoff


def fitting(workflow: Workflow, agent: str, output: Json) -> tuple[str, ...]:
    """The agents to whom ``agent`` hands on a condition that ``output`` fulfils."""
    found: dict[str, None] = {}
    for handoff in handoffs_of(workflow):
        if handoff.source != agent or handoff.when is None:
            continue
        if not problems_of(handoff.when, output):
            found.update(dict.fromkeys(handoff.to))
    return tuple(found)


def takes(agent: Agent) -> str:
    """The digest of what an agent takes from others: its version of the handoff; empty where it
    takes anything."""
    return digest_of(agent.input) if agent.input is not None else ""


def misfits(agent: Agent, output: Json) -> list[Problem]:
    """Why ``agent`` does not take ``output`` from another; nothing where it does."""
    return problems_of(agent.input, output) if agent.input is not None else []


def votes_on(workflow: Workflow, source: str, to: str) -> tuple[tuple[str, ...], int]:
    """The validators of what ``source`` hands to ``to``, and how many of them have to be for it;
    none, where nobody votes about it."""
    for handoff in handoffs_of(workflow):
        if handoff.validators and handoff.source == source and to in handoff.to:
            return handoff.validators, handoff.votes_min
    return (), 0


def stand_in_of(workflow: Workflow, source: str, to: str) -> str | None:
    """The agent that has another output for ``to`` when that of ``source`` is not taken, if any."""
    for handoff in handoffs_of(workflow):
        if handoff.stand_in is not None and handoff.source == source and to in handoff.to:
            return handoff.stand_in
    return None


def conditional(workflow: Workflow, agent: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Who hands to ``agent`` only on a condition, and who only if no condition is fulfilled."""
    forward = [h for h in handoffs_of(workflow) if h.loop is None and agent in h.to]
    return (
        tuple(dict.fromkeys(h.source for h in forward if h.when is not None)),
        tuple(dict.fromkeys(h.source for h in forward if h.otherwise)),
    )


def unheard(workflow: Workflow, agent: str, outputs: Collection[str]) -> tuple[str, ...]:
    """The agents whose output ``agent`` might see, and of whom ``outputs`` has none: they were
    skipped, or their first round is still to come."""
    handoffs = graph(workflow)
    visible = {*handoffs.upstream(agent), *handoffs.recalled(agent)}
    return tuple(name for name in handoffs.agents if name in visible and name not in outputs)
