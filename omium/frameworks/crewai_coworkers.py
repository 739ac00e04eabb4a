"""Work that one agent of a crew gives another: delegation, and whatever runs inside of a task.

Owns where such work stands in the journal, and that a failure in it is one of the whole step.
CrewAI would tell the asking agent of it as if the coworker had said something: what a model's
provider refused would then be part of the conversation, and another one after a crash.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from crewai import Agent
from crewai.agents.agent_executor import AgentExecutor
from crewai.tasks.llm_guardrail import LLMGuardrail
from crewai.tools.agent_tools.agent_tools import AgentTools
from crewai.tools.agent_tools.base_agent_tools import BaseAgentTool
from crewai.utilities.agent_utils import extract_tool_call_info

from omium.frameworks.crewai_steps import Places, alone


class WorkFailed(BaseException):
    """Carries ``error`` out of work inside of a task, past those who would make text of it."""

    def __init__(self, error: Exception) -> None:
        super().__init__(error)
        self.error = error


def loud(function: Callable[..., Any]) -> Callable[..., Any]:
    """``function``, whose failures nobody makes text of."""

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except Exception as error:
            raise WorkFailed(error) from error

    return call


def delegate_in_branches(agent: Agent, places: Places) -> None:
    """Let what ``agent`` delegates stand in a branch of its own, and run beside other work.

    Each piece of work gets a copy of the coworker: an agent holds one conversation at a time,
    and the same coworker may be asked twice at once, or be at work on a task of its own.
    """

    def get_delegation_tools(agents: Sequence[Any]) -> list[Any]:
        tools: list[Any] = AgentTools(agents=agents).tools()  # pyright: ignore[reportArgumentType]
        for tool in tools:
            object.__setattr__(tool, "_execute", functools.partial(_in_branch, tool, places))
        return tools

    object.__setattr__(agent, "get_delegation_tools", get_delegation_tools)


def _in_branch(
    tool: BaseAgentTool,
    places: Places,
    agent_name: str | None,
    task: str,
    context: str | None = None,
) -> str:
    mine = tool.model_copy(update={"agents": [_coworker(one) for one in tool.agents]})
    role = tool.sanitize_agent_name(agent_name or "")
    with places.below(role, [tool.name, task, context]):
        return BaseAgentTool._execute(mine, agent_name, task, context)


def _coworker(agent: Any) -> Any:
    copy = alone(agent)
    if copy is not agent:
        object.__setattr__(copy, "execute_task", loud(copy.execute_task))
    return copy


def fail_loudly(guardrails: Sequence[Any]) -> None:
    """Let a judgement that no model gave be a failure, and not a judgement."""
    for guardrail in guardrails:
        if isinstance(guardrail, LLMGuardrail):
            object.__setattr__(guardrail, "_validate_output", loud(guardrail._validate_output))


def make_equal_calls_in_turn() -> None:
    """Let CrewAI make equal tool calls of one answer one after the other, in this process.

    Made at once they could get one another's results when they are looked up again, and the
    conversation would go on differently. The class is changed and not derived from: it is a
    flow of CrewAI's, and one derived from it has no steps.
    """
    original = AgentExecutor._should_parallelize_native_tool_calls

    def should_parallelize(self: AgentExecutor, tool_calls: list[Any]) -> bool:
        texts = [_call_text(call) for call in tool_calls]
        return len(set(texts)) == len(texts) and original(self, tool_calls)

    AgentExecutor._should_parallelize_native_tool_calls = should_parallelize


def _call_text(call: Any) -> str:
    """The name and the arguments of a tool call, in whatever order these are written."""
    _, name, arguments = extract_tool_call_info(call) or ("", "", "")
    with suppress(TypeError, ValueError):
        arguments = json.dumps(json.loads(str(arguments)), sort_keys=True)
    return f"{name} {arguments}"
