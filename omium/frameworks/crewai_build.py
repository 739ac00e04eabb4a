"""Building crews: from a definition, or by the user's own entrypoint.

Each attempt gets a crew of its own. What a crew of the user's would do behind the journal's
back is switched off here, or refused.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

from crewai import Agent, Crew, Process, Task
from crewai.agents.tools_handler import ToolsHandler
from crewai.flow.flow import Flow
from crewai.utilities.constants import TRAINED_AGENTS_DATA_FILE

from omium.definitions import Agent as AgentDefinition
from omium.definitions import Member, strict
from omium.errors import ConfigError, EntrypointError
from omium.frameworks.crewai_coworkers import delegate_in_branches, fail_loudly
from omium.frameworks.crewai_llm import GuidedLLM, TaskShape
from omium.frameworks.crewai_steps import Places, run_in_branches
from omium.frameworks.crewai_tools import defined_tool, journal_tools, resolved
from omium.frameworks.entrypoints import load_entrypoint, wanted_arguments
from omium.frameworks.protocol import Session
from omium.types import Json

# ---------------------------------------------------------------------- from a definition


def crew_of_definition(session: Session, places: Places) -> Crew:
    """The crew that the assigned agent's definition describes: one CrewAI agent and its tasks, or
    a manager with those to whom it hands them."""
    assignment = session.assignment
    definition = assignment.agent
    if not assignment.endpoint.model:
        raise ConfigError(f"no model for agent {definition.name!r}: set one, or use --model")
    llm = _llm(session, assignment.endpoint.model)
    # The agent has no tools of its own: CrewAI would give them to tasks that are to have none.
    texts = (definition.role or definition.name, definition.goal or "", definition.backstory or "")
    agent = _agent(session, llm, *texts)
    hierarchical = definition.process == "hierarchical"
    tasks: list[Task] = []
    for number in range(len(definition.tasks)):
        tasks.append(_task(session, None if hierarchical else agent, llm, number, tasks))
    agents = [agent]
    manager: dict[str, Any] = {}
    if hierarchical:
        agents = [_member(session, member) for member in definition.members or ()]
        manager = {"process": Process.hierarchical, "manager_agent": agent}
    for one in [agent, *agents] if hierarchical else [agent]:
        _govern(one, places)
    return Crew(agents=[*agents], tasks=tasks, verbose=False, cache=False, **manager)


def _llm(session: Session, model: str) -> GuidedLLM:
    endpoint, definition = session.assignment.endpoint, session.assignment.agent
    return GuidedLLM(
        model=model,
        provider="openai",
        base_url=endpoint.base_url,
        api_key=endpoint.api_key,
        temperature=definition.temperature,
        max_tokens=definition.max_tokens,
        max_retries=0,
        in_words=definition.tool_calls == "text",
    )


def _agent(session: Session, llm: GuidedLLM, role: str, goal: str, backstory: str) -> Agent:
    rendered = session.assignment.rendered
    return Agent(
        role=rendered(role),
        goal=rendered(goal),
        backstory=rendered(backstory),
        llm=llm,
        verbose=False,
        allow_delegation=False,
        max_retry_limit=0,
        cache=False,
    )


def _member(session: Session, member: Member) -> Agent:
    workflow, owner = session.assignment.workflow, session.assignment.agent
    llm = _llm(session, member.model or session.assignment.endpoint.model)
    agent = _agent(session, llm, member.role, member.goal, member.backstory)
    names = owner.tools if member.tools is None else member.tools
    agent.tools = [defined_tool(session, workflow.tool(name), lambda: None) for name in names]
    return agent


def _task(
    session: Session,
    agent: Agent | None,
    llm: GuidedLLM,
    number: int,
    earlier: Sequence[Task],
) -> Task:
    assignment = session.assignment
    workflow, owner = assignment.workflow, assignment.agent
    definition = owner.tasks[number]
    told: dict[str, Any] = {}
    description = assignment.rendered(definition.description)
    if number == len(owner.tasks) - 1:
        # What was not taken is what the last one gave.
        description = assignment.told(description)
    if definition.context is not None:
        told["context"] = [task for task in earlier if task.name in definition.context]
    elif definition.side_by_side:
        # CrewAI would tell it of nothing. Those that run beside it are at work themselves.
        told["context"] = _ended(earlier)
    task = Task(
        name=definition.name or f"task{number + 1}",
        description=description,
        expected_output=assignment.rendered(definition.expected_output),
        agent=agent,
        async_execution=definition.side_by_side,
        **told,
    )
    # A manager's tools are those for handing work on, and the ones that the task names.
    mine = owner.tools if agent is not None else ()
    names = mine if definition.tools is None else definition.tools
    if not (llm.in_words and (names or agent is None)):
        # Under a schema a model could not say in words that it calls a tool.
        llm.shapes[str(task.id)] = _shape(owner, number)

    def returned() -> None:
        llm.served.add(str(task.id))

    task.tools = [defined_tool(session, workflow.tool(name), returned) for name in names]
    return task


def _ended(earlier: Sequence[Task]) -> list[Task]:
    """The tasks that have ended when one starts that waits for none of those beside it."""
    last = max((n for n, task in enumerate(earlier) if not task.async_execution), default=-1)
    return list(earlier[: last + 1])


def _shape(agent: AgentDefinition, number: int) -> TaskShape:
    schema = agent.output_of(number)
    return TaskShape(
        schema=strict(schema) if schema is not None else None,
        tool_first=agent.tasks[number].tool_choice == "required",
    )


# ---------------------------------------------------------------------- from an entrypoint


def made_by(session: Session, entrypoint: str) -> tuple[Any, dict[str, Json] | None]:
    """What the user's function makes, and the inputs to kick it off with.

    An entrypoint that takes nothing gets the execution's inputs and the outputs of the agents
    before it as CrewAI's inputs, for the placeholders in its texts; one that takes ``inputs``
    or ``outputs`` has put them where they belong. Raises ``EntrypointError``.
    """
    assignment = session.assignment
    build = load_entrypoint(entrypoint, assignment.import_paths)
    wanted = wanted_arguments(entrypoint, build, assignment.arguments)
    try:
        made = resolved(build, **wanted)
    except Exception as error:
        reason = f"building the crew raised {type(error).__name__}: {error}"
        raise EntrypointError(entrypoint, reason) from error
    if not isinstance(made, Crew | Flow):
        raise EntrypointError(entrypoint, f"it returned a {type(made).__name__}, not a Crew")
    if wanted.keys() & {"inputs", "outputs"}:
        return made, None
    # CrewAI refuses a placeholder without a value, and would write the None of one as "None".
    missing = dict.fromkeys(sorted(assignment.absent), "")
    return made, {**assignment.inputs, **missing, **assignment.outputs} or None


def govern_crew(session: Session, places: Places, entrypoint: str, crew: Crew) -> None:
    """Put a user's crew under the journal. Raises ``EntrypointError``."""
    _refuse_training(session, entrypoint)
    _refuse_shared(entrypoint, crew)
    _subject(session, places, entrypoint, crew)


def govern_inner(session: Session, places: Places, entrypoint: str, inner: Crew | Agent) -> None:
    """Put a crew or an agent under the journal that a flow of the user's kicks off, unless it is.
    Its calls are part of the flow's step."""
    owner = getattr(inner, "_omium", None)
    if owner is session:
        return
    if isinstance(inner, Crew):
        govern_crew(session, places, entrypoint, inner)
        without_file(inner)
        run_in_branches(inner, places)
    elif owner is not None:
        raise EntrypointError(
            entrypoint, f"agent {inner.role!r} was in an earlier flow already; make it anew"
        )
    else:
        _subject_agent(inner, places)
        journal_tools(session, [inner], _idempotent(session))
        fail_loudly([inner.guardrail])
    object.__setattr__(inner, "_omium", session)


class _NoOutputFile:
    """In the place of CrewAI's record of the latest kickoff, one SQLite file for all crews of a
    process: crews that run side by side would clear and lock it under one another."""

    def reset(self) -> None: ...

    def update(self, task_index: int, log: dict[str, Any]) -> None: ...

    def load(self) -> None: ...


def without_file(crew: Crew) -> None:
    """Let ``crew`` leave no record of its kickoff."""
    crew._task_output_handler = _NoOutputFile()  # pyright: ignore[reportAttributeAccessIssue]


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


def _refuse_training(session: Session, entrypoint: str) -> None:
    """Refuse code that has a file of CrewAI's training beside it. CrewAI would unpickle it, and
    here it does not: the crew would be asked to do something else, and nobody told why."""
    for folder in (os.curdir, *session.assignment.import_paths):
        if Path(folder, TRAINED_AGENTS_DATA_FILE).is_file():
            raise EntrypointError(
                entrypoint,
                f"{TRAINED_AGENTS_DATA_FILE} lies in {folder!r}: it is a pickle, which is not "
                "read here, since reading one runs whatever is in it; put what it suggests into "
                "the backstories of the agents, and the file elsewhere",
            )


def _agents(crew: Crew) -> list[Any]:
    """The agents of a crew, each once."""
    owners = [*crew.agents, *(task.agent for task in crew.tasks), crew.manager_agent]
    return list({id(agent): agent for agent in owners if agent is not None}.values())


def _subject(session: Session, places: Places, entrypoint: str, crew: Crew) -> None:
    """Leave to Omium what Omium answers for: retries, caches, order, and whom to ask."""
    crew.cache = False
    crew.stream = False
    _refuse(entrypoint, crew)
    if crew.process == Process.hierarchical and crew.manager_agent is None:
        # CrewAI makes it at kickoff, too late to be looked at.
        crew._create_manager_agent()
    agents = _agents(crew)
    for agent in agents:
        if isinstance(agent, Agent):
            _subject_agent(agent, places)
    for task in crew.tasks:
        fail_loudly([task._guardrail, *task._guardrails])
    journal_tools(session, [*agents, *crew.tasks], _idempotent(session))


def _subject_agent(agent: Agent, places: Places) -> None:
    agent.max_retry_limit = 0
    # A cached result would be in no journal: the next attempt would not have it.
    agent.cache = False
    agent.tools_handler = ToolsHandler()
    _govern(agent, places)


def _idempotent(session: Session) -> frozenset[str]:
    declared = session.assignment.workflow.tools
    return frozenset(tool.name for tool in declared if tool.idempotent)


def _govern(agent: Agent, places: Places) -> None:
    """Let an agent do what is the same in every try."""
    # It would put long results into files, and their random names into the conversation.
    agent.use_better_compaction = False
    delegate_in_branches(agent, places)


def _refuse(entrypoint: str, crew: Crew) -> None:
    """Refuse what would remember or act outside of the journal, and say what to do instead."""
    owners = [("crew", crew), *((f"agent {agent.role!r}", agent) for agent in _agents(crew))]
    for name, owner in owners:
        for field, reason in _REFUSED.items():
            if getattr(owner, field, None):
                raise EntrypointError(entrypoint, f"its {name} has {field!r}: {reason}")


_NO_EMBEDDER = "its texts are searched by embeddings, for which the gateway has no model"
_REFUSED = {
    "memory": "what it remembers lies in a database of one machine, and would differ after a "
    "crash; leave it out, and hand on what matters by context or output",
    "knowledge_sources": f"{_NO_EMBEDDER}; put short texts into a task, and give a tool for the "
    "search of long ones",
    "knowledge": f"{_NO_EMBEDDER}; give a tool for the search",
    "mcps": "calls of these tools are in no journal; give a tool that makes the call",
    "apps": "calls of these tools are in no journal; give a tool that makes the call",
    "trained_agents_file": "it is a pickle, and reading one runs whatever is in it; put what it "
    "suggests into the backstories of the agents",
    "a2a": "what other servers do for it is in no journal; give a tool that makes the call",
}
"""Fields of crews and agents, and why they cannot be used."""
