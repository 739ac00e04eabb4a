"""Tools and crews of the user's that the CrewAI tests run.

Imported by workers only: it imports CrewAI. What the tools did is noted in ``ran``, by name;
the inputs of an execution name a gate where a tool or a callback is to be held.
"""

from __future__ import annotations

from datetime import date
from typing import Any

from crewai import LLM, Agent, Crew, Process, Task
from crewai.knowledge.source.string_knowledge_source import StringKnowledgeSource
from crewai.llms.providers.openai.completion import OpenAICompletion
from crewai.tasks.conditional_task import ConditionalTask
from crewai.tools import BaseTool, tool
from crewai.tools.tool_failure import ToolFailure
from pydantic import BaseModel, Field

import omium
from omium.frameworks.effect import effect_key
from tests.actors.gates import gate_of

# ---------------------------------------------------------------------- tools of definitions


class Loan(BaseModel):
    principal: float
    starts: date


def rate(principal: float, interest: float, years: float = 1) -> dict[str, float]:
    """Compute a rate."""
    return {"rate": 100 * interest / principal / years}


async def rate_async(principal: float, interest: float, years: float = 1) -> dict[str, float]:
    """Compute a rate, on a loop."""
    return rate(principal, interest, years)


def describe(loan: Loan, note: str = "é") -> str:
    """Describe a loan."""
    return f"{type(loan).__name__} of {loan.principal} from {loan.starts.year}, {note}"


def held(till: str) -> str:
    """Note the effect key at a gate and be held there."""
    gate_of(till).hold(effect_key())
    return "let go"


def noted(till: str) -> dict[str, str]:
    """Note the effect key at a gate."""
    gate_of(till).notes.append(effect_key())
    return {"said": "noted"}


def broken(till: str) -> str:
    """Raise, every time."""
    gate_of(till).notes.append("ran")
    raise ValueError("no such account")


def unfit(till: str) -> Any:
    """Return what JSON cannot carry."""
    return object()


def starred(*amounts: float) -> float:
    """Add amounts."""
    return sum(amounts)


def untyped(amount, factor=2) -> float:  # pyright: ignore
    """Multiply."""
    return float(amount) * factor


def unknown_type(thing: gate_of) -> str:  # pyright: ignore
    """Take what no schema describes."""
    return str(thing)


# ---------------------------------------------------------------------- the user's own crews


def _agent(*tools: BaseTool, **fields: Any) -> Agent:
    llm = LLM(model="gpt-4o-mini", temperature=0)
    return Agent(
        role="clerk", goal="answer", backstory="patient", llm=llm, tools=list(tools), **fields
    )


def _task(agent: Agent, name: str, text: str, **fields: Any) -> Task:
    return Task(name=name, description=text, expected_output="a word", agent=agent, **fields)


@tool("Note It")
def note_it(till: str, amount: int = 1) -> dict[str, int]:
    """Note the effect key at a gate."""
    gate_of(till).notes.append(effect_key())
    return {"amount": amount}


class Ledger(BaseTool):
    """Remembers what it was told, and is held at a gate."""

    name: str = "ledger"
    description: str = "Book an amount."
    booked: list[int] = Field(default_factory=list)

    def _run(self, till: str, amount: int) -> str:
        gate_of(till).hold(effect_key())
        self.booked.append(amount)
        return f"booked {self.booked}"


@tool("report")
def report(till: str) -> Any:
    """Say that it did not work."""
    gate_of(till).notes.append("ran")
    return ToolFailure(message="the till is closed", code="closed")


class Verdict(BaseModel):
    verdict: str
    score: int


@tool("judge")
def judge(case: str) -> Verdict:
    """Judge a case."""
    return Verdict(verdict=case, score=7)


class TextOnly(OpenAICompletion):
    """A model that is told of tools in words, and calls them in words (ReAct)."""

    def supports_function_calling(self) -> bool:
        return False


def in_words() -> Crew:
    agent = _agent(note_it, Ledger())
    agent.llm = TextOnly(model="gpt-4o-mini", provider="openai")
    return Crew(agents=[agent], tasks=[_task(agent, "only", "Do it.")])


def three() -> Crew:
    """Three tasks, with placeholders; the last uses the outputs of the first two."""
    agent = _agent(note_it, Ledger())
    first = _task(agent, "first", "Say one about {topic}.")
    second = _task(agent, "second", "Say two about {topic}.")
    third = _task(agent, "third", "Say three.", context=[first, second])
    return Crew(agents=[agent], tasks=[first, second, third])


def with_inputs(inputs: dict[str, Any]) -> Crew:
    agent = _agent()
    return Crew(agents=[agent], tasks=[_task(agent, "only", f"Say {inputs['topic']} in {{curly}}")])


def with_both(inputs: dict[str, Any], outputs: dict[str, Any], verbose: bool = False) -> Crew:
    agent = _agent()
    text = f"Say {inputs['topic']} after {outputs['before']}"
    return Crew(agents=[agent], tasks=[_task(agent, "only", text)], verbose=verbose)


async def made_on_a_loop(inputs: dict[str, Any]) -> Crew:
    return with_inputs(inputs)


def with_ledger() -> Crew:
    agent = _agent(Ledger(), note_it, judge, report)
    return Crew(agents=[agent], tasks=[_task(agent, "book", "Book it.")])


def caching() -> Crew:
    agent = _agent(note_it, cache=True)
    tasks = [_task(agent, "first", "Say one."), _task(agent, "second", "Say two.")]
    return Crew(agents=[agent], tasks=tasks, cache=True)


def with_model() -> Crew:
    agent = _agent()
    first = _task(agent, "first", "Say one.", output_pydantic=Verdict)

    def after(output: Any) -> None:
        # Reads the model that the first task's output is, restored or not.
        assert isinstance(first.output and first.output.pydantic, Verdict)

    second = _task(agent, "second", "Say two.", output_pydantic=Verdict, callback=after)
    return Crew(agents=[agent], tasks=[first, second])


def conditional(inputs: dict[str, Any]) -> Crew:
    """The middle task is skipped unless ``inputs.run`` says otherwise."""
    agent = _agent()
    first = _task(agent, "first", "Say one.")
    middle = ConditionalTask(
        name="middle",
        condition=lambda _: bool(inputs.get("run")),
        description="Say middle.",
        expected_output="a word",
        agent=agent,
    )
    return Crew(
        agents=[agent],
        tasks=[first, middle, _task(agent, "third", "Say three."), _task(agent, "last", "Say 4.")],
    )


def with_callback(inputs: dict[str, Any]) -> Crew:
    """Its own callback, a coroutine, notes each output at the gate ``inputs.till``."""
    agent = _agent()

    async def noted_output(output: Any) -> None:
        gate_of(inputs["till"]).notes.append(output.raw)

    tasks = [_task(agent, "first", "Say one."), _task(agent, "second", "Say two.")]
    return Crew(agents=[agent], tasks=tasks, task_callback=noted_output)


def side_by_side(inputs: dict[str, Any]) -> Crew:
    """Two tasks of one agent at once, with a tool that notes at the gate ``inputs.till``; one
    before them, and one that is told of the first of the two only."""
    agent = _agent(note_it)
    till = inputs["till"]
    begin = _task(agent, "begin", "Say begin.")
    left, right = (
        _task(agent, side, f"Note {side} at {till}.", async_execution=True)
        for side in ("left", "right")
    )
    join = _task(agent, "join", "Say join.", context=[left])
    return Crew(agents=[agent], tasks=[begin, left, right, join])


def ends_async() -> Crew:
    agent = _agent()
    last = _task(agent, "last", "Say it.", async_execution=True)
    return Crew(agents=[agent], tasks=[last])


def with_json() -> Crew:
    """Both kinds of structured output; the second task is held at no gate but its model's."""
    agent = _agent()
    first = _task(agent, "first", "Say one.", output_json=Verdict)
    return Crew(agents=[agent], tasks=[first, _task(agent, "last", "Say 2.", output_json=Dated)])


class Dated(BaseModel):
    day: date


def _managed(**fields: Any) -> Crew:
    """A manager and two coworkers, one with a tool that notes at a gate."""
    clerk = _agent(note_it)
    writer = Agent(role="writer", goal="write", backstory="plain", llm=LLM(model="gpt-4o-mini"))
    tasks = [
        Task(name=name, description=f"Manage {name} at {{till}}.", expected_output="a word")
        for name in ("one", "two")
    ]
    process = Process.hierarchical
    return Crew(agents=[clerk, writer], tasks=tasks, process=process, **fields)


def managed() -> Crew:
    """The manager is one that CrewAI makes."""
    return _managed(manager_llm="gpt-4o-mini")


def managed_at_once() -> Crew:
    """Both tasks at once under one manager of the user's."""
    crew = _managed(manager_agent=Agent(
        role="boss", goal="manage", backstory="calm", llm=LLM(model="gpt-4o-mini")
    ))  # fmt: skip
    crew.tasks[0].async_execution = True
    return crew


def delegating() -> Crew:
    """In a row; the first agent may ask the second."""
    first, second = _agent(allow_delegation=True), _agent(note_it)
    second.role = "helper"
    return Crew(agents=[first, second], tasks=[_task(first, "only", "Manage it.")])


def planning() -> Crew:
    agent = _agent(note_it)
    tasks = [_task(agent, "first", "Say one."), _task(agent, "second", "Say two.")]
    return Crew(agents=[agent], tasks=tasks, planning=True)


def guarded() -> Crew:
    """An answer must end with an exclamation mark, says a function; be polite, says a model."""
    agent = _agent()

    def loud(output: Any):  # CrewAI takes no annotation that is a string
        return (output.raw.endswith("!"), output.raw if output.raw.endswith("!") else "louder")

    first = _task(agent, "first", "Say one.", guardrail=loud)
    return Crew(agents=[agent], tasks=[first, _task(agent, "last", "Say 2.", guardrail="polite")])


def limited() -> Crew:
    agent = _agent()
    tasks = [_task(agent, name, f"Say {name}.") for name in ("one", "two", "three")]
    return Crew(agents=[agent], tasks=tasks, max_rpm=2)


def with_memory() -> Crew:
    agent = _agent()
    return Crew(agents=[agent], tasks=[_task(agent, "only", "Say it.")], memory=True)


def with_training() -> Crew:
    agent = _agent()
    tasks = [_task(agent, "only", "Say it.")]
    return Crew(agents=[agent], tasks=tasks, trained_agents_file="trained.pkl")


def untrained() -> Crew:
    agent = _agent()
    return Crew(agents=[agent], tasks=[_task(agent, "only", "Say it.")])


def with_knowledge() -> Crew:
    agent = _agent(knowledge_sources=[StringKnowledgeSource(content="water is wet")])
    return Crew(agents=[agent], tasks=[_task(agent, "only", "Say it.")])


def with_mcp() -> Crew:
    agent = _agent(mcps=["https://mcp.invalid/tools"])
    return Crew(agents=[agent], tasks=[_task(agent, "only", "Say it.")])


@tool("looked")
def looked(where: str) -> str:
    """Have somebody look somewhere."""
    return f"{where}: {omium.ask(f'What is {where}?')}"


@tool("paid")
def paid(amount: int) -> str:
    """Pay, once that is approved."""
    return f"paid {amount}"


@tool("await go")
def await_go(where: str) -> str:
    """Wait until somebody says go."""
    went: Any = omium.wait_signal("go")
    return f"{where}: {went.payload}"


def waits_in_a_tool() -> Crew:
    agent = _agent(await_go)
    return Crew(agents=[agent], tasks=[_task(agent, "only", "Say it.")])


def asks_in_tools() -> Crew:
    agent = _agent(looked, paid)
    return Crew(agents=[agent], tasks=[_task(agent, "only", "Say it.")])


def asks_a_person() -> Crew:
    agent = _agent()
    return Crew(agents=[agent], tasks=[_task(agent, "only", "Say it.", human_input=True)])


def raises() -> Crew:
    raise RuntimeError("no key for the vault")


def no_crew() -> list[str]:
    return ["not", "a", "crew"]


def wants_more(inputs: dict[str, Any], key: str) -> Crew:
    raise AssertionError("cannot be called")


_shared: list[Crew] = []


def shared() -> Crew:
    """The same crew in every call, as a module-level one would be."""
    if not _shared:
        agent = _agent()
        _shared.append(Crew(agents=[agent], tasks=[_task(agent, "only", "Say it.")]))
    return _shared[0]


# ---------------------------------------------------------------------- changed between attempts


def shuffled(inputs: dict[str, Any]) -> Crew:
    """Tasks with the descriptions of the inputs, ``first``, or whenever it is built again
    ``then``; named by the word before a colon, where there is one."""
    till = gate_of(inputs["till"])
    wanted = inputs["then"] if till.notes else inputs["first"]
    till.notes.append("built")
    agent = _agent()
    tasks: list[Task] = []
    for text in wanted:
        name, colon, said = text.partition(":")
        named = {"name": name} if colon else {}
        tasks.append(
            Task(description=said or text, expected_output="A word.", agent=agent, **named)
        )
    return Crew(agents=[agent], tasks=tasks)
