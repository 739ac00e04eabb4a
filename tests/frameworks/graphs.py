"""Graphs of the user's that the LangGraph tests run.

Imported by workers only: it imports LangGraph. The inputs of an execution name a gate where a
node or a tool is to be held, and where what ran is noted.
"""

from __future__ import annotations

import asyncio
import operator
from typing import Annotated, Any, TypedDict

from langchain_core.messages import AnyMessage, HumanMessage, ToolMessage
from langchain_core.tools import BaseTool, InjectedToolCallId, tool
from langchain_openai import ChatOpenAI
from langgraph.channels.delta import DeltaChannel
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.config import get_stream_writer
from langgraph.func import entrypoint, task
from langgraph.graph import END, START, StateGraph
from langgraph.graph.message import add_messages
from langgraph.prebuilt import InjectedState, ToolNode, tools_condition
from langgraph.types import Command, RetryPolicy, Send, interrupt
from pydantic import BaseModel

from omium.frameworks.effect import effect_key
from tests.actors.gates import gate_of
from tests.frameworks.saver_graphs import appended


def model(**fields: Any) -> ChatOpenAI:
    return ChatOpenAI(model="gpt-4o-mini", max_retries=0, **fields)


class Said(TypedDict):
    """What most graphs here keep: ``said`` grows."""

    till: str
    rounds: int
    said: Annotated[list[str], operator.add]


def asking(question: str, **fields: Any) -> Any:
    """A node that asks the model and keeps its answer."""

    async def ask(state: Said) -> dict[str, Any]:
        answer = await model(**fields).ainvoke([HumanMessage(question)])
        return {"said": [str(answer.content)]}

    return ask


def asking_blocking(question: str) -> Any:
    def ask(state: Said) -> dict[str, Any]:
        return {"said": [str(model().invoke([HumanMessage(question)]).content)]}

    return ask


def holding(name: str) -> Any:
    """A node that notes that it runs, and is held at the gate."""

    def hold(state: Said) -> dict[str, Any]:
        gate_of(state["till"]).hold(name)
        return {"said": [name]}

    return hold


def noting(name: str) -> Any:
    async def note(state: Said) -> dict[str, Any]:
        gate_of(state["till"]).notes.append(name)
        return {"said": [name]}

    return note


def chain(*nodes: tuple[str, Any], state: Any = Said) -> StateGraph[Any]:
    builder = StateGraph(state)
    before = START
    for name, node in nodes:
        builder.add_node(name, node)
        builder.add_edge(before, name)
        before = name
    builder.add_edge(before, END)
    return builder


# ---------------------------------------------------------------------- plain ones


def three() -> Any:
    """Three nodes in a row, not compiled."""
    return chain(
        ("one", asking("Say one.")),
        ("two", asking_blocking("Say two.")),
        ("hold", holding("hold")),
        ("three", asking("Say three.")),
    )


# ---------------------------------------------------------------------- shapes


def loop() -> Any:
    """Asks the same question each round, until ``rounds`` answers are there."""
    builder = StateGraph(Said)
    builder.add_node("ask", asking("Again?"))
    builder.add_node("hold", holding("hold"))
    builder.add_edge(START, "ask")
    builder.add_edge("ask", "hold")
    builder.add_conditional_edges(
        "hold", lambda state: "ask" if len(state["said"]) < 2 * state["rounds"] else END
    )
    return builder


def asking_held(question: str, name: str) -> Any:
    """A node that asks, and is then held at the gate."""
    ask = asking_blocking(question)

    def node(state: Said) -> dict[str, Any]:
        said = ask(state)
        gate_of(state["till"]).hold(name)
        return said

    return node


def asking_noted(question: str, name: str) -> Any:
    ask = asking(question)

    async def node(state: Said) -> dict[str, Any]:
        gate_of(state["till"]).note(name)
        return await ask(state)

    return node


def parallel() -> Any:
    """Two branches that ask the same, one of them held; joined at the end."""
    builder = StateGraph(Said)
    builder.add_node("quick", asking_noted("Which?", "quick"))
    builder.add_node("slow", asking_held("Which?", "slow"))
    builder.add_node("join", noting("join"))
    builder.add_edge(START, "quick")
    builder.add_edge(START, "slow")
    builder.add_edge(["quick", "slow"], "join")
    return builder


class Errand(TypedDict):
    till: str
    place: str
    number: int


def sending() -> Any:
    """The same node for each place, in parallel, all asking the same; the last is held."""

    async def visit(state: Errand) -> dict[str, Any]:
        gate = gate_of(state["till"])
        answer = await model().ainvoke([HumanMessage("What is there?")])
        if state["number"] == 2:
            await asyncio.to_thread(gate.hold, state["place"])
        else:
            gate.note(state["place"])
        return {"said": [f"{state['place']}: {answer.content}"]}

    def spread(state: Said) -> list[Send]:
        places = ["sea", "hill", "town"]
        return [
            Send("visit", {"till": state["till"], "place": place, "number": number})
            for number, place in enumerate(places)
        ]

    builder = StateGraph(Said)
    builder.add_node("visit", visit)
    builder.add_node("join", noting("join"))
    builder.add_conditional_edges(START, spread, ["visit"])
    builder.add_edge("visit", "join")
    return builder


def child(name: str, ask: Any = asking) -> Any:
    return chain(("first", ask("Child?")), (name, asking_held("Child again?", name))).compile()


def nested() -> Any:
    """A subgraph as a node, twice in a row by a loop, so that its steps come up again."""
    builder = StateGraph(Said)
    builder.add_node("child", child("held"))
    builder.add_edge(START, "child")
    builder.add_conditional_edges(
        "child", lambda state: "child" if len(state["said"]) < 4 * state["rounds"] else END
    )
    return builder


def called() -> Any:
    """A node that calls two subgraphs by itself, one blocking; they share no steps."""
    one, other = child("held"), child("held", asking_blocking)

    async def node(state: Said) -> dict[str, Any]:
        first = await one.ainvoke({"till": state["till"]})
        second = await asyncio.to_thread(other.invoke, {"till": state["till"]})
        return {"said": [*first["said"], *second["said"]]}

    return chain(("node", node))


def commanding() -> Any:
    """Goes where ``Command`` says, and not by edges."""

    async def decide(state: Said) -> Command[Any]:
        answer = await model().ainvoke([HumanMessage("Where to?")])
        return Command(goto=str(answer.content), update={"said": ["decided"]})

    builder = StateGraph(Said)
    builder.add_node("decide", decide, destinations=("left", "right"))
    builder.add_node("left", noting("left"))
    builder.add_node("right", holding("right"))
    builder.add_edge(START, "decide")
    return builder


def functional() -> Any:
    """The functional API: tasks that an entrypoint awaits."""

    @task
    async def ask(question: str) -> str:
        return str((await model().ainvoke([HumanMessage(question)])).content)

    @task
    def hold(till: str) -> str:
        gate_of(till).hold("hold")
        return "held"

    @entrypoint()
    async def workflow(given: dict[str, Any]) -> list[str]:
        first = await ask("Same?")
        second = await ask("Same?")
        return [first, second, await hold(given["till"])]

    return workflow


# ---------------------------------------------------------------------- tools


@tool
def note_it(till: str, amount: int = 1) -> dict[str, int]:
    """Note the effect key at a gate."""
    gate_of(till).note(effect_key())
    return {"amount": amount}


@tool
async def note_async(till: str) -> str:
    """Note the effect key at a gate, on a loop."""
    gate_of(till).note(effect_key())
    return "noted"


@tool
def hold_it(till: str) -> str:
    """Note the effect key at a gate and be held there."""
    gate_of(till).hold(effect_key())
    return "let go"


@tool
def fail_it(till: str) -> str:
    """Raise, every time."""
    gate_of(till).note("ran")
    raise ValueError("no such account")


@tool
def ask_first(till: str) -> str:
    """Ask a person."""
    gate_of(till).note("ran")
    return str(interrupt("May I?"))


@tool(response_format="content_and_artifact")
def look_up(word: str) -> tuple[str, dict[str, Any]]:
    """Look a word up."""
    return f"found {word}", {"word": word, "pages": [1, 2]}


@tool
def remember(
    fact: str,
    state: Annotated[dict[str, Any], InjectedState],
    call: Annotated[str, InjectedToolCallId],
) -> Command[Any]:
    """Keep a fact in the graph's state."""
    known = f"{fact} after {len(state['messages'])} messages"
    return Command(update={"facts": [known], "messages": [ToolMessage("kept", tool_call_id=call)]})


TOOLS: list[BaseTool] = [note_it, note_async, hold_it, fail_it, ask_first, look_up, remember]


class Talk(TypedDict):
    messages: Annotated[list[AnyMessage], add_messages]
    facts: Annotated[list[str], operator.add]


def react(inputs: dict[str, Any]) -> tuple[Any, Any]:
    """A model with tools, until it has no more calls to make."""
    bound = model().bind_tools(TOOLS)

    async def agent(state: Talk) -> dict[str, Any]:
        return {"messages": [await bound.ainvoke(state["messages"])]}

    builder = StateGraph(Talk)
    builder.add_node("agent", agent)
    builder.add_node("tools", ToolNode(TOOLS, handle_tool_errors=inputs.get("handle", True)))
    builder.add_edge(START, "agent")
    builder.add_conditional_edges("agent", tools_condition)
    builder.add_edge("tools", "agent")
    return builder, {"messages": [HumanMessage("Do it.")], "facts": []}


def tools_by_hand() -> Any:
    """A node that calls tools by itself, blocking and not."""

    async def node(state: Said) -> dict[str, Any]:
        first = await note_async.ainvoke({"till": state["till"]})
        second = note_it.invoke({"till": state["till"], "amount": 2})
        third = await asyncio.to_thread(hold_it.invoke, {"till": state["till"]})
        return {"said": [str(first), str(second), str(third)]}

    return chain(("node", node))


# ---------------------------------------------------------------------- failures

_failed: set[str] = set()


def once(till: str) -> None:
    """Raise the first time that it is called for a gate."""
    if till not in _failed:
        _failed.add(till)
        raise RuntimeError("not yet")


def failing_route() -> Any:
    """A node that has written its part when the choice of the next one fails."""

    def route(state: Said) -> str:
        once(state["till"])
        return "next"

    builder = StateGraph(Said)
    builder.add_node("ask", asking("Say one."))
    builder.add_node("next", noting("next"))
    builder.add_edge(START, "ask")
    builder.add_conditional_edges("ask", route, ["next"])
    return builder


def retried() -> Any:
    """A node that LangGraph itself tries again, with the same question."""
    ask = asking("Say one.")

    async def node(state: Said) -> dict[str, Any]:
        said = await ask(state)
        once(state["till"])
        await asyncio.to_thread(gate_of(state["till"]).hold, "tried")
        return said

    builder = StateGraph(Said)
    policy = RetryPolicy(initial_interval=0.0, jitter=False, retry_on=RuntimeError)
    builder.add_node("node", node, retry_policy=policy)
    builder.add_edge(START, "node")
    return builder


def handled() -> Any:
    """A node that fails, and the node that handles it, which is held."""

    async def fails(state: Said) -> dict[str, Any]:
        gate_of(state["till"]).note("fails")
        raise RuntimeError("no luck")

    def handler(state: Said) -> dict[str, Any]:
        gate_of(state["till"]).hold("handler")
        return {"said": ["handled"]}

    builder = StateGraph(Said)
    builder.add_node("fails", fails, error_handler=handler)
    builder.add_edge(START, "fails")
    return builder


# ---------------------------------------------------------------------- inputs and outputs


class Verdict(BaseModel):
    verdict: str
    score: int


class Judged(TypedDict):
    case: str
    before: Any
    verdict: Verdict
    output: Any


def judging() -> Any:
    """Keeps a model of pydantic's over a checkpoint, and hands on what it names ``output``."""

    async def judge(state: Judged) -> dict[str, Any]:
        return {"verdict": Verdict(verdict=state["case"], score=7)}

    async def hand_on(state: Judged) -> dict[str, Any]:
        await model().ainvoke([HumanMessage("Well?")])
        assert isinstance(state["verdict"], Verdict)
        return {"output": state["verdict"]}

    return chain(("judge", judge), ("hand_on", hand_on), state=Judged)


async def made_on_a_loop(inputs: dict[str, Any], outputs: dict[str, Any]) -> Any:
    async def node(state: Said) -> dict[str, Any]:
        return {"said": [f"{inputs['topic']} after {outputs}"]}

    return chain(("node", node)).compile(checkpointer=InMemorySaver())


class Opaque(BaseModel):
    word: str


def opaque() -> Any:
    """Keeps a model that the schema of its state does not name."""

    def node(state: Judged) -> dict[str, Any]:
        return {"before": {"deep": [Opaque(word="x")]}}

    return chain(("node", node), state=Judged)


ready = chain(("node", lambda state: {"output": state["case"]}), state=Judged)
ready_compiled = ready.compile()


def upper() -> Any:
    """Reads an input and the output of the agent ``before`` by name."""

    def node(state: Judged) -> dict[str, Any]:
        return {"output": {"case": state["case"], "before": state["before"]}}

    return chain(("node", node), state=Judged)


# ---------------------------------------------------------------------- what is refused


def raises() -> Any:
    raise RuntimeError("no key for the vault")


def no_graph() -> list[str]:
    return ["not", "a", "graph"]


def unfinished() -> Any:
    return StateGraph(Said)


def wants_more(inputs: dict[str, Any], key: str) -> Any:
    raise AssertionError("cannot be called")


def stops_before() -> Any:
    return chain(("node", noting("node"))).compile(interrupt_before=["node"])


def leaves() -> Any:
    """Ends the process, or tries to."""

    def node(state: Said) -> dict[str, Any]:
        raise SystemExit(3)

    return chain(("node", node))


def everything(inputs: dict[str, Any]) -> Any:
    """Two rounds of a tool, two branches and a subgraph: all that can be lost, and quick.

    Whatever runs is noted at the gate, so that it can be counted.
    """
    gate = gate_of(inputs["till"])

    def asks(name: str, **fields: Any) -> Any:
        async def node(state: Said) -> dict[str, Any]:
            answer = await model(**fields).ainvoke([HumanMessage("And?")])
            kept = await note_it.ainvoke({"till": inputs["till"]})
            return {"said": [f"{name} {answer.content} {kept['amount']}"]}

        return node

    child_builder = chain(("inner", asks("inner", streaming=True)), ("more", asks("more")))
    # Keeps its own part of the state, so that the parent adds only what is new.
    child = child_builder.compile()

    async def below(state: Said) -> dict[str, Any]:
        return {"said": (await child.ainvoke({"said": []}))["said"]}

    builder = StateGraph(Said)
    builder.add_node("left", asks("left"))
    builder.add_node("right", asks("right", streaming=True))
    builder.add_node("below", below)
    builder.add_edge(START, "left")
    builder.add_edge(START, "right")
    builder.add_edge(["left", "right"], "below")

    def again(state: Said) -> list[str] | str:
        gate.note("round")
        return ["left", "right"] if len(state["said"]) < 4 * inputs["rounds"] else END

    builder.add_conditional_edges("below", again, ["left", "right", END])
    return builder, {"said": []}


# ---------------------------------------------------------------------- kinds of memory


class Long(TypedDict):
    till: str
    n: int
    log: Annotated[list[str], DeltaChannel(appended, snapshot_frequency=3)]


def delta() -> Any:
    """Eight rounds that write to a delta channel; held in the fifth, before it writes."""

    def add(state: Long) -> dict[str, Any]:
        n = state.get("n", 0) + 1
        if n == 5:
            gate_of(state["till"]).hold(list(state["log"]))
        return {"n": n, "log": [f"add {n}"]}

    builder = StateGraph(Long)
    builder.add_node("add", add)
    builder.add_edge(START, "add")
    builder.add_conditional_edges("add", lambda state: "add" if state["n"] < 8 else END)
    return builder


def remembering() -> Any:
    """A subgraph that keeps its own count from one round to the next."""

    def count(state: Inner) -> dict[str, Any]:
        return {"count": state.get("count", 0) + 1}

    child = chain(("count", count), state=Inner).compile(checkpointer=True)

    async def below(state: Said) -> dict[str, Any]:
        counted = await child.ainvoke({"seen": "again"})
        return {"said": [str(counted["count"])]}

    builder = StateGraph(Said)
    builder.add_node("below", below)
    builder.add_node("hold", holding("hold"))
    builder.add_edge(START, "below")
    builder.add_edge("below", "hold")
    builder.add_conditional_edges(
        "hold", lambda state: "below" if len(state["said"]) < 6 else END, ["below", END]
    )
    return builder


class Inner(TypedDict):
    seen: str
    count: int


MODES = ("values", "updates", "messages", "custom", "debug")


def streaming_inside() -> Any:
    """A node that follows another graph in every mode there is, and keeps which of them said
    anything. It is held when that has ended."""

    async def ask(state: Said) -> dict[str, Any]:
        get_stream_writer()({"asks": "once"})
        answer = await model(streaming=True).ainvoke([HumanMessage("Say it.")])
        return {"said": [str(answer.content)]}

    inner = StateGraph(Said)
    inner.add_node("ask", ask)
    inner.add_edge(START, "ask")
    child = inner.compile()

    async def follow(state: Said) -> dict[str, Any]:
        given: Any = {"said": [], "till": state["till"]}
        heard = {mode async for mode, _ in child.astream(given, stream_mode=list(MODES))}
        get_stream_writer()({"nobody": "listens"})
        # The gate belongs to another loop.
        await asyncio.to_thread(gate_of(state["till"]).hold, "followed")
        return {"said": sorted(heard)}

    builder = StateGraph(Said)
    builder.add_node("follow", follow)
    builder.add_edge(START, "follow")
    return builder


# ---------------------------------------------------------------------- judging one another


class Handed(TypedDict):
    before: Any
    output: Any


def says_once(inputs: dict[str, Any], outputs: dict[str, Any]) -> Any:
    async def say(state: Handed) -> dict[str, Any]:
        answer = await model().ainvoke([HumanMessage("What rate?")])
        return {"output": answer.content}

    return chain(("say", say), state=Handed)


def weighs(inputs: dict[str, Any], outputs: dict[str, Any]) -> Any:
    """Votes against what is not usual."""

    async def weigh(state: Handed) -> dict[str, Any]:
        rate = outputs["reader"]
        if rate == "5 %":
            return {"output": {"reason": "it is usual", "ballot": "for"}}
        return {"output": {"reason": f"nobody pays {rate}", "ballot": "against"}}

    return chain(("weigh", weigh), state=Handed)


def hears(inputs: dict[str, Any], outputs: dict[str, Any]) -> Any:
    async def hear(state: Handed) -> dict[str, Any]:
        return {"output": {"heard": dict(outputs)}}

    return chain(("hear", hear), state=Handed)


# ---------------------------------------------------------------------- changed between attempts


class Changing(TypedDict):
    said: Annotated[list[str], operator.add]


def changes(inputs: dict[str, Any]) -> Any:
    """``a``, then ``b`` by an edge, a join or a send; ``b`` fails. Whenever it is built again it
    has the name that the gate of the inputs was last left with, and works. All of it is ``depth``
    graphs down."""
    till = gate_of(inputs["till"])
    name = till.notes[-1] if till.notes else "b"

    def say(state: Changing) -> dict[str, Any]:
        return {"said": ["a"]}

    def fail(state: Changing) -> dict[str, Any]:
        if not till.notes:
            till.note(inputs["renamed"])
            raise ValueError("it broke")
        return {"said": [name]}

    builder: StateGraph[Any] = StateGraph(Changing)
    builder.add_node("a", say)
    builder.add_node(name, fail)
    builder.add_edge(START, "a")
    match inputs["how"]:
        case "edge":
            builder.add_edge("a", name)
        case "join":
            builder.add_node("other", say)
            builder.add_edge(START, "other")
            builder.add_edge(["a", "other"], name)
        case _:
            builder.add_conditional_edges("a", lambda state: [Send(name, state)])
    for _ in range(inputs["depth"]):
        outer: StateGraph[Any] = StateGraph(Changing)
        outer.add_node("inner", builder.compile())
        outer.add_edge(START, "inner")
        builder = outer
    return builder
