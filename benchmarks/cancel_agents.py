"""What the benchmark of cancelling runs: agents that ask, and tools that never return."""

from __future__ import annotations

import asyncio
import time
from typing import Any

FOREVER_S = 3_600.0
WAITING_TOOL, BLOCKING_TOOL = "wait", "wait_blocking"

SCRIPT: list[dict[str, Any]] = [
    *(
        {
            "when": {"any_contains": f"Call {name}."},
            "answer": {"tool_calls": [{"name": name, "arguments": {}}]},
        }
        for name in (WAITING_TOOL, BLOCKING_TOOL)
    ),
    {"answer": {"content": "too late", "delay_s": FOREVER_S}},
]
"""The model asks for the tool that it is told of; without one it never answers."""


async def wait() -> str:
    """Wait, on the event loop."""
    await asyncio.sleep(FOREVER_S)
    return "done"


def wait_blocking() -> str:
    """Wait, and keep a thread."""
    time.sleep(FOREVER_S)
    return "done"


def graph(inputs: dict[str, Any]) -> Any:
    """A graph that asks the model and does what that says."""
    from langchain_core.messages import HumanMessage
    from langchain_core.tools import tool
    from langchain_openai import ChatOpenAI
    from langgraph.graph import START, MessagesState, StateGraph
    from langgraph.prebuilt import ToolNode, tools_condition

    tools = [tool(wait), tool(wait_blocking)]
    model = ChatOpenAI(model="scripted", max_retries=0).bind_tools(tools)

    async def ask(state: MessagesState) -> dict[str, Any]:
        return {"messages": [await model.ainvoke(state["messages"])]}

    builder = StateGraph(MessagesState)
    builder.add_node("ask", ask)
    builder.add_node("tools", ToolNode(tools))
    builder.add_edge(START, "ask")
    builder.add_conditional_edges("ask", tools_condition)
    builder.add_edge("tools", "ask")
    return builder, {"messages": [HumanMessage(str(inputs["what"]))]}
