"""Crews: built from a definition or taken from an entrypoint, resumed, and run.

Runs in a thread of the worker. Each finished task is a checkpoint, which holds the outputs of
all finished tasks; resuming sets them on the rebuilt crew (see ADR 0005).
"""

from __future__ import annotations

import asyncio
import inspect
import json
import logging
from collections.abc import Callable, Mapping
from typing import Any

from crewai import Agent, Crew, Process, Task
from crewai.events.event_context import (
    EventContextConfig,
    MismatchBehavior,
    _event_context_config,
)
from crewai.tasks.task_output import TaskOutput
from crewai.tools import BaseTool
from pydantic import BaseModel, create_model
from pydantic_core import to_jsonable_python

from omium.definitions import Agent as AgentDefinition
from omium.definitions import Task as TaskDefinition
from omium.definitions import Tool, render, strict
from omium.errors import AgentError, ConfigError, EntrypointError
from omium.frameworks.crewai_llm import GuidedLLM, TaskShape
from omium.frameworks.entrypoints import load_entrypoint
from omium.frameworks.protocol import Assignment, Session
from omium.types import Json

log = logging.getLogger(__name__)


def run_crew(session: Session) -> Json:
    """Build the assigned crew, set what is finished, and run the rest of it."""
    _silence()
    assignment = session.assignment
    if assignment.agent.entrypoint is not None:
        crew = _crew_of_entrypoint(session, assignment.agent.entrypoint)
    else:
        crew = _crew_of_definition(session)
    finished = _restore(crew, assignment.saved)
    names = [task.name or "" for task in crew.tasks]
    crew.task_callback = _boundary(session, crew, finished, crew.task_callback)
    if finished < len(names):
        session.blocking.start_step(str(finished), names[finished])
    result: Any = crew.kickoff()
    return _output(assignment.agent, result.raw)


def _boundary(
    session: Session, crew: Crew, finished: int, users: Callable[..., Any] | None
) -> Callable[[TaskOutput], None]:
    """What CrewAI calls between a finished task and the next: the step's checkpoint."""
    done = finished

    def completed(output: TaskOutput) -> None:
        nonlocal done
        outputs = [task.output for task in crew.tasks[: done + 1]]
        state: dict[str, Any] = {
            "tasks": [
                one.model_dump(mode="json", exclude={"messages"})
                for one in outputs
                if one is not None
            ]
        }
        session.blocking.complete_step(str(done), state, crew.tasks[done].name or "")
        done += 1
        if done < len(crew.tasks):
            session.blocking.start_step(str(done), crew.tasks[done].name or "")
        if users is not None:
            users(output)

    return completed


def _restore(crew: Crew, saved: Json) -> int:
    """Set the outputs of finished tasks; how many there are."""
    if saved is None:
        return 0
    outputs: Any = saved["tasks"] if isinstance(saved, dict) else []
    for task, output in zip(crew.tasks, outputs, strict=False):
        task.output = TaskOutput.model_validate(output)
    # Makes CrewAI begin with the first task that has no output.
    crew.checkpoint_kickoff_event_id = "omium"
    return len(outputs)


def _output(agent: AgentDefinition, raw: str) -> Json:
    if agent.final_output is None:
        return raw
    try:
        return json.loads(raw)
    except ValueError as error:
        raise AgentError(f"agent {agent.name!r} answered no JSON: {raw[:200]!r}") from error


# ---------------------------------------------------------------------- from a definition


def _crew_of_definition(session: Session) -> Crew:
    assignment = session.assignment
    definition = assignment.agent
    if not assignment.endpoint.model:
        raise ConfigError(f"no model for agent {definition.name!r}: set one, or use --model")
    values: dict[str, Json] = {**assignment.inputs, **assignment.outputs}
    tools = {name: _tool(session, assignment.workflow.tool(name)) for name in definition.tools}
    llm = GuidedLLM(
        model=assignment.endpoint.model,
        provider="openai",
        base_url=assignment.endpoint.base_url,
        api_key=assignment.endpoint.api_key,
        temperature=definition.temperature,
        max_tokens=definition.max_tokens,
        max_retries=0,
    )
    agent = Agent(
        role=render(definition.role or definition.name, values),
        goal=render(definition.goal or "", values),
        backstory=render(definition.backstory or "", values),
        llm=llm,
        tools=list(tools.values()),
        verbose=False,
        allow_delegation=False,
        max_retry_limit=0,
        cache=False,
    )
    tasks: list[Task] = []
    for number, task in enumerate(definition.tasks):
        name = task.name or f"task{number + 1}"
        llm.shapes[name] = _shape(definition, number)
        tasks.append(
            Task(
                name=name,
                description=render(task.description, values),
                expected_output=render(task.expected_output, values),
                agent=agent,
                tools=[tools[one] for one in _tools_of(definition, task)],
            )
        )
    return Crew(agents=[agent], tasks=tasks, process=Process.sequential, verbose=False, cache=False)


def _tools_of(agent: AgentDefinition, task: TaskDefinition) -> tuple[str, ...]:
    return agent.tools if task.tools is None else task.tools


def _shape(agent: AgentDefinition, number: int) -> TaskShape:
    schema = agent.output_of(number)
    return TaskShape(
        schema=strict(schema) if schema is not None else None,
        tool_first=agent.tasks[number].tool_choice == "required",
    )


def _tool(session: Session, definition: Tool) -> BaseTool:
    """A CrewAI tool that runs the user's function through the call journal."""
    function = load_entrypoint(definition.function, session.assignment.import_paths)
    description = definition.description or inspect.getdoc(function)
    if not description:
        raise ConfigError(
            f"tool {definition.name!r} has no description: give it one, or the function a docstring"
        )

    class DefinedTool(BaseTool):
        def _run(self, **arguments: Any) -> str:
            result = session.blocking.call_tool(
                definition.name,
                to_jsonable_python(arguments),
                lambda _: _called(function, arguments),
                idempotent=definition.idempotent,
            )
            return result if isinstance(result, str) else json.dumps(result)

    return DefinedTool(
        name=definition.name,
        description=description,
        args_schema=_arguments_of(definition, function),
    )


def _called(function: Callable[..., Any], arguments: Mapping[str, Any]) -> Any:
    result = function(**arguments)
    if inspect.iscoroutine(result):
        return asyncio.run(result)
    return result


def _arguments_of(definition: Tool, function: Callable[..., Any]) -> type[BaseModel]:
    """The arguments of a tool as a pydantic model, from the function's signature."""
    try:
        signature = inspect.signature(function, eval_str=True)
    except (NameError, TypeError, ValueError) as error:
        raise EntrypointError(definition.function, f"its signature: {error}") from error
    fields: dict[str, Any] = {}
    for name, parameter in signature.parameters.items():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            reason = "a tool's parameters must have names"
            raise EntrypointError(definition.function, reason)
        annotation = str if parameter.annotation is parameter.empty else parameter.annotation
        default = ... if parameter.default is parameter.empty else parameter.default
        fields[name] = (annotation, default)
    return create_model(f"{definition.name}_arguments", **fields)


# ---------------------------------------------------------------------- from an entrypoint


def _crew_of_entrypoint(session: Session, entrypoint: str) -> Crew:
    """The user's own crew, with its tools put under the journal."""
    assignment = session.assignment
    build = load_entrypoint(entrypoint, assignment.import_paths)
    try:
        crew = build(*_wanted(build, assignment))
    except Exception as error:
        reason = f"building the crew raised {type(error).__name__}: {error}"
        raise EntrypointError(entrypoint, reason) from error
    if not isinstance(crew, Crew):
        raise EntrypointError(entrypoint, f"it returned a {type(crew).__name__}, not a Crew")
    crew.cache = False
    idempotent = {tool.name for tool in assignment.workflow.tools if tool.idempotent}
    for tool in _tools_in(crew):
        _journal(session, tool, idempotent=tool.name in idempotent)
    for task in crew.tasks:
        # In a thread of its own a task could not be stopped: CrewAI loses what unwinds it.
        if task.async_execution:
            log.warning("task %r of %s is run in its turn, not async", task.name, entrypoint)
            task.async_execution = False
    for agent in crew.agents:
        if isinstance(agent, Agent):
            agent.max_retry_limit = 0
    return crew


def _wanted(build: Callable[..., Any], assignment: Assignment) -> list[Any]:
    """An entrypoint takes nothing, or the assignment's inputs and the outputs before it."""
    count = len(inspect.signature(build).parameters)
    return [assignment.inputs, assignment.outputs][:count]


def _tools_in(crew: Crew) -> list[BaseTool]:
    owners: list[Any] = [*crew.agents, *crew.tasks, *(t.agent for t in crew.tasks if t.agent)]
    if crew.manager_agent is not None:
        owners.append(crew.manager_agent)
    found = {id(tool): tool for owner in owners for tool in owner.tools or []}
    return [tool for tool in found.values() if isinstance(tool, BaseTool)]


def _journal(session: Session, tool: BaseTool, *, idempotent: bool) -> None:
    original = tool.run

    def run(*args: Any, **kwargs: Any) -> Any:
        arguments = {"args": list(args), **kwargs} if args else tool._validate_kwargs(kwargs)

        def act(_: str) -> Json:
            result = original(*args, **kwargs)
            try:
                return to_jsonable_python(result)
            except ValueError:
                # The model is shown the text of a result in any case.
                return str(result)

        return session.blocking.call_tool(
            tool.name, to_jsonable_python(arguments), act, idempotent=idempotent
        )

    object.__setattr__(tool, "run", run)


def _silence() -> None:
    """Keep CrewAI's event bus from printing on the worker's output (a private name: the
    version is pinned)."""
    _event_context_config.set(
        EventContextConfig(
            mismatch_behavior=MismatchBehavior.SILENT, empty_pop_behavior=MismatchBehavior.SILENT
        )
    )
