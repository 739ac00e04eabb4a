"""The plan of an execution: what its journal needs to know of the order of its agents.

Pure: a workflow in, records out.
"""

from __future__ import annotations

from omium.definitions import Handoff, Workflow, conditional, graph, handoffs_of
from omium.execution.records import PlannedAgent, PlannedLoop
from omium.types import AgentName


def plan_of(workflow: Workflow) -> tuple[PlannedAgent, ...]:
    """The agents of a valid workflow, each after all that hand to it."""
    handoffs = graph(workflow)
    plan: list[PlannedAgent] = []
    for name in handoffs.order:
        when, otherwise = conditional(workflow, name)
        plan.append(
            PlannedAgent(
                name=name,
                upstream=handoffs.givers(name),
                when=when,
                otherwise=otherwise,
                loops=tuple(
                    _planned(handoff, handoffs.between((name, handoff.to[0])))
                    for handoff in handoffs_of(workflow)
                    if handoff.source == name and handoff.loop is not None
                ),
            )
        )
    return tuple(plan)


def _planned(handoff: Handoff, agents: tuple[AgentName, ...]) -> PlannedLoop:
    assert handoff.loop is not None
    return PlannedLoop(
        to=handoff.to[0],
        agents=agents,
        rounds_max=handoff.loop.max,
        conditional=handoff.when is not None,
        then=handoff.loop.then,
    )
