"""The adapter for AutoGen: the turns of a team are its steps.

A team is built from the definition, or by the user's own entrypoint, anew for each attempt; its
state is loaded from the last checkpoint, and it goes on with the next turn (see ADR 0013). This
module imports nothing of AutoGen, which takes seconds.
"""

from __future__ import annotations

import asyncio
import logging
import os
from importlib import import_module
from pathlib import Path

from omium.frameworks.protocol import Session
from omium.types import Json


def _is_no_take_down(record: logging.LogRecord) -> bool:
    """AutoGen tells of every handler that is cancelled, as an error with its traceback."""
    kind = record.exc_info[0] if isinstance(record.exc_info, tuple) else None
    return kind is None or not issubclass(kind, asyncio.CancelledError)


def quieten() -> None:
    """Tell AutoGen, in this process, to trace nothing, and not to log what it was told to end."""
    # AutoGen would write every message into spans of whatever tracer there is. It reads
    # this when a team is made, and has no other way to be told for teams of the user's.
    os.environ["AUTOGEN_DISABLE_RUNTIME_TRACING"] = "true"
    logging.getLogger("autogen_core").addFilter(_is_no_take_down)


class AutoGenAdapter:
    """Runs agents of ``framework: autogen`` on the event loop of the worker."""

    framework = "autogen"

    def __init__(self, storage: Path | None = None) -> None:
        """``storage`` is of no use here: AutoGen writes no files."""

    def preload(self) -> None:
        """Import AutoGen and its OpenAI client, and use them once."""
        quieten()
        import_module("omium.frameworks.autogen_run")
        import_module("omium.frameworks.warm").warm_openai()

    async def run(self, session: Session) -> Json:
        from omium.frameworks.autogen_run import run_agent

        return await run_agent(session)
