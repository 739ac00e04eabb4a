"""Graphs that the tests of ``OmiumSaver`` compile with it. Imports LangGraph."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, TypedDict

from langgraph.channels.delta import DeltaChannel
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, Send, interrupt
from pydantic import BaseModel

from omium.frameworks.langgraph_saver import OmiumSaver

__all__ = ["Command", "InMemorySaver", "OmiumSaver"]


def thread(name: str = "t", **fields: Any) -> Any:
    return {"configurable": {"thread_id": name, **fields}}


class Count(TypedDict, total=False):
    n: int
    log: Annotated[list[str], operator.add]


def counting(saver: Any, *, to: int = 3) -> Any:
    """Adds one in each round."""

    def add(state: Count) -> dict[str, Any]:
        n = state.get("n", 0) + 1
        return {"n": n, "log": [f"add {n}"]}

    builder = StateGraph(Count)
    builder.add_node("add", add)
    builder.add_edge(START, "add")
    builder.add_conditional_edges("add", lambda state: "add" if state["n"] < to else END)
    return builder.compile(checkpointer=saver)


def asking(saver: Any) -> Any:
    """Two branches, of which one asks twice; what ran is on the list ``ran``."""
    ran: list[str] = []

    def quick(state: Count) -> dict[str, Any]:
        ran.append("quick")
        return {"log": ["quick"]}

    def ask(state: Count) -> dict[str, Any]:
        ran.append("ask")
        first = interrupt("first?")
        second = interrupt("second?")
        return {"log": [f"{first} {second}"]}

    builder = StateGraph(Count)
    for name, node in (("quick", quick), ("ask", ask)):
        builder.add_node(name, node)
        builder.add_edge(START, name)
    return builder.compile(checkpointer=saver), ran


def sending(saver: Any) -> Any:
    """``Send``, a subgraph with a memory of its own, and ``Command(goto)``."""

    def inner(state: Count) -> dict[str, Any]:
        return {"n": state.get("n", 0) + 1, "log": [f"inner {state.get('n', 0) + 1}"]}

    child = StateGraph(Count)
    child.add_node("inner", inner)
    child.add_edge(START, "inner")
    remembering = child.compile(checkpointer=True)

    def visit(state: Any) -> dict[str, Any]:
        return {"log": [f"visit {state['at']}"]}

    def spread(state: Count) -> Command[Any]:
        return Command(goto=[Send("visit", {"at": at}) for at in "abc"], update={"log": ["spread"]})

    builder = StateGraph(Count)
    builder.add_node("spread", spread, destinations=("visit",))
    builder.add_node("visit", visit)
    builder.add_node("child", remembering)
    builder.add_edge(START, "spread")
    builder.add_edge("visit", "child")
    return builder.compile(checkpointer=saver)


def appended(state: list[str], writes: Sequence[Any]) -> list[str]:
    added: list[str] = []
    for write in writes:
        added += write
    return [*state, *added]


class Long(TypedDict, total=False):
    n: int
    log: Annotated[list[str], DeltaChannel(appended, snapshot_frequency=4)]


def delta(saver: Any) -> Any:
    """One round a run; ``log`` is a delta channel, of which every fourth update is stored whole."""

    def add(state: Long) -> dict[str, Any]:
        n = state.get("n", 0) + 1
        return {"n": n, "log": [f"add {n}"]}

    builder = StateGraph(Long)
    builder.add_node("add", add)
    builder.add_edge(START, "add")
    return builder.compile(checkpointer=saver)


class Growing(TypedDict):
    parts: Annotated[list[str], operator.add]


def growing(saver: Any, parts: list[str]) -> Any:
    """Takes in one part a round."""

    def add(state: Growing) -> dict[str, Any]:
        return {"parts": [parts[len(state["parts"])]]}

    builder = StateGraph(Growing)
    builder.add_node("add", add)
    builder.add_edge(START, "add")
    builder.add_conditional_edges(
        "add", lambda state: "add" if len(state["parts"]) < len(parts) else END
    )
    return builder.compile(checkpointer=saver)


@dataclass
class Secret:
    word: str


class Judged(BaseModel):
    score: int


class Holding(TypedDict):
    held: Any


def holding(saver: Any, value: Any) -> Any:
    builder = StateGraph(Holding)
    builder.add_node("hold", lambda state: {"held": value})
    builder.add_edge(START, "hold")
    return builder.compile(checkpointer=saver)
