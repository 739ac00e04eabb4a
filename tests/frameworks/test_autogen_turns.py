"""A turn that is ended by what AutoGen knows nothing of: it ends, and says why."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest

from omium.errors import AgentError, AttemptFenced, OutcomeUnknown, PlatformError
from tests.frameworks.autogen_stage import AUTOGEN

pytestmark = AUTOGEN

PATIENCE_S = 20.0


class BareSession:
    """What a turn asks of a session: no journal; its tools raise ``error``."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error
        self.assignment = SimpleNamespace(workflow=SimpleNamespace(tools=()))

    @contextmanager
    def in_step(self, step: str, branch: str = "") -> Iterator[None]:
        yield

    async def call_tool(self, name: str, arguments: Any, run: Any, *, idempotent: bool) -> Any:
        if self.error is not None:
            raise self.error
        return await run("key")


def alone(error: BaseException) -> Any:
    from tests.frameworks.teams import Agent

    return Agent("clerk", error)


def in_a_team(error: BaseException) -> Any:
    from autogen_agentchat.teams import RoundRobinGroupChat

    return RoundRobinGroupChat([alone(error)], max_turns=1)


def in_an_inner_team(error: BaseException) -> Any:
    from autogen_agentchat.teams import RoundRobinGroupChat

    inner = RoundRobinGroupChat([alone(error)], max_turns=1, name="office")
    return RoundRobinGroupChat([inner], max_turns=1)


def left_over() -> list[Any]:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    return [task for task in others if not task.done()]


async def turn(root: Any, error: BaseException | None = None) -> Any:
    from autogen_agentchat.messages import TextMessage

    from omium.frameworks.autogen_parts import parts_of
    from omium.frameworks.autogen_tools import journal_tools
    from omium.frameworks.autogen_turns import Turns, run_through

    message = TextMessage(content="Do it.", source="user")
    session: Any = BareSession(error)
    parts = parts_of(root)
    turns = Turns(session, parts)
    journal_tools(session, turns, parts)
    async with asyncio.timeout(PATIENCE_S):
        return await turns.run("0", partial(run_through, root, [message]))


@pytest.mark.parametrize("make", [alone, in_a_team, in_an_inner_team])
@pytest.mark.parametrize(
    ("error", "raised", "said"),
    [
        (AttemptFenced("superseded"), AttemptFenced, "superseded"),
        (asyncio.CancelledError(), AgentError, "'.*clerk' was cancelled from within"),
        (SystemExit(3), AgentError, "SystemExit: 3"),
        (PlatformError("no disk"), PlatformError, "no disk"),
    ],
    ids=["fenced", "cancelled", "exit", "platform"],
)
async def test_what_an_agent_raises_ends_the_turn_as_what_it_is(
    make: Callable[[BaseException], Any],
    error: BaseException,
    raised: type[BaseException],
    said: str,
) -> None:
    with pytest.raises(raised, match=said):
        await turn(make(error))
    assert not left_over()


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OutcomeUnknown("tool 'note_it'", 7), "note_it"),
        (AttemptFenced("superseded"), "superseded"),
        (PlatformError("no disk"), "no disk"),
    ],
)
async def test_what_the_journal_refuses_a_tool_ends_the_turn(
    error: BaseException, said: str
) -> None:
    from autogen_agentchat.agents import AssistantAgent
    from autogen_agentchat.teams import RoundRobinGroupChat
    from autogen_core import FunctionCall
    from autogen_core.models import CreateResult, ModelInfo, RequestUsage
    from autogen_ext.models.replay import ReplayChatCompletionClient

    from tests.frameworks.teams import note_it

    answer = CreateResult(
        finish_reason="function_calls",
        content=[FunctionCall(id="1", name="note_it", arguments='{"till": "none"}')] * 2,
        usage=RequestUsage(prompt_tokens=1, completion_tokens=1),
        cached=False,
    )
    info = ModelInfo(
        vision=False,
        function_calling=True,
        json_output=False,
        structured_output=False,
        family="unknown",
    )
    client = ReplayChatCompletionClient([answer], model_info=info)
    clerk = AssistantAgent("clerk", client, tools=[note_it])
    with pytest.raises(type(error), match=said):
        await turn(RoundRobinGroupChat([clerk], max_turns=1), error)
    assert not left_over()
