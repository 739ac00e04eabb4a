"""A runtime for crews, and what the CrewAI tests have in common."""

from __future__ import annotations

import asyncio
import atexit
import gc
import tempfile
import warnings
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from omium.definitions import Workflow, workflow_from
from omium.execution.events import Entry, type_of
from omium.frameworks.crewai import CrewAIAdapter
from omium.frameworks.crewai_quiet import import_quietly
from omium.llm.providers import Provider
from omium.testing.runtime import InProcessRuntime
from omium.testing.script import Answer, Rule, ToolCall
from omium.testing.scripted import ScriptedProvider
from tests.actors.stage import Stage

CREWAI = [
    pytest.mark.crewai,
    # One worker of pytest's imports CrewAI, not each.
    pytest.mark.xdist_group("crewai"),
    # CrewAI warns of its own use of its own deprecated fields.
    pytest.mark.filterwarnings("ignore::DeprecationWarning:crewai"),
]

TOOLS: list[dict[str, Any]] = [
    {"name": name, "function": f"tests.frameworks.crews:{name}", "idempotent": name == "noted"}
    for name in (
        "rate", "rate_async", "describe", "held", "noted", "broken", "unfit", "starred",
        "untyped", "unknown_type",
    )
] + [
    {"name": "held_again", "function": "tests.frameworks.crews:held", "idempotent": True},
]  # fmt: skip


@cache
def storage() -> Path:
    """One for the process, since CrewAI has one; removed when the process ends."""
    directory = tempfile.TemporaryDirectory(prefix="omium-crewai-tests-")
    atexit.register(directory.cleanup)
    return Path(directory.name)


def crew(*tasks: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """An agent of a definition with those tasks."""
    return {
        "name": "clerk",
        "framework": "crewai",
        "role": "Clerk",
        "goal": "Answer.",
        "backstory": "Patient.",
        "tasks": list(tasks),
        **fields,
    }


def task(description: str, **fields: Any) -> dict[str, Any]:
    return {"description": description, "expected_output": "A word.", **fields}


def own_crew(function: str, **fields: Any) -> dict[str, Any]:
    """An agent whose crew ``tests.frameworks.crews`` makes."""
    entrypoint = function if ":" in function else f"tests.frameworks.crews:{function}"
    return {"name": "clerk", "framework": "crewai", "entrypoint": entrypoint, **fields}


def workflow(*agents: dict[str, Any], **fields: Any) -> Workflow:
    """A workflow of those agents; ``tools`` in ``fields`` replaces the tools there are."""
    return workflow_from(
        {"name": "tested", "version": "1", "tools": TOOLS, "agents": list(agents), **fields}
    )


def call(name: str, **arguments: Any) -> Answer:
    """An answer that calls a tool."""
    return Answer(tool_calls=(ToolCall(name=name, arguments=arguments),))


def in_turn(*answers: Answer) -> list[Rule]:
    """Rules that give each answer once, in order, whatever is asked."""
    return [Rule(answer=answer, times=1) for answer in answers]


@asynccontextmanager
async def crew_stage(
    directory: Path, rules: Sequence[Rule] = (), **options: Any
) -> AsyncIterator[Stage]:
    """A started runtime whose crews are answered by ``rules``; OpenAI is the same provider."""
    # The first time takes seconds, which are no part of what a test waits for.
    await asyncio.to_thread(import_quietly, storage())
    async with ScriptedProvider(rules) as provider:
        providers = {
            name: Provider(name=name, base_url=provider.base_url) for name in ("scripted", "openai")
        }
        options.setdefault("providers", providers)
        adapters = {"crewai": lambda: CrewAIAdapter(storage())}
        async with InProcessRuntime(directory, adapters=adapters, **options) as runtime:
            yield Stage(runtime=runtime, provider=provider)
    # Crews are cycles, with clients in them: which end goes first, the client that would close a
    # socket or the socket, is by chance, and which test that befalls as well.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


def events_of(entries: list[Entry], kind: str) -> list[Any]:
    return [entry.event for entry in entries if type_of(entry.event) == kind]


def asked(s: Stage) -> list[dict[str, Any]]:
    """The requests that reached the provider, oldest first."""
    return [one.body for one in s.provider.calls]


def texts(body: dict[str, Any]) -> str:
    """All that a request says, in one."""
    return "\n".join(str(message.get("content")) for message in body["messages"])


async def failure(s: Stage, execution_id: Any) -> Any:
    """The failure record of an execution that failed."""
    view = await s.client.view(execution_id)
    assert view.failure is not None
    return view.failure
