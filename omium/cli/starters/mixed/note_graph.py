"""A graph with a loop. It finds what the researcher handed on in its state."""

from __future__ import annotations

import operator
from typing import Annotated, Any, TypedDict

from langchain_openai import ChatOpenAI
from langgraph.graph import END, START, StateGraph

MODEL = "local/smollm2-135m-instruct"
DRAFTS = 2


class State(TypedDict):
    topic: str
    researcher: dict[str, str]
    drafts: Annotated[list[str], operator.add]
    output: str


async def draft(state: State) -> dict[str, Any]:
    """Write a first draft, or a shorter one than the last."""
    kind = state["researcher"]["kind"]
    question = f"Write one short sentence about {state['topic']}, which is a {kind}."
    if state["drafts"]:
        question = f"Say this in fewer words: {state['drafts'][-1]}"
    model = ChatOpenAI(model=MODEL, temperature=0, max_completion_tokens=60)
    answer = await model.ainvoke(question)
    return {"drafts": [str(answer.content).strip()]}


def choose(state: State) -> dict[str, Any]:
    """Take the shortest draft."""
    return {"output": min(state["drafts"], key=len)}


def after_draft(state: State) -> str:
    return "draft" if len(state["drafts"]) < DRAFTS else "choose"


def graph() -> Any:
    builder = StateGraph(State)
    builder.add_node("draft", draft)
    builder.add_node("choose", choose)
    builder.add_edge(START, "draft")
    builder.add_conditional_edges("draft", after_draft, ["draft", "choose"])
    builder.add_edge("choose", END)
    return builder
