"""A runtime for teams, and what the AutoGen tests have in common."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from omium.definitions import Workflow, workflow_from
from omium.execution.events import Entry, type_of
from omium.frameworks.autogen import AutoGenAdapter
from omium.llm.providers import Provider
from omium.testing.runtime import InProcessRuntime
from omium.testing.script import Answer, Rule, ToolCall
from omium.testing.scripted import ScriptedProvider
from tests.actors.stage import Stage

AUTOGEN = [
    pytest.mark.autogen,
    # One worker of pytest's imports AutoGen, not each.
    pytest.mark.xdist_group("autogen"),
    # AutoGen logs an answer that OpenAI's client has made a model of, which pydantic remarks on.
    pytest.mark.filterwarnings("ignore:Pydantic serializer warnings:UserWarning"),
    # Teams are cycles: those of a killed worker may be collected in the midst of a later test.
    pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning"),
]

TOOLS: list[dict[str, Any]] = [
    {"name": name, "function": f"tests.frameworks.team_tools:{name}", "idempotent": name == "noted"}
    for name in (
        "rate", "rate_async", "lend", "held", "noted", "broken", "unfit", "leaves", "unknown_type",
    )
] + [
    {"name": "held_again", "function": "tests.frameworks.team_tools:held", "idempotent": True},
]  # fmt: skip

CHAT = "autogen_agentchat"


def assistant(name: str, **config: Any) -> dict[str, Any]:
    """An AssistantAgent as a component. What it is told is ``I am NAME.``"""
    config = {"name": name, "system_message": f"I am {name}.", **config}
    return {"provider": f"{CHAT}.agents.AssistantAgent", "config": config}


def team(kind: str, *members: dict[str, Any], **config: Any) -> dict[str, Any]:
    """A team of that kind as a component."""
    return {
        "provider": f"{CHAT}.teams.{kind}",
        "config": {"participants": list(members), **config},
    }


def until(kind: str, **config: Any) -> dict[str, Any]:
    """A termination condition as a component, such as ``until("TextMention", text="done")``."""
    return {"provider": f"{CHAT}.conditions.{kind}Termination", "config": config}


def either(*conditions: dict[str, Any]) -> dict[str, Any]:
    config = {"conditions": list(conditions)}
    return {"provider": f"{CHAT}.base.OrTerminationCondition", "config": config}


def both(*conditions: dict[str, Any]) -> dict[str, Any]:
    config = {"conditions": list(conditions)}
    return {"provider": f"{CHAT}.base.AndTerminationCondition", "config": config}


def of_component(component: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """An agent of a workflow that is that component."""
    tools = [tool["name"] for tool in TOOLS]
    return {
        "name": "group",
        "framework": "autogen",
        "component": component,
        "task": "Do it.",
        "tools": tools,
        **fields,
    }


def own_team(function: str, **fields: Any) -> dict[str, Any]:
    """An agent whose team ``tests.frameworks.teams`` makes."""
    entrypoint = function if ":" in function else f"tests.frameworks.teams:{function}"
    return {
        "name": "group",
        "framework": "autogen",
        "entrypoint": entrypoint,
        "task": "Do it.",
        **fields,
    }


def workflow(*agents: dict[str, Any], **fields: Any) -> Workflow:
    return workflow_from(
        {"name": "tested", "version": "1", "tools": TOOLS, "agents": list(agents), **fields}
    )


def says(*texts: Any) -> list[Rule]:
    """Rules that give each answer once, in order, whatever is asked. A text is an answer."""
    answers = [one if isinstance(one, Answer) else Answer(content=one) for one in texts]
    return [Rule(answer=answer, times=1) for answer in answers]


def call(name: str, **arguments: Any) -> Answer:
    """An answer that calls a tool."""
    return Answer(tool_calls=(ToolCall(name=name, arguments=arguments),))


@asynccontextmanager
async def team_stage(
    directory: Path, rules: Sequence[Rule] = (), **options: Any
) -> AsyncIterator[Stage]:
    """A started runtime whose teams are answered by ``rules``; OpenAI is the same provider."""
    # The first time takes seconds, which are no part of what a test waits for.
    await asyncio.to_thread(AutoGenAdapter().preload)
    async with ScriptedProvider(rules) as provider:
        providers = {
            name: Provider(name=name, base_url=provider.base_url) for name in ("scripted", "openai")
        }
        options.setdefault("providers", providers)
        adapters = {"autogen": AutoGenAdapter}
        async with InProcessRuntime(directory, adapters=adapters, **options) as runtime:
            yield Stage(runtime=runtime, provider=provider)


def events_of(entries: list[Entry], kind: str) -> list[Any]:
    return [entry.event for entry in entries if type_of(entry.event) == kind]


def steps_of(entries: list[Entry]) -> list[tuple[str, str]]:
    """(step, who spoke) of the completed steps."""
    return [(event.step, event.name) for event in events_of(entries, "step.completed")]


def scopes_of(entries: list[Entry]) -> list[str]:
    return [event.key.scope for event in events_of(entries, "call.intended")]


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
