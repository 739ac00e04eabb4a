"""What a fresh process does once, so that its first real graph need not wait.

LangGraph and LangChain's OpenAI client load much of themselves when first used.
"""

from __future__ import annotations

from typing import Any, TypedDict

from langchain_core.messages import AIMessage
from langchain_openai import ChatOpenAI
from langgraph.graph import END, START, StateGraph

import omium.frameworks.langgraph_run  # noqa: F401
from omium.frameworks.langgraph_saver import OmiumSaver
from omium.frameworks.warm import answering_client
from omium.storage.threads import MemoryThreads


class _State(TypedDict):
    said: Any


def warm_up() -> None:
    """Ask a client in a graph of one node, with a checkpointer."""
    with answering_client() as web:
        model = ChatOpenAI(
            model="warm", api_key=lambda: "none", base_url="http://localhost", http_client=web
        )

        def ask(state: _State) -> dict[str, AIMessage]:
            return {"said": model.invoke("warm")}

        builder = StateGraph(_State)
        builder.add_node("ask", ask)
        builder.add_edge(START, "ask")
        builder.add_edge("ask", END)
        graph = builder.compile(checkpointer=OmiumSaver(MemoryThreads()))
        graph.invoke({"said": None}, {"configurable": {"thread_id": "warm"}}, durability="sync")
