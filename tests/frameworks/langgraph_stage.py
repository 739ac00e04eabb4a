"""A runtime for graphs, and what the LangGraph tests have in common."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from omium.frameworks.langgraph import LangGraphAdapter
from omium.llm.providers import Provider
from omium.testing.runtime import InProcessRuntime
from omium.testing.script import Rule
from omium.testing.scripted import ScriptedProvider
from tests.actors.stage import Stage

LANGGRAPH = [
    pytest.mark.langgraph,
    # One worker of pytest's imports LangGraph, not each.
    pytest.mark.xdist_group("langgraph"),
]


def graph(function: str, **fields: Any) -> dict[str, Any]:
    """An agent whose graph ``tests.frameworks.graphs`` makes."""
    entrypoint = function if ":" in function else f"tests.frameworks.graphs:{function}"
    return {"name": "clerk", "framework": "langgraph", "entrypoint": entrypoint, **fields}


@asynccontextmanager
async def graph_stage(
    directory: Path, rules: Sequence[Rule] = (), **options: Any
) -> AsyncIterator[Stage]:
    """A started runtime whose graphs are answered by ``rules``: OpenAI is the scripted one."""
    # The first time takes seconds, which are no part of what a test waits for.
    await asyncio.to_thread(LangGraphAdapter().preload)
    async with ScriptedProvider(rules) as provider:
        providers = {
            name: Provider(name=name, base_url=provider.base_url) for name in ("scripted", "openai")
        }
        options.setdefault("providers", providers)
        adapters = {"langgraph": LangGraphAdapter}
        async with InProcessRuntime(directory, adapters=adapters, **options) as runtime:
            # Does for the clients of user code what a worker's process does.
            kept = {name: os.environ.get(name) for name in ("OPENAI_BASE_URL", "OPENAI_API_KEY")}
            os.environ["OPENAI_BASE_URL"] = f"{runtime.gateway_url}/v1"
            os.environ["OPENAI_API_KEY"] = f"{runtime.api_key}.worker"
            try:
                yield Stage(runtime=runtime, provider=provider)
            finally:
                for name, value in kept.items():
                    if value is None:
                        os.environ.pop(name, None)
                    else:
                        os.environ[name] = value
