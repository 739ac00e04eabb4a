"""Crews: built from a definition or taken from an entrypoint, resumed, and run to their output.

Runs in a thread of the worker.
"""

from __future__ import annotations

from typing import Any

from crewai.flow.flow import Flow
from pydantic import BaseModel
from pydantic_core import to_jsonable_python

from omium.frameworks.answers import parsed_answer
from omium.frameworks.crewai_build import (
    crew_of_definition,
    govern_crew,
    made_by,
    without_file,
)
from omium.frameworks.crewai_coworkers import WorkFailed
from omium.frameworks.crewai_flow import run_flow
from omium.frameworks.crewai_people import asks_durably
from omium.frameworks.crewai_planning import plan_once
from omium.frameworks.crewai_quiet import subdue
from omium.frameworks.crewai_steps import CrewSteps, Places
from omium.frameworks.protocol import Session
from omium.types import Json


def run_crew(session: Session) -> Json:
    """Build the assigned crew, set what is finished, and run the rest of it; or run the flow
    that the user's code makes."""
    subdue()
    assignment = session.assignment
    agent = assignment.agent
    inputs: dict[str, Json] | None = None
    places = Places(session)
    if agent.entrypoint is None:
        crew = crew_of_definition(session, places)
    else:
        crew, inputs = made_by(session, agent.entrypoint)
        if isinstance(crew, Flow):
            with asks_durably(session):
                return run_flow(session, places, agent.entrypoint, crew, inputs)
        govern_crew(session, places, agent.entrypoint, crew)
    without_file(crew)
    steps = CrewSteps(session, places, crew, assignment.saved)
    plan_once(crew, steps)
    # What a callback of the user's asks before the first task is part of that task.
    if steps.first is not None:
        session.enter_step(str(steps.first))
    try:
        with asks_durably(session):
            result: Any = crew.kickoff(inputs=inputs)
    except WorkFailed as failed:
        raise failed.error from None
    finally:
        steps.settle()
    structured = _structured(result)
    if structured is not None:
        return structured
    return result.raw if agent.final_output is None else parsed_answer(agent.name, result.raw)


# ---------------------------------------------------------------------- the output


def _structured(result: Any) -> Json:
    """What a crew answers whose last task names a model for its output; None for the others."""
    if isinstance(result.pydantic, BaseModel):
        return result.pydantic.model_dump(mode="json")
    return to_jsonable_python(result.json_dict)
