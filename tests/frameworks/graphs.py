"""Graphs of the user's that the LangGraph tests run.

Imported by workers only: it imports LangGraph. The inputs of an execution name a gate where a
node or a tool is to be held, and where what ran is noted.
"""

from __future__ import annotations

import operator
from typing import Annotated, Any, TypedDict

from langchain_core.messages import AnyMessage, HumanMessage
from langchain_core.tools import BaseTool, tool
from langchain_openai import ChatOpenAI
from langgraph.graph import END, START, StateGraph
from langgraph.graph.message import add_messages
from langgraph.prebuilt import ToolNode, tools_condition
from langgraph.types import Command, Send, interrupt

from omium.frameworks.effect import effect_key
from tests.actors.gates import gate_of


def model(**fields: Any) -> ChatOpenAI:
    return ChatOpenAI(model="gpt-4o-mini", max_retries=0, **fields)


class Said(TypedDict, total=False):
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


def streaming() -> Any:
    """The same with answers that are streamed."""
    return chain(
        ("one", asking("Say one.", streaming=True)),
        ("hold", holding("hold")),
        ("two", asking("Say two.", streaming=True)),
    ).compile()
