"""A crew with ``planning``: its plan is made once, as a step before the tasks.

CrewAI makes it at every kickoff, and writes into the request where in memory its tools are.
"""

from __future__ import annotations

import re
from typing import Any

from crewai import Crew
from crewai.utilities.planning_handler import CrewPlanner

from omium.frameworks.crewai_steps import CrewSteps

_ADDRESS = re.compile(r" at 0x[0-9a-f]+")


def plan_once(crew: Crew, steps: CrewSteps) -> None:
    """Let the crew's kickoff take its plan from ``steps``. Nothing changes in a crew that does
    not plan."""

    def handle_crew_planning() -> None:
        for task, plan in zip(crew.tasks, steps.plan(lambda: _plans(crew)), strict=True):
            task.description += plan

    object.__setattr__(crew, "_handle_crew_planning", handle_crew_planning)


def _plans(crew: Crew) -> list[str]:
    planner = CrewPlanner(tasks=crew.tasks, planning_agent_llm=crew.planning_llm)
    summary, agent_of = planner._create_tasks_summary, planner._create_planning_agent

    def planning_agent() -> Any:
        agent = agent_of()
        agent.max_retry_limit = 0
        return agent

    # Past pydantic and past the class, which has them as methods.
    object.__setattr__(planner, "_create_planning_agent", planning_agent)
    object.__setattr__(planner, "_create_tasks_summary", lambda: _ADDRESS.sub("", summary()))
    found: dict[int, str] = {}
    for plan in planner._handle_crew_planning().list_of_plans_per_task:
        found.setdefault(plan.task_number, plan.plan)
    return [found.get(number, "") for number in range(1, len(crew.tasks) + 1)]
