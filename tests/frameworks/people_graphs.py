"""Graphs that ask people. Imported by workers only: it imports LangGraph."""

from __future__ import annotations

import operator
from typing import Annotated, Any, TypedDict

from langchain_core.messages import AIMessage, AnyMessage
from langchain_core.tools import tool
from langgraph.graph import END, START, StateGraph
from langgraph.graph.message import add_messages
from langgraph.prebuilt import ToolNode
from langgraph.types import interrupt

import omium
from tests.actors.gates import gate_of


class Told(TypedDict):
    till: str
    said: Annotated[list[Any], operator.add]


def _note(state: Told, text: str) -> None:
    gate_of(state["till"]).note(text)


def _graph(*edges: tuple[str, str], **nodes: Any) -> Any:
    builder = StateGraph(Told)
    for name, node in nodes.items():
        builder.add_node(name, node)
    for start, end in edges:
        builder.add_edge(start, end)
    return builder


def twice_in_one_node() -> Any:
    """A node that interrupts itself twice, with the same words, after a node that is done."""

    def before(state: Told) -> Any:
        _note(state, "before")
        return {"said": ["before"]}

    def asks(state: Told) -> Any:
        first = interrupt("How many?")
        second = interrupt("How many?")
        _note(state, "asked")
        return {"said": [first, second]}

    return _graph((START, "before"), ("before", "asks"), ("asks", END), before=before, asks=asks)


def in_parallel() -> Any:
    """Two nodes that interrupt themselves, and one beside them that does not."""

    def one(state: Told) -> Any:
        return {"said": [interrupt({"who": "one"})]}

    async def two(state: Told) -> Any:
        return {"said": [interrupt({"who": "two"})]}

    def beside(state: Told) -> Any:
        _note(state, "beside")
        return {"said": ["beside"]}

    names = ("one", "two", "beside")
    edges = [edge for name in names for edge in ((START, name), (name, END))]
    return _graph(*edges, one=one, two=two, beside=beside)


def in_a_subgraph() -> Any:
    """A node of a subgraph that interrupts itself in its first superstep, and again later."""

    def first(state: Told) -> Any:
        return {"said": [interrupt("First?")]}

    def second(state: Told) -> Any:
        _note(state, "second")
        return {"said": [interrupt("Second?")]}

    inner = _graph(
        (START, "first"), ("first", "second"), ("second", END), first=first, second=second
    )
    return _graph((START, "inner"), ("inner", END), inner=inner.compile())


def with_omium() -> Any:
    """Two parallel nodes that call ``omium.ask``, in both ways."""

    def one(state: Told) -> Any:
        answer = omium.ask("One?")
        _note(state, "one")
        return {"said": [answer]}

    async def two(state: Told) -> Any:
        answer = await omium.ask_async("Two?", schema={"type": "integer"})
        _note(state, "two")
        return {"said": [answer]}

    edges = [(START, "one"), (START, "two"), ("one", END), ("two", END)]
    return _graph(*edges, one=one, two=two)


class Chat(TypedDict):
    till: str
    messages: Annotated[list[AnyMessage], add_messages]


@tool
def confirm(till: str) -> str:
    """Confirm something with a person."""
    said = interrupt("Sure?")
    gate_of(till).note(said)
    return f"confirmed: {said}"


@tool
async def inquire(till: str) -> str:
    """Inquire with a person."""
    said = await omium.ask_async("Really?")
    gate_of(till).note(said)
    return f"inquired: {said}"


@tool
def pay(till: str, amount: int) -> str:
    """Pay, once that is approved."""
    gate_of(till).note(amount)
    return f"paid {amount}"


def in_tools() -> Any:
    """Tools that ask, by LangGraph and by Omium, and one that wants approval."""

    def wants(state: Chat) -> Any:
        calls: list[Any] = [
            {"name": "confirm", "args": {"till": state["till"]}, "id": "1"},
            {"name": "inquire", "args": {"till": state["till"]}, "id": "2"},
            {"name": "pay", "args": {"till": state["till"], "amount": 7}, "id": "3"},
        ]
        return {"messages": [AIMessage(content="", tool_calls=calls)]}

    def tells(state: Chat) -> Any:
        return {"output": [str(m.content) for m in state["messages"][1:]]}

    class Out(TypedDict):
        output: list[str]

    class Both(Chat, Out):
        pass

    builder = StateGraph(Both, input_schema=Chat, output_schema=Out)
    builder.add_node("wants", wants)
    builder.add_node("tools", ToolNode([confirm, inquire, pay]))
    builder.add_node("tells", tells)
    for start, end in ((START, "wants"), ("wants", "tools"), ("tools", "tells"), ("tells", END)):
        builder.add_edge(start, end)
    return builder


def waits_for_a_signal() -> Any:
    """A node that waits for a signal, after one that is done."""

    def before(state: Told) -> Any:
        _note(state, "before")
        return {"said": ["before"]}

    def waits(state: Told) -> Any:
        went: Any = omium.wait_signal("go")
        return {"said": [went.payload]}

    return _graph(
        (START, "before"), ("before", "waits"), ("waits", END), before=before, waits=waits
    )
