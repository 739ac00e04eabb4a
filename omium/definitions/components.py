"""AutoGen components as data: what a definition may say of a team or an agent.

Pure. AutoGen's own loader imports whatever class a component names and, for a function tool,
runs the source code that the component carries. A definition is stored data, and stored data
must not execute code: so this is a closed list of the components that may be named, of the
places where each may stand, and of the keys that it may have. Whatever is not on it is refused
before anything of AutoGen's sees it.

It goes beyond AutoGen's format in two ways. ``tools`` of an agent are names of tools that the
workflow declares, and ``model_client`` may be left out.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias, cast

from omium.definitions.problems import Path, Problem, described, did_you_mean, listed
from omium.definitions.schema import unknown
from omium.types import Json

MAX_COMPONENT_DEPTH = 16

Kind: TypeAlias = Literal["team", "agent", "model", "context", "memory", "ending", "format"]
_KIND_NAMES: dict[Kind, str] = {
    "team": "a team",
    "agent": "an agent",
    "model": "a model client",
    "context": "a model context",
    "memory": "a memory",
    "ending": "a termination condition",
    "format": "a structured message factory",
}


@dataclass(frozen=True, kw_only=True)
class Shape:
    """A component that may be named: its kind, its plain keys, and its places for others.

    ``one`` and ``several`` say of what kinds the component, or the list of components, under a
    key may be; ``required`` names the keys that must be there.
    """

    kind: Kind
    keys: tuple[str, ...] = ()
    one: Mapping[str, tuple[Kind, ...]] = field(default_factory=dict[str, tuple[Kind, ...]])
    several: Mapping[str, tuple[Kind, ...]] = field(default_factory=dict[str, tuple[Kind, ...]])
    required: tuple[str, ...] = ()


def _team(*keys: str, **one: tuple[Kind, ...]) -> Shape:
    return Shape(
        kind="team",
        keys=("name", "description", "max_turns", "emit_team_events", *keys),
        one={"termination_condition": ("ending",), **one},
        several={"participants": ("agent", "team")},
        required=("participants",),
    )


def _ending(*keys: str) -> Shape:
    return Shape(kind="ending", keys=keys)


_OPENAI = Shape(
    kind="model",
    # What says where to send calls and with which key is Omium's business, and not here.
    keys=(
        "model", "model_info", "frequency_penalty", "logit_bias", "max_tokens", "presence_penalty",
        "response_format", "seed", "stop", "temperature", "top_p", "parallel_tool_calls",
        "reasoning_effort", "add_name_prefixes", "include_name_in_message", "timeout",
        "max_retries",
    ),
)  # fmt: skip
_JOINED = Shape(kind="ending", several={"conditions": ("ending",)}, required=("conditions",))

SHAPES: dict[str, Shape] = {
    "autogen_agentchat.teams.RoundRobinGroupChat": _team(),
    "autogen_agentchat.teams.SelectorGroupChat": _team(
        "selector_prompt", "allow_repeated_speaker", "max_selector_attempts",
        "model_client_streaming", model_client=("model",), model_context=("context",),
    ),
    "autogen_agentchat.teams.Swarm": _team(),
    "autogen_agentchat.teams.GraphFlow": _team("graph"),
    "autogen_agentchat.agents.AssistantAgent": Shape(
        kind="agent",
        keys=(
            "name", "description", "system_message", "tools", "workbench", "handoffs",
            "model_client_stream", "reflect_on_tool_use", "max_tool_iterations",
            "tool_call_summary_format", "metadata",
        ),
        one={
            "model_client": ("model",),
            "model_context": ("context",),
            "structured_message_factory": ("format",),
        },
        several={"memory": ("memory",)},
        required=("name",),
    ),
    "autogen_agentchat.agents.MessageFilterAgent": Shape(
        kind="agent", keys=("name", "filter"), one={"wrapped_agent": ("agent",)},
        required=("name", "wrapped_agent", "filter"),
    ),
    "autogen_agentchat.agents.SocietyOfMindAgent": Shape(
        kind="agent", keys=("name", "description", "instruction", "response_prompt"),
        one={"team": ("team",), "model_client": ("model",), "model_context": ("context",)},
        required=("name", "team"),
    ),
    "autogen_agentchat.agents.UserProxyAgent": Shape(
        kind="agent", keys=("name", "description"), required=("name",),
    ),
    "autogen_ext.models.openai.OpenAIChatCompletionClient": _OPENAI,
    "OpenAIChatCompletionClient": _OPENAI,
    "openai_chat_completion_client": _OPENAI,
    "autogen_core.model_context.UnboundedChatCompletionContext": Shape(
        kind="context", keys=("initial_messages",)
    ),
    "autogen_core.model_context.BufferedChatCompletionContext": Shape(
        kind="context", keys=("buffer_size", "initial_messages"), required=("buffer_size",)
    ),
    "autogen_core.model_context.HeadAndTailChatCompletionContext": Shape(
        kind="context", keys=("head_size", "tail_size", "initial_messages"),
        required=("head_size", "tail_size"),
    ),
    "autogen_core.memory.ListMemory": Shape(kind="memory", keys=("name", "memory_contents")),
    "autogen_agentchat.messages.StructuredMessageFactory": Shape(
        kind="format", keys=("json_schema", "format_string", "content_model_name"),
        required=("json_schema",),
    ),
    "autogen_agentchat.base.AndTerminationCondition": _JOINED,
    "autogen_agentchat.base.OrTerminationCondition": _JOINED,
    "autogen_agentchat.conditions.FunctionCallTermination": _ending("function_name"),
    "autogen_agentchat.conditions.HandoffTermination": _ending("target"),
    "autogen_agentchat.conditions.MaxMessageTermination": _ending(
        "max_messages", "include_agent_event"
    ),
    "autogen_agentchat.conditions.SourceMatchTermination": _ending("sources"),
    "autogen_agentchat.conditions.StopMessageTermination": _ending(),
    "autogen_agentchat.conditions.TextMentionTermination": _ending("text"),
    "autogen_agentchat.conditions.TextMessageTermination": _ending("source"),
    "autogen_agentchat.conditions.TimeoutTermination": _ending("timeout_seconds"),
    "autogen_agentchat.conditions.TokenUsageTermination": _ending(
        "max_total_token", "max_prompt_token", "max_completion_token"
    ),
}  # fmt: skip

_HEAD = (
    "provider", "component_type", "version", "component_version", "description", "label", "config",
)  # fmt: skip
_SECRETS = ("api_key", "base_url", "organization", "default_headers")
_REFUSED = {
    "autogen_agentchat.agents.CodeExecutorAgent": "it runs code that no journal sees",
    "autogen_core.tools.FunctionTool": "it carries source code: name a declared tool instead",
}
_TOOLS = "the names of declared tools"


def component_problems(component: Json, path: Path, tools: Collection[str]) -> Iterator[Problem]:
    """Every mistake in an agent's ``component``; ``tools`` are the names that it may use."""
    yield from _component(component, path, ("team", "agent"), frozenset(tools), 0)


def _component(
    data: Json, path: Path, kinds: tuple[Kind, ...], tools: frozenset[str], depth: int
) -> Iterator[Problem]:
    wanted = " or ".join(_KIND_NAMES[kind] for kind in kinds)
    if not isinstance(data, dict) or depth > MAX_COMPONENT_DEPTH:
        deep = "components nested too deep" if isinstance(data, dict) else described(data)
        yield Problem(path=path, text=f"found {deep}, expected {wanted} (provider and config)")
        return
    shape, problem = _shape(data.get("provider"), (*path, "provider"), kinds, wanted)
    if shape is None:
        if problem is not None:
            yield problem
        return
    for key in data:
        if key not in _HEAD:
            yield unknown((*path, key), key, _HEAD)
    config = data.get("config", {})
    if not isinstance(config, dict):
        text = f"found {described(config)}, expected a mapping"
        yield Problem(path=(*path, "config"), text=text)
        return
    yield from _config(config, (*path, "config"), shape, tools, depth)


def _shape(
    provider: Json, path: Path, kinds: tuple[Kind, ...], wanted: str
) -> tuple[Shape | None, Problem | None]:
    known = [name for name, shape in SHAPES.items() if shape.kind in kinds]
    if not isinstance(provider, str):
        found = "nothing" if provider is None else described(provider)
        text = f"found {found}, expected the name of {wanted}: {listed(known)}"
        return None, Problem(path=path, text=text, missing=provider is None)
    if provider in known:
        return SHAPES[provider], None
    if provider in _REFUSED:
        text = f"found {described(provider)}, expected {wanted} but this: {_REFUSED[provider]}"
    else:
        close = did_you_mean(provider, known)
        text = f"found {described(provider)}, expected one of {listed(known)}{close}"
    return None, Problem(path=path, text=text)


def _config(
    config: dict[str, Json], path: Path, shape: Shape, tools: frozenset[str], depth: int
) -> Iterator[Problem]:
    known = [*shape.keys, *shape.one, *shape.several]
    for key, value in config.items():
        place = (*path, key)
        if key in shape.one:
            if value is not None:
                yield from _component(value, place, shape.one[key], tools, depth + 1)
        elif key in shape.several:
            yield from _each(value, place, shape.several[key], tools, depth)
        elif shape.kind == "model" and key in _SECRETS:
            text = "found a setting of the connection, expected none: the gateway has it"
            yield Problem(path=place, text=text)
        elif key not in shape.keys:
            yield unknown(place, key, known)
        elif key == "tools":
            yield from _tools(value, place, tools)
        elif key == "workbench" and not _is_idle(value):
            text = f"found a workbench with tools, expected {_TOOLS}, under 'tools'"
            yield Problem(path=place, text=text)
    for key in shape.required:
        if config.get(key) in (None, []):
            yield Problem(path=(*path, key), text="found nothing, expected a value", missing=True)


def _each(
    value: Json, path: Path, kinds: tuple[Kind, ...], tools: frozenset[str], depth: int
) -> Iterator[Problem]:
    if value is None:
        return
    if not isinstance(value, list):
        wanted = " or ".join(_KIND_NAMES[kind] for kind in kinds)
        text = f"found {described(value)}, expected a list, each item {wanted}"
        yield Problem(path=path, text=text)
        return
    for i, item in enumerate(value):
        yield from _component(item, (*path, i), kinds, tools, depth + 1)


def _tools(value: Json, path: Path, tools: frozenset[str]) -> Iterator[Problem]:
    if value is None:
        return
    if not isinstance(value, list):
        yield Problem(path=path, text=f"found {described(value)}, expected {_TOOLS}")
        return
    for i, name in enumerate(value):
        if not isinstance(name, str):
            text = f"found {described(name)}, expected the name of a declared tool"
            yield Problem(path=(*path, i), text=text)
        elif name not in tools:
            close = did_you_mean(name, tools)
            text = f"found {described(name)}, expected a tool of the agent: {listed(sorted(tools))}"
            yield Problem(path=(*path, i), text=text + close)


def _is_idle(workbench: Json) -> bool:
    """Whether a workbench, as AutoGen dumps one for every agent, has no tools."""
    benches = workbench if isinstance(workbench, list) else [workbench]
    for bench in benches:
        match bench:
            case None:
                pass
            case {"provider": str() as provider, "config": dict() as config}:
                static = provider.startswith("autogen_core.tools.Static")
                if not static or cast("dict[str, Json]", config).get("tools"):
                    return False
            case _:
                return False
    return True
