"""People among AutoGen's agents: user proxies, and handoffs to somebody who is no participant."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from autogen_agentchat.agents import UserProxyAgent
from autogen_agentchat.agents._user_proxy_agent import cancellable_input
from autogen_agentchat.messages import BaseChatMessage, HandoffMessage
from autogen_core import CancellationToken

from omium.execution.records import Question
from omium.frameworks.autogen_parts import Part
from omium.frameworks.protocol import Asks

TEXT_CHARS_MAX = 8_000
_AT_A_TERMINAL = (cancellable_input, input)


def ask_durably(session: Asks, parts: list[Part]) -> None:
    """Let user proxies that would read from a terminal ask through ``session``. One with a
    function of the user's own keeps it; that may call ``omium.ask``."""
    for part in parts:
        if isinstance(part.thing, UserProxyAgent) and part.thing.input_func in _AT_A_TERMINAL:
            _Proxy(session, part.thing)


class _Proxy:
    def __init__(self, session: Asks, agent: UserProxyAgent) -> None:
        self._session, self._agent = session, agent
        self._heard = ""
        self._stream = agent.on_messages_stream
        place: Any = agent
        place.input_func, place._is_async = self.answer, True
        place.on_messages_stream = self.stream

    def stream(self, messages: Sequence[BaseChatMessage], token: CancellationToken) -> Any:
        self._heard = _clipped(messages[-1].to_text()) if messages else ""
        return self._stream(messages, token)

    async def answer(self, prompt: str, token: CancellationToken | None = None) -> str:
        said: Any = await self._session.ask(
            Question(text=self._heard or prompt.strip(), schema={"type": "string"})
        )
        return said


def handoff_to_person(said: Sequence[Any], participants: Sequence[str]) -> HandoffMessage | None:
    """The handoff that a turn ended with, where it is to none of the team."""
    last = next((m for m in reversed(said) if isinstance(m, BaseChatMessage)), None)
    if isinstance(last, HandoffMessage) and last.target not in participants:
        return last
    return None


async def reply_of_person(session: Asks, handoff: HandoffMessage) -> HandoffMessage:
    """What whom the team handed over to says, as the message that hands back."""
    question = Question(text=_clipped(handoff.content), schema={"type": "string"})
    said: Any = await session.ask(question)
    return HandoffMessage(source=handoff.target, target=handoff.source, content=said)


def _clipped(text: str) -> str:
    return text if len(text) <= TEXT_CHARS_MAX else text[: TEXT_CHARS_MAX - 1] + "…"
