"""The crews of the crash benchmark that code makes: in a row, in a loop, side by side, and under a
manager.

The loop is a flow with a crew in it. Where the benchmark wants it, answers are streamed.
"""

from __future__ import annotations

from typing import Any

from crewai import LLM, Agent, Crew, Process, Task
from crewai.flow.flow import Flow, listen, or_, router, start
from crewai.tools import tool

from benchmarks.crash_shapes import streams
from benchmarks.crash_tools import record as run_record

ROUNDS = 2


@tool("record")
def record(figure: int) -> dict[str, int]:
    """Record a figure."""
    return run_record(figure)


def _agent(inputs: dict[str, Any], role: str, *tools: Any) -> Agent:
    llm = LLM(model="scripted", provider="openai", stream=streams(inputs["number"]))
    return Agent(role=role, goal="Answer.", backstory="You answer.", llm=llm, tools=list(tools))


def _task(text: str, agent: Agent | None = None, *, at_once: bool = False) -> Task:
    return Task(description=text, expected_output="A figure.", agent=agent, async_execution=at_once)


def _row(inputs: dict[str, Any], *texts: str) -> Crew:
    agent = _agent(inputs, "clerk")
    tasks = [_task(f"Number {inputs['number']}, {text}", agent) for text in texts]
    return Crew(agents=[agent], tasks=tasks)


class Looping(Flow[dict]):
    """The same crew with the same questions in each round."""

    @start()
    def begin(self) -> None:
        self.state["rounds"] = 0

    @listen(or_(begin, "again"))
    def turn(self) -> str:
        self.state["rounds"] += 1
        done: Any = _row(self.state, "task one.", "task two.").kickoff()
        return done.raw

    @router(turn)
    def judge(self) -> str:
        return "again" if self.state["rounds"] < ROUNDS else "enough"

    @listen("enough")
    def finish(self) -> dict[str, int]:
        return {"figure": self.state["rounds"]}


def sequential(inputs: dict[str, Any]) -> Crew:
    """Two tasks, one after the other."""
    return _row(inputs, "task one.", "task two.")


def looping(inputs: dict[str, Any]) -> Looping:
    """A flow that runs a crew in each of its rounds."""
    flow = Looping()
    flow.state["number"] = inputs["number"]
    return flow


def parallel(inputs: dict[str, Any]) -> Crew:
    """Two tasks at once, with the same tool, and one after them."""
    agent = _agent(inputs, "clerk", record)
    texts = ["record a figure."] * 2
    beside = [_task(f"Number {inputs['number']}, {text}", agent, at_once=True) for text in texts]
    return Crew(agents=[agent], tasks=[*beside, _task("Both, then.", _agent(inputs, "clerk"))])


def managed(inputs: dict[str, Any]) -> Crew:
    """A manager who gives two coworkers work at once, with the same tool."""
    agents = [_agent(inputs, role, record) for role in ("left", "right")]
    return Crew(
        agents=[*agents],
        tasks=[_task(f"Number {inputs['number']}. Manage figures.")],
        process=Process.hierarchical,
        manager_agent=_agent(inputs, "manager"),
    )
