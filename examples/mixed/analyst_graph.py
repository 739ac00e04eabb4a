"""The analyst of the mixed example: a graph that has a model call a tool until it does it right."""

from __future__ import annotations

from typing import Annotated, Any, TypedDict

from langchain_core.messages import AIMessage, AnyMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from langgraph.graph import END, START, StateGraph
from langgraph.graph.message import add_messages
from langgraph.prebuilt import ToolNode

MODEL = "local/smollm2-135m-instruct"
TRIES_MAX = 3
LOW_BELOW_PERCENT = 8
HIGH_FROM_PERCENT = 20


@tool
def annual_percentage_rate(principal: float, interest: float, years: float) -> dict[str, Any]:
    """Compute the annual percentage rate of a loan and the risk class that goes with it."""
    apr_percent = round(100 * interest / principal / years, 4) if principal and years else 0.0
    if apr_percent < LOW_BELOW_PERCENT:
        risk_class = "low"
    else:
        risk_class = "medium" if apr_percent < HIGH_FROM_PERCENT else "high"
    return {"apr_percent": apr_percent, "risk_class": risk_class}


class State(TypedDict):
    messages: Annotated[list[AnyMessage], add_messages]
    figures: dict[str, float]
    remark: str
    output: dict[str, Any] | None


async def ask(state: State) -> dict[str, Any]:
    """Have the model call the tool with the figures."""
    model = ChatOpenAI(model=MODEL, temperature=0, max_completion_tokens=120, max_retries=0)
    bound = model.bind_tools([annual_percentage_rate], tool_choice="annual_percentage_rate")
    tries = sum(isinstance(message, AIMessage) for message in state["messages"])
    again = f" Try {tries + 1}." if tries else ""
    question = f"Call the tool with these numbers, copied exactly: {state['figures']}.{again}"
    return {"messages": [await bound.ainvoke(question)]}


def is_right(state: State) -> bool:
    """Whether the model copied the figures."""
    asked = [message for message in state["messages"] if isinstance(message, AIMessage)]
    return bool(asked[-1].tool_calls) and asked[-1].tool_calls[0]["args"] == state["figures"]


def following(state: State) -> str:
    """Ask again, a few times at most, or go on."""
    tries = sum(isinstance(message, AIMessage) for message in state["messages"])
    return "report" if is_right(state) or tries >= TRIES_MAX else "ask"


def report(state: State) -> dict[str, Any]:
    """What the tool found. Figures that the model could not copy are computed all the same."""
    found: Any = annual_percentage_rate.invoke(state["figures"])
    tries = sum(isinstance(message, ToolMessage) for message in state["messages"])
    return {"output": {**found, "tries": tries, "remark": state["remark"]}}


def graph(outputs: dict[str, Any]) -> Any:
    """The graph and its input: the figures, and what the reviewers said the last time."""
    builder = StateGraph(State)
    builder.add_node("ask", ask)
    builder.add_node("tools", ToolNode([annual_percentage_rate]))
    builder.add_node("report", report)
    builder.add_edge(START, "ask")
    builder.add_edge("ask", "tools")
    builder.add_conditional_edges("tools", following, ["ask", "report"])
    builder.add_edge("report", END)
    remark = outputs.get("reviewers", {}).get("reason", "")
    return builder, {
        "messages": [],
        "figures": {name: float(value) for name, value in outputs["researcher"].items()},
        "remark": remark,
    }
