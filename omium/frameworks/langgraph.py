"""The adapter for LangGraph: a graph's supersteps are its steps.

The user's own entrypoint makes the graph. This module imports nothing of LangGraph, which
takes seconds and reads its environment when imported.
"""

from __future__ import annotations

import os
import threading
from importlib import import_module
from pathlib import Path

from omium.frameworks.protocol import Session
from omium.types import Json

_importing = threading.Lock()


class LangGraphAdapter:
    """Runs agents of ``framework: langgraph``."""

    framework = "langgraph"

    def __init__(self, storage: Path | None = None) -> None:
        """``storage`` is of no use here: LangGraph writes no files of its own."""

    def preload(self) -> None:
        """Import LangGraph and LangChain's OpenAI client, and use both once."""
        with _importing:
            # Read when LangGraph is imported: what a checkpoint holds is built only where it is
            # of a type that is known to be safe, or that the graph's own state names.
            os.environ.setdefault("LANGGRAPH_STRICT_MSGPACK", "true")
            import_module("omium.frameworks.langgraph_warm").warm_up()

    async def run(self, session: Session) -> Json:
        from omium.frameworks.langgraph_run import run_graph

        return await run_graph(session)
