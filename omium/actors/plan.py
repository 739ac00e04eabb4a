"""The plan of an execution: what its journal needs to know of the order of its agents.

Pure: a workflow in, records out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from omium.definitions import (
    Agent,
    Handoff,
    Workflow,
    conditional,
    graph,
    handoffs_of,
    stand_in_of,
    takes,
    votes_on,
)
from omium.execution.records import PlannedAgent, PlannedHandoff, PlannedLoop
from omium.types import AgentName


def plan_of(workflow: Workflow) -> tuple[PlannedAgent, ...]:
    """The agents of a valid workflow, each after all that hand to it."""
    handoffs = graph(workflow)
    plan: list[PlannedAgent] = []
    for name in handoffs.order:
        when, otherwise = conditional(workflow, name)
        agent = workflow.agent(name)
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
                checked=tuple(_checked(workflow, agent, handoffs.givers(name))),
                judges=handoffs.judged(name),
                stands_in=handoffs.stands_in(name),
            )
        )
    return tuple(plan)


def _checked(
    workflow: Workflow, agent: Agent, givers: Iterable[AgentName]
) -> Iterator[PlannedHandoff]:
    schema = takes(agent)
    for giver in givers:
        validators, votes_min = votes_on(workflow, giver, agent.name)
        stand_in = stand_in_of(workflow, giver, agent.name)
        if schema or validators:
            yield PlannedHandoff(
                source=giver,
                schema=schema,
                retries=workflow.agent(giver).retries,
                deadline_s=agent.accept_timeout_s,
                validators=validators,
                votes_min=votes_min,
                stand_in=stand_in,
            )


def _planned(handoff: Handoff, agents: tuple[AgentName, ...]) -> PlannedLoop:
    assert handoff.loop is not None
    return PlannedLoop(
        to=handoff.to[0],
        agents=agents,
        rounds_max=handoff.loop.max,
        conditional=handoff.when is not None,
        then=handoff.loop.then,
    )
