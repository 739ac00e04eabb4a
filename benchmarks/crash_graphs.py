"""The graphs of the crash benchmark: in a row, in a loop with a tool, and side by side.

Where the benchmark wants it, answers are streamed.
"""

from __future__ import annotations

import operator
from typing import Annotated, Any, TypedDict

from langchain_core.messages import AnyMessage, HumanMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from langgraph.graph import END, START, StateGraph
from langgraph.graph.message import add_messages
from langgraph.prebuilt import ToolNode

from benchmarks.crash_shapes import streams
from benchmarks.crash_tools import record as run_record

ROUNDS = 2


class State(TypedDict):
    said: Annotated[list[str], operator.add]
    messages: Annotated[list[AnyMessage], add_messages]


def _model(inputs: dict[str, Any]) -> ChatOpenAI:
    return ChatOpenAI(model="scripted", max_retries=0, streaming=streams(inputs["number"]))


def _asking(inputs: dict[str, Any], question: str) -> Any:
    async def ask(state: State) -> dict[str, Any]:
        text = f"Number {inputs['number']}, {question}"
        answer = await _model(inputs).ainvoke([HumanMessage(text)])
        return {"said": [str(answer.content)]}

    return ask


def _begin() -> dict[str, Any]:
    return {"said": [], "messages": []}


def sequential(inputs: dict[str, Any]) -> Any:
    """Two questions, one after the other."""
    builder = StateGraph(State)
    builder.add_node("one", _asking(inputs, "question one."))
    builder.add_node("two", _asking(inputs, "question two."))
    builder.add_edge(START, "one")
    builder.add_edge("one", "two")
    builder.add_edge("two", END)
    return builder, _begin()


@tool
def record(figure: int) -> dict[str, int]:
    """Record a figure."""
    return run_record(figure)


def looping(inputs: dict[str, Any]) -> Any:
    """The same request for a tool call in each round, and the tool."""
    bound = _model(inputs).bind_tools([record], tool_choice="record")

    async def ask(state: State) -> dict[str, Any]:
        text = f"Number {inputs['number']}, record a figure."
        answer = await bound.ainvoke([HumanMessage(text)])
        return {"messages": [answer], "said": ["asked"]}

    builder = StateGraph(State)
    builder.add_node("ask", ask)
    builder.add_node("tools", ToolNode([record]))
    builder.add_edge(START, "ask")
    builder.add_edge("ask", "tools")
    builder.add_conditional_edges(
        "tools", lambda state: "ask" if len(state["said"]) < ROUNDS else END, ["ask", END]
    )
    return builder, _begin()


def parallel(inputs: dict[str, Any]) -> Any:
    """Two branches that ask the same, and one that joins them."""
    builder = StateGraph(State)
    for name in ("left", "right"):
        builder.add_node(name, _asking(inputs, "which way?"))
        builder.add_edge(START, name)
    builder.add_node("join", _asking(inputs, "and then?"))
    builder.add_edge(["left", "right"], "join")
    builder.add_edge("join", END)
    return builder, _begin()
