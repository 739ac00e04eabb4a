"""Building crews: from a definition, or by the user's own entrypoint.

Each attempt gets a crew of its own. What a crew of the user's would do behind the journal's
back is switched off here, or refused.
"""

from __future__ import annotations

import logging
import threading
from typing import Any
from weakref import WeakValueDictionary

from crewai import Agent, Crew, Process, Task
from crewai.agents.tools_handler import ToolsHandler

from omium.definitions import Agent as AgentDefinition
from omium.definitions import strict
from omium.errors import ConfigError, EntrypointError
from omium.frameworks.crewai_llm import GuidedLLM, TaskShape
from omium.frameworks.crewai_tools import defined_tool, journal_tools, resolved
from omium.frameworks.entrypoints import load_entrypoint, wanted_arguments
from omium.frameworks.protocol import Session
from omium.types import Json

log = logging.getLogger(__name__)


# ---------------------------------------------------------------------- from a definition


def crew_of_definition(session: Session) -> Crew:
    """The crew that the assigned agent's definition describes: one CrewAI agent, its tasks."""
    assignment = session.assignment
    definition = assignment.agent
    if not assignment.endpoint.model:
        raise ConfigError(f"no model for agent {definition.name!r}: set one, or use --model")
    llm = GuidedLLM(
        model=assignment.endpoint.model,
        provider="openai",
        base_url=assignment.endpoint.base_url,
        api_key=assignment.endpoint.api_key,
        temperature=definition.temperature,
        max_tokens=definition.max_tokens,
        max_retries=0,
    )
    # The agent has no tools of its own: CrewAI would give them to tasks that are to have none.
    agent = Agent(
        role=assignment.rendered(definition.role or definition.name),
        goal=assignment.rendered(definition.goal or ""),
        backstory=assignment.rendered(definition.backstory or ""),
        llm=llm,
        verbose=False,
        allow_delegation=False,
        max_retry_limit=0,
        cache=False,
    )
    tasks = [_task(session, agent, llm, number) for number in range(len(definition.tasks))]
    return Crew(agents=[agent], tasks=tasks, process=Process.sequential, verbose=False, cache=False)


def _task(session: Session, agent: Agent, llm: GuidedLLM, number: int) -> Task:
    assignment = session.assignment
    workflow, owner = assignment.workflow, assignment.agent
    definition = owner.tasks[number]
    task = Task(
        name=definition.name or f"task{number + 1}",
        description=assignment.rendered(definition.description),
        expected_output=assignment.rendered(definition.expected_output),
        agent=agent,
    )
    llm.shapes[str(task.id)] = _shape(owner, number)
    names = owner.tools if definition.tools is None else definition.tools

    def returned() -> None:
        llm.served.add(str(task.id))

    task.tools = [defined_tool(session, workflow.tool(name), returned) for name in names]
    return task


def _shape(agent: AgentDefinition, number: int) -> TaskShape:
    schema = agent.output_of(number)
    return TaskShape(
        schema=strict(schema) if schema is not None else None,
        tool_first=agent.tasks[number].tool_choice == "required",
    )


# ---------------------------------------------------------------------- from an entrypoint


def crew_of_entrypoint(session: Session, entrypoint: str) -> tuple[Crew, dict[str, Json] | None]:
    """The user's own crew, put under the journal, and the inputs to kick it off with.

    An entrypoint that takes nothing gets the execution's inputs and the outputs of the agents
    before it as CrewAI's inputs, for the placeholders in its texts; one that takes ``inputs``
    or ``outputs`` has put them where they belong. Raises ``EntrypointError``.
    """
    assignment = session.assignment
    build = load_entrypoint(entrypoint, assignment.import_paths)
    given = {"inputs": assignment.inputs, "outputs": assignment.outputs}
    wanted = wanted_arguments(entrypoint, build, given)
    try:
        crew = resolved(build, **wanted)
    except Exception as error:
        reason = f"building the crew raised {type(error).__name__}: {error}"
        raise EntrypointError(entrypoint, reason) from error
    if not isinstance(crew, Crew):
        raise EntrypointError(entrypoint, f"it returned a {type(crew).__name__}, not a Crew")
    _refuse_shared(entrypoint, crew)
    _subject(session, entrypoint, crew)
    if wanted:
        return crew, None
    # CrewAI refuses a placeholder without a value, and would write the None of one as "None".
    missing = dict.fromkeys(sorted(assignment.absent), "")
    return crew, {**assignment.inputs, **missing, **assignment.outputs} or None


_used: WeakValueDictionary[int, Any] = WeakValueDictionary()
_using = threading.Lock()


def _refuse_shared(entrypoint: str, crew: Crew) -> None:
    """Refuse a crew that has a part of an earlier one: crews run side by side in one process,
    and CrewAI keeps outputs and conversations in these objects."""
    parts: list[Any] = [crew, *crew.tasks, *_agents(crew)]
    with _using:
        for part in parts:
            if _used.get(id(part)) is part:
                name = getattr(part, "role", None) or part.name
                raise EntrypointError(
                    entrypoint,
                    f"the {type(part).__name__} {name!r} was in an earlier crew already; "
                    "make crew, agents and tasks anew in each call",
                )
        _used.update({id(part): part for part in parts})


def _agents(crew: Crew) -> list[Any]:
    """The agents of a crew, each once."""
    owners = [*crew.agents, *(task.agent for task in crew.tasks), crew.manager_agent]
    return list({id(agent): agent for agent in owners if agent is not None}.values())


def _subject(session: Session, entrypoint: str, crew: Crew) -> None:
    """Leave to Omium what Omium answers for: retries, caches, order, and whom to ask."""
    crew.cache = False
    crew.stream = False
    agents = _agents(crew)
    for agent in agents:
        if isinstance(agent, Agent):
            agent.max_retry_limit = 0
            # A cached result would be in no journal: the next attempt would not have it.
            agent.cache = False
            agent.tools_handler = ToolsHandler()
    for task in crew.tasks:
        # In a thread of its own a task could not be stopped: CrewAI loses what unwinds it.
        if task.async_execution:
            log.warning("task %r of %s is run in its turn, not async", task.name, entrypoint)
            task.async_execution = False
    declared = session.assignment.workflow.tools
    idempotent = frozenset(tool.name for tool in declared if tool.idempotent)
    journal_tools(session, [*agents, *crew.tasks], idempotent)
