"""Crews: built from a definition or taken from an entrypoint, resumed, and run.

Runs in a thread of the worker. Each finished task is a checkpoint, which holds the outputs of
all finished tasks; resuming sets them on the rebuilt crew (see ADR 0005).
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from typing import Any

from crewai import Crew, Task
from crewai.tasks.conditional_task import ConditionalTask
from crewai.tasks.task_output import TaskOutput
from pydantic import BaseModel

from omium.errors import AgentError
from omium.frameworks.answers import parsed_answer
from omium.frameworks.crewai_build import crew_of_definition, crew_of_entrypoint
from omium.frameworks.crewai_people import asks_durably
from omium.frameworks.crewai_quiet import subdue
from omium.frameworks.protocol import Session
from omium.types import Json


def run_crew(session: Session) -> Json:
    """Build the assigned crew, set what is finished, and run the rest of it."""
    subdue()
    assignment = session.assignment
    agent = assignment.agent
    inputs: dict[str, Json] | None = None
    if agent.entrypoint is None:
        crew = crew_of_definition(session)
    else:
        crew, inputs = crew_of_entrypoint(session, agent.entrypoint)
    crew._task_output_handler = _NoOutputFile()  # pyright: ignore[reportAttributeAccessIssue]
    finished = _restore(crew, agent.name, assignment.saved)
    if finished < len(crew.tasks):
        session.blocking.start_step(str(finished), crew.tasks[finished].name or "")
    crew.task_callback = _boundary(session, crew, crew.task_callback)
    with asks_durably(session):
        result: Any = crew.kickoff(inputs=inputs)
    structured = _structured(result)
    if structured is not None:
        return structured
    return result.raw if agent.final_output is None else parsed_answer(agent.name, result.raw)


class _NoOutputFile:
    """In the place of CrewAI's record of the latest kickoff, one SQLite file for all crews of a
    process: crews that run side by side would clear and lock it under one another."""

    def reset(self) -> None: ...

    def update(self, task_index: int, log: dict[str, Any]) -> None: ...

    def load(self) -> None: ...


# ---------------------------------------------------------------------- steps


def _boundary(
    session: Session, crew: Crew, users: Callable[[TaskOutput], Any] | None
) -> Callable[[TaskOutput], None]:
    """What CrewAI calls between a finished task and the next: the step's checkpoint."""

    def completed(output: TaskOutput) -> None:
        # Before the checkpoint, like a task's own callback: rather called again than never.
        if users is not None:
            said = users(output)
            if inspect.iscoroutine(said):
                asyncio.run(said)
        done = next(n for n, task in enumerate(crew.tasks) if task.output is output)
        state: Json = {"tasks": [_saved(task.output) for task in crew.tasks[: done + 1]]}
        session.blocking.complete_step(str(done), state, crew.tasks[done].name or "")
        if done + 1 < len(crew.tasks):
            session.blocking.start_step(str(done + 1), crew.tasks[done + 1].name or "")

    return completed


def _saved(output: TaskOutput | None) -> Json:
    """A task's output as the checkpoint keeps it; None for a task that was skipped."""
    if output is None:
        return None
    # The base class would write its own fields of the model, which has none.
    pydantic = output.pydantic.model_dump(mode="json") if output.pydantic is not None else None
    # The conversation is not needed to go on, and may be long.
    return {**output.model_dump(mode="json", exclude={"messages"}), "pydantic": pydantic}


def _restore(crew: Crew, agent: str, saved: Json) -> int:
    """Give finished tasks their outputs back; how many tasks are finished, skipped ones
    included."""
    if saved is None:
        return 0
    outputs: Any = saved["tasks"] if isinstance(saved, dict) else None
    if len(outputs) > len(crew.tasks):
        raise AgentError(
            f"agent {agent!r} has finished {len(outputs)} tasks, but its crew now has only "
            f"{len(crew.tasks)}: bring the crew's tasks back, or start anew"
        )
    for task, output in zip(crew.tasks, outputs, strict=False):
        task.output = _skipped(agent, task) if output is None else _restored(task, output)
    # Makes CrewAI begin with the first task that has no output.
    crew.checkpoint_kickoff_event_id = "omium"
    return len(outputs)


def _restored(task: Task, saved: dict[str, Any]) -> TaskOutput:
    output = TaskOutput.model_validate({**saved, "pydantic": None})
    if saved["pydantic"] is not None and task.output_pydantic is not None:
        output.pydantic = task.output_pydantic.model_validate(saved["pydantic"])
    return output


def _skipped(agent: str, task: Task) -> TaskOutput:
    if not isinstance(task, ConditionalTask):
        raise AgentError(
            f"agent {agent!r} has skipped task {task.name!r}, which its crew now always runs: "
            "bring the crew's tasks back, or start anew"
        )
    return task.get_skipped_task_output()


# ---------------------------------------------------------------------- the output


def _structured(result: Any) -> Json:
    """What a crew answers whose last task names a model for its output; None for the others."""
    if isinstance(result.pydantic, BaseModel):
        return result.pydantic.model_dump(mode="json")
    return result.json_dict
