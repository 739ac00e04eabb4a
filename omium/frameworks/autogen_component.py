"""From a component, which is data, to a team or an agent.

What may be named is checked by ``definitions.components`` once more, right before AutoGen loads
it: its loader would import anything. Keys and addresses of models come from the attempt.
"""

from __future__ import annotations

import inspect
from typing import Any

from autogen_agentchat.agents import AssistantAgent
from autogen_agentchat.base import ChatAgent, Team
from autogen_agentchat.teams import SelectorGroupChat
from autogen_core import ComponentLoader
from pydantic import ValidationError

from omium.definitions import Agent, strict
from omium.definitions.components import SHAPES, Kind, component_problems
from omium.definitions.problems import lines
from omium.errors import ConfigError, DefinitionError
from omium.frameworks.autogen_model import GatewayClient
from omium.frameworks.autogen_tools import DeclaredWorkbench
from omium.frameworks.protocol import Calls, ModelEndpoint
from omium.types import Json

_ASSISTANT = "autogen_agentchat.agents.AssistantAgent"
_SELECTOR = "autogen_agentchat.teams.SelectorGroupChat"
# What AutoGen's loader goes by where it takes an agent or a team.
_TYPES: dict[Kind, str] = {
    "team": "team",
    "agent": "agent",
    "model": "model",
    "context": "chat_completion_context",
    "memory": "memory",
    "ending": "termination",
    "format": "structured_message",
}
_NEEDS_MODEL = (_ASSISTANT, _SELECTOR, "autogen_agentchat.agents.SocietyOfMindAgent")


def subject_of_component(session: Calls, component: dict[str, Json]) -> Team | ChatAgent:
    """The team or agent that ``component`` describes.

    Raises ``DefinitionError`` for a component that is not allowed or does not load, and
    ``ConfigError`` where no model is named.
    """
    definition = session.assignment.agent
    source = f"the component of agent {definition.name!r}"
    problems = tuple(component_problems(component, (), definition.tools))
    if problems:
        raise DefinitionError(source, lines(problems))
    prepared = _Preparation(definition, session.assignment.endpoint).of(component, is_root=True)
    try:
        loaded: Any = ComponentLoader.load_component(prepared, expected=object)
    except ValidationError as error:
        told = [
            f"{error.title}: {'.'.join(map(str, one['loc']))}: {one['msg']}"
            for one in error.errors(include_url=False)
        ]
        raise DefinitionError(source, told) from error
    except Exception as error:
        # AutoGen's validators take the shape of what they look at for granted.
        raise DefinitionError(source, [f"{type(error).__name__}: {error}"]) from error
    return loaded


class _Preparation:
    """Turns a component of a definition into one that AutoGen's loader takes."""

    def __init__(self, definition: Agent, endpoint: ModelEndpoint) -> None:
        self._definition, self._endpoint = definition, endpoint

    def of(self, component: Any, *, is_root: bool = False) -> dict[str, Any]:
        provider = component["provider"]
        shape = SHAPES[provider]
        config: dict[str, Any] = dict(component.get("config", {}))
        if shape.kind == "model":
            return self._model(config, None)
        answer = self._answer(provider, config, is_root=is_root)
        if provider in _NEEDS_MODEL:
            named = config.pop("model_client", None) or {}
            config["model_client"] = self._model(named.get("config", {}), answer)
        for key in shape.one:
            if key != "model_client" and config.get(key) is not None:
                config[key] = self.of(config[key])
        for key in shape.several:
            if config.get(key) is not None:
                config[key] = [self.of(one) for one in config[key]]
        if provider == _ASSISTANT:
            config = self._assistant(config, answers=answer is not None)
        elif provider == _SELECTOR:
            config = {**_defaults(SelectorGroupChat), **config}
        return {**component, "component_type": _TYPES[shape.kind], "config": config}

    def _answer(
        self, provider: str, config: dict[str, Any], *, is_root: bool
    ) -> dict[str, Any] | None:
        """The schema under which an agent's answers are the whole agent's output."""
        schema = self._definition.output
        speaks = is_root or config.get("name") == self._definition.answer_from
        shaped = config.get("structured_message_factory") is not None
        if schema is None or provider != _ASSISTANT or not speaks or shaped:
            return None
        return strict(schema)

    def _model(self, config: dict[str, Any], answer: dict[str, Any] | None) -> dict[str, Any]:
        definition, endpoint = self._definition, self._endpoint
        own = {"temperature": definition.temperature, "max_tokens": definition.max_tokens}
        options = {key: value for key, value in {**own, **config}.items() if value is not None}
        options["model"] = endpoint.model or options.get("model")
        if not options["model"]:
            raise ConfigError(f"no model for agent {definition.name!r}: set one, or use --model")
        options |= {
            "base_url": endpoint.base_url,
            "api_key": endpoint.api_key,
            # Recovery decides about retries, once and knowingly.
            "max_retries": 0,
        }
        return {
            "provider": GatewayClient.component_provider_override,
            "component_type": "model",
            "config": {"options": options, "answer": answer},
        }

    def _assistant(self, config: dict[str, Any], *, answers: bool) -> dict[str, Any]:
        config = dict(config)
        names: list[str] = config.pop("tools", None) or []
        config.pop("workbench", None)
        config["handoffs"] = [
            # AutoGen's format has names, but its validator chokes on them.
            {"target": handoff} if isinstance(handoff, str) else handoff
            for handoff in config.get("handoffs") or ()
        ]
        shaped = config.get("structured_message_factory")
        if shaped is not None:
            # AutoGen tells message types apart by this name.
            model_name = f"{config['name']}_content"
            shaped["config"] = {"content_model_name": model_name, **shaped["config"]}
        if names:
            config["workbench"] = [
                {
                    "provider": DeclaredWorkbench.component_provider_override,
                    "component_type": "workbench",
                    # OpenAI's client parses answers into models beside strict tools only.
                    "config": {"names": names, "strict": shaped is not None},
                }
            ]
        defaults = _defaults(AssistantAgent)
        defaults["reflect_on_tool_use"] = shaped is not None or answers
        return {**defaults, **config}


_LEFT_OUT = ("tools", "workbench", "name", "model_client", "participants")


def _defaults(made: type) -> dict[str, Any]:
    """What AutoGen takes where its constructor is given nothing, and its format must be told."""
    parameters = inspect.signature(made).parameters.values()
    return {
        parameter.name: parameter.default
        for parameter in parameters
        if parameter.default not in (None, parameter.empty) and parameter.name not in _LEFT_OUT
    }
