"""Graphs for the laws. Imports LangGraph."""

from __future__ import annotations

import operator
from typing import Annotated, Any, TypedDict

from langchain_core.messages import AnyMessage, HumanMessage
from langchain_openai import ChatOpenAI
from langgraph.graph import START, StateGraph
from langgraph.graph.message import add_messages
from langgraph.prebuilt import ToolNode, tools_condition

from omium.testing.adapter_laws import ledger


class Said(TypedDict):
    said: Annotated[list[str], operator.add]


class Answer(TypedDict):
    answer: str


class Talk(Answer):
    """Messages are no output: LangGraph gives them ids by chance."""

    messages: Annotated[list[AnyMessage], add_messages]


def model(**fields: Any) -> ChatOpenAI:
    return ChatOpenAI(model="any", max_retries=0, **fields)


def asking(question: str, **fields: Any) -> Any:
    async def ask(state: Said) -> dict[str, Any]:
        text = question.format(said=state["said"])
        return {"said": [str((await model(**fields).ainvoke([HumanMessage(text)])).content)]}

    return ask


def chain(*nodes: Any) -> StateGraph[Any]:
    builder = StateGraph(Said)
    before = START
    for number, node in enumerate(nodes, 1):
        builder.add_node(f"node{number}", node)
        builder.add_edge(before, f"node{number}")
        before = f"node{number}"
    return builder


def steps(inputs: dict[str, Any], **fields: Any) -> Any:
    questions = [
        f"Say {w} about {inputs['topic']} after {{said}}." for w in ("one", "two", "three")
    ]
    return chain(*(asking(question, **fields) for question in questions))


def streaming(inputs: dict[str, Any]) -> Any:
    return steps(inputs, streaming=True)


def loop() -> Any:
    return chain(*[asking("Again?")] * 3)


def parallel() -> Any:
    def join(state: Said) -> dict[str, Any]:
        return {"said": [str(sorted(state["said"]))]}

    builder = StateGraph(Said)
    for name in ("left", "right"):
        builder.add_node(name, asking("Which?"))
        builder.add_edge(START, name)
    builder.add_node("join", join)
    builder.add_edge(["left", "right"], "join")
    return builder


def _with_tool(name: str, inputs: dict[str, Any]) -> Any:
    tool = getattr(ledger, name)

    async def ask(state: Talk) -> dict[str, Any]:
        question = HumanMessage(f"Use {inputs['ledger']}.", id="question")
        said = await model().bind_tools([tool]).ainvoke([question, *state["messages"]])
        return {"messages": [said], "answer": str(said.content)}

    builder = StateGraph(Talk, output_schema=Answer)
    builder.add_node("ask", ask)
    builder.add_node("tools", ToolNode([tool], handle_tool_errors=True))
    builder.add_edge(START, "ask")
    builder.add_conditional_edges("ask", tools_condition)
    builder.add_edge("tools", "ask")
    return builder


def with_book(inputs: dict[str, Any]) -> Any:
    return _with_tool("book", inputs)


def with_pay(inputs: dict[str, Any]) -> Any:
    return _with_tool("pay", inputs)


def with_refuse(inputs: dict[str, Any]) -> Any:
    return _with_tool("refuse", inputs)


def with_inquire(inputs: dict[str, Any]) -> Any:
    return _with_tool("inquire", inputs)
