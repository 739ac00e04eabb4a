"""A process that runs a graph of twelve steps and writes down each that begins; to be killed."""

from __future__ import annotations

import os
import sys
from typing import Any

from langgraph.graph import END, START, StateGraph

from omium.frameworks.langgraph_saver import OmiumSaver
from tests.frameworks.saver_graphs import Count, thread

STEPS = 12


def main(store: str, log: str) -> None:
    out = os.open(log, os.O_WRONLY | os.O_APPEND)

    def step(state: Count) -> dict[str, Any]:
        n = state.get("n", 0) + 1
        os.write(out, f"{n}\n".encode())
        sys.stdout.write(f"{n}\n")
        sys.stdout.flush()
        return {"n": n}

    builder = StateGraph(Count)
    builder.add_node("step", step)
    builder.add_edge(START, "step")
    builder.add_conditional_edges("step", lambda state: "step" if state["n"] < STEPS else END)
    graph = builder.compile(checkpointer=OmiumSaver(store))
    config = thread()
    begun = bool(graph.get_state(config).values)
    graph.invoke(None if begun else {"n": 0}, config, durability="sync")


main(*sys.argv[1:])
