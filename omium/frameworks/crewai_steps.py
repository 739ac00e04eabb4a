"""The steps of a crew: its tasks, which of them are finished, and where their calls stand.

A task is a step. Tasks with ``async_execution`` run side by side, each in a thread and under a
step of its own, so that it does not matter which of them is ahead. The checkpoint of each task
holds the outputs of all that are finished; resuming sets them on the rebuilt crew (see ADR
0005). This module builds no crew and decides nothing about its parts.
"""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from contextlib import contextmanager
from typing import Any

from crewai import Agent, Crew, Task
from crewai.agents.tools_handler import ToolsHandler
from crewai.tasks.conditional_task import ConditionalTask
from crewai.tasks.task_output import TaskOutput
from crewai.utilities.constants import NOT_SPECIFIED

from omium.errors import AgentError
from omium.execution.calls import digest_of
from omium.frameworks.protocol import Session
from omium.types import Json


class CrewSteps:
    """The tasks of one attempt at a crew. Safe for threads."""

    def __init__(self, session: Session, places: Places, crew: Crew, saved: Json) -> None:
        """Gives finished tasks of ``crew`` their outputs back and takes charge of the others.
        Raises ``AgentError`` when the crew does not have the tasks that were finished."""
        self._session = session
        self._crew = crew
        self._committing = threading.Lock()
        self._running: list[Future[TaskOutput]] = []
        self._begun: set[int] = set()
        self._places = places
        state: Any = saved or {}
        self._plan: list[str] | None = state.get("plan")
        self._finished = _restore(crew, session.assignment.agent.name, state)
        for number, task in enumerate(crew.tasks):
            self._take_over(number, task)

    @property
    def first(self) -> int | None:
        """The number of the first task that is not finished; None when all are."""
        return next((n for n in range(len(self._crew.tasks)) if n not in self._finished), None)

    def settle(self) -> None:
        """Wait until no task runs any more. A task that failed leaves others at work, and an
        attempt is not over while something acts in its name."""
        wait(self._running)

    def plan(self, make: Callable[[], list[str]]) -> list[str]:
        """What a planner adds to the description of each task: made once, as a step before the
        tasks, since another plan would have their calls made anew."""
        if self._plan is None:
            with self._places.at("plan"):
                self._session.blocking.start_step("plan", "plan")
                self._plan = make()
            self._session.blocking.complete_step("plan", self._state(), "plan")
        return self._plan

    # ------------------------------------------------------------------ running

    def _take_over(self, number: int, task: Task) -> None:
        """Let ``task`` run as a step. Its own ways to run are wrapped on the instance, past
        pydantic, which takes no new attributes."""
        run: Callable[..., TaskOutput] = task.execute_sync

        def execute_sync(
            agent: Any = None, context: str | None = None, tools: list[Any] | None = None
        ) -> TaskOutput:
            return self._run(number, task, lambda: run(agent, context, tools))

        def execute_async(
            agent: Any = None, context: str | None = None, tools: list[Any] | None = None
        ) -> Future[TaskOutput]:
            own = alone(agent)
            # CrewAI means to tell such a task of the last one before it, and does so only in a
            # crew that was resumed. What is asked must be the same before and after a crash.
            told = "" if task.context is NOT_SPECIFIED else context
            return self._start(lambda: execute_sync(own, told, tools))

        object.__setattr__(task, "execute_sync", execute_sync)
        object.__setattr__(task, "execute_async", execute_async)

    def _run(self, number: int, task: Task, run: Callable[[], TaskOutput]) -> TaskOutput:
        if number in self._finished and task.output is not None:
            return task.output
        step, name = str(number), task.name or ""
        self._begun.add(number)
        with self._places.at(step):
            self._session.blocking.start_step(step, name)
            output = run()
        # One at a time, so that no checkpoint has less than the one before it.
        with self._committing:
            self._finished.add(number)
            self._session.blocking.complete_step(step, self._state(), name)
        return output

    def _start(self, run: Callable[[], TaskOutput]) -> Future[TaskOutput]:
        future = _in_thread(run)
        self._running.append(future)
        return future

    def _state(self) -> Json:
        last = max(self._finished, default=-1)
        tasks: list[Json] = [
            _saved(task.output if n in self._finished else None)
            for n, task in enumerate(self._crew.tasks[: last + 1])
        ]
        running: list[Json] = [n for n in sorted(self._begun - self._finished) if n < last]
        state: dict[str, Json] = {"tasks": tasks}
        if running:
            state["running"] = running
        if self._plan is not None:
            state["plan"] = list(self._plan)
        return state


def run_in_branches(crew: Crew, places: Places) -> None:
    """Let tasks of ``crew`` that run at once stand in branches of the step that they are part of.

    For a crew inside of something that is itself a step. As within a crew of its own, a task
    that is unwound takes the crew with it.
    """
    for number, task in enumerate(crew.tasks):
        object.__setattr__(task, "execute_async", _branched(task, number, places))


def _branched(task: Task, number: int, places: Places) -> Callable[..., Future[TaskOutput]]:
    def execute_async(
        agent: Any = None, context: str | None = None, tools: list[Any] | None = None
    ) -> Future[TaskOutput]:
        own = alone(agent)

        def run() -> TaskOutput:
            with places.below("task", number):
                return task.execute_sync(own, context, tools)

        return _in_thread(run)

    return execute_async


def _in_thread(run: Callable[[], TaskOutput]) -> Future[TaskOutput]:
    """As CrewAI starts a task, but with nothing lost that ends the thread: CrewAI would wait for
    ever for a task that was unwound by control flow."""
    future: Future[TaskOutput] = Future()

    def work() -> None:
        try:
            future.set_result(run())
        except BaseException as error:  # noqa: BLE001 - it is raised where the crew waits
            future.set_exception(error)

    context = contextvars.copy_context()
    threading.Thread(target=context.run, args=(work,), daemon=True).start()
    return future


# ---------------------------------------------------------------------- places


_here: contextvars.ContextVar[tuple[str, str]] = contextvars.ContextVar("place", default=("", ""))


class Places:
    """Where the calls of an attempt stand: the step, and the branch of what runs beside it."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._lock = threading.Lock()
        self._counts: dict[tuple[str, str, str], int] = {}

    @contextmanager
    def at(self, step: str, branch: str = "") -> Iterator[None]:
        """Calls made inside, and in threads started inside, stand in ``step``."""
        token = _here.set((step, branch))
        try:
            with self._session.in_step(step, branch):
                yield
        finally:
            _here.reset(token)

    @contextmanager
    def below(self, name: str, arguments: Json) -> Iterator[None]:
        """Calls made inside stand in a branch of their own below the caller's place.

        It is named by what is done there and not by when: a rerun may come to it in another
        order. Equal ones are numbered.
        """
        step, branch = _here.get()
        what = f"{name}-{digest_of(arguments)[:12]}"
        with self._lock:
            count = self._counts.get((step, branch, what), 0)
            self._counts[step, branch, what] = count + 1
        own = what if count == 0 else f"{what}.{count}"
        with self.at(step, f"{branch}/{own}" if branch else own):
            yield


def alone(agent: Any) -> Any:
    """``agent`` for work beside other work: CrewAI keeps the conversation under way in the agent,
    and refuses to hold two at once. An agent of a class of the user's is left as it is."""
    if not isinstance(agent, Agent):
        return agent
    copy = agent.model_copy()
    copy.agent_executor = None
    copy.tools_handler = ToolsHandler()
    return copy


# ---------------------------------------------------------------------- checkpoints


def _saved(output: TaskOutput | None) -> Json:
    """A task's output as the checkpoint keeps it; None for a task without one."""
    if output is None:
        return None
    # The base class would write its own fields of the model, which has none.
    pydantic = output.pydantic.model_dump(mode="json") if output.pydantic is not None else None
    # The conversation is not needed to go on, and may be long.
    return {**output.model_dump(mode="json", exclude={"messages"}), "pydantic": pydantic}


def _restore(crew: Crew, agent: str, state: dict[str, Any]) -> set[int]:
    """Give finished tasks their outputs back; their numbers, those of skipped ones included."""
    outputs: list[Any] = state.get("tasks", [])
    if len(outputs) > len(crew.tasks):
        raise AgentError(
            f"agent {agent!r} has finished {len(outputs)} tasks, but its crew now has only "
            f"{len(crew.tasks)}: bring the crew's tasks back, or start anew"
        )
    finished = set(range(len(outputs))) - set(state.get("running", ()))
    for number in finished:
        task, output = crew.tasks[number], outputs[number]
        if output is not None:
            _check_place(crew, agent, number, output)
        task.output = _skipped(agent, task) if output is None else _restored(task, output)
    if finished:
        # Makes CrewAI begin with the first task that has no output.
        crew.checkpoint_kickoff_event_id = "omium"
    return finished


def _check_place(crew: Crew, agent: str, number: int, saved: dict[str, Any]) -> None:
    """Refuse to give a task the output of another one. A task of the same place may be worded
    anew, but is another one where its name is another, or where the crew now has the one that
    was finished in another place. Raises ``AgentError``."""
    task, was = crew.tasks[number], saved["name"]
    if was == _name_of(task):
        return
    moved = any(_name_of(other) == was for other in crew.tasks)
    if moved or (task.name and was != saved["description"]):
        raise AgentError(
            f"agent {agent!r} has finished {was!r} as task {number}, where its crew now has "
            f"{_name_of(task)!r}: bring the crew's tasks back, or start anew"
        )


def _name_of(task: Task) -> str:
    """What CrewAI calls the task in its output."""
    return task.name or task.description


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
