"""Omium: a durable runtime on Ray for multi-agent AI workflows.

    execution = omium.run("workflow.yaml", {"principal": 10_000})
    print(execution.result())

Names are loaded when they are first used, so that importing the package is quick.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from omium.client import AsyncClient, AsyncHandle, Client, Handle
    from omium.definitions import Agent, Task, Tool, Workflow, load_workflow
    from omium.frameworks.effect import effect_key
    from omium.frameworks.langgraph_saver import OmiumSaver
    from omium.frameworks.people import (
        Signal,
        ask,
        ask_async,
        signals,
        signals_async,
        wait_signal,
        wait_signal_async,
    )
    from omium.frameworks.plain import AgentContext, BlockingContext
    from omium.runtime.api import (
        AsyncExecution,
        Execution,
        arun,
        attach,
        fork,
        resume,
        run,
        shutdown,
    )

__version__ = "0.1.0"

_HOMES = {
    "omium.client": ("AsyncClient", "AsyncHandle", "Client", "Handle"),
    "omium.definitions": ("Agent", "Task", "Tool", "Workflow", "load_workflow"),
    "omium.frameworks.effect": ("effect_key",),
    "omium.frameworks.langgraph_saver": ("OmiumSaver",),
    "omium.frameworks.people": (
        "Signal",
        "ask",
        "ask_async",
        "signals",
        "signals_async",
        "wait_signal",
        "wait_signal_async",
    ),
    "omium.frameworks.plain": ("AgentContext", "BlockingContext"),
    "omium.runtime.api": (
        "AsyncExecution",
        "Execution",
        "arun",
        "attach",
        "fork",
        "resume",
        "run",
        "shutdown",
    ),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "Agent",
    "AgentContext",
    "AsyncClient",
    "AsyncExecution",
    "AsyncHandle",
    "BlockingContext",
    "Client",
    "Execution",
    "Handle",
    "OmiumSaver",
    "Signal",
    "Task",
    "Tool",
    "Workflow",
    "__version__",
    "arun",
    "ask",
    "ask_async",
    "attach",
    "effect_key",
    "fork",
    "load_workflow",
    "resume",
    "run",
    "shutdown",
    "signals",
    "signals_async",
    "wait_signal",
    "wait_signal_async",
]


def __getattr__(name: str) -> Any:
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module 'omium' has no attribute {name!r}")
    return getattr(import_module(home), name)
