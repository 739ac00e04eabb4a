"""Members of a team that live apart: here each is a proxy, which asks its process.

The team does not know. Turns, checkpoints and the journal stay here; what a member's process does
to the world, it asks for (see ``autogen_member``, which is at the other end).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from typing import Any

import msgspec
from autogen_agentchat.agents import BaseChatAgent, UserProxyAgent
from autogen_agentchat.base import ChatAgent, Response
from autogen_agentchat.messages import BaseAgentEvent, BaseChatMessage, MessageFactory
from autogen_agentchat.teams import BaseGroupChat
from autogen_core import CancellationToken

from omium.errors import AgentError, EntrypointError, ProtocolError
from omium.execution.records import Question
from omium.frameworks.autogen_parts import parts_of
from omium.frameworks.autogen_turns import Turns
from omium.frameworks.effect import effect, effect_key, tool_call
from omium.frameworks.protocol import Host, Session
from omium.types import Json

APART_MAX = 16
"""Members that live apart: each is a process, with AutoGen in it."""

GUEST = "omium.frameworks.autogen_member:member"


class Apart:
    """The members of one team that live apart. None, where the definition does not say so."""

    def __init__(self, session: Session, named: str, root: Any) -> None:
        """Put proxies in the places of the members. ``named`` is what to blame.

        Raises ``EntrypointError`` for members that cannot be told apart.
        """
        self._session = session
        self._proxies: list[MemberProxy] = []
        if session.assignment.agent.isolation is None:
            return
        if not isinstance(root, BaseGroupChat):
            raise EntrypointError(named, "'isolation: member' is for a team, this is an agent")
        _refuse_in_common(named, root)
        members: list[Any] = list(root._participants)
        for number, one in enumerate(members):
            # A person needs no process, and a team within the team stays in this one.
            if isinstance(one, ChatAgent) and not isinstance(one, UserProxyAgent):
                members[number] = proxy = MemberProxy(one, root._message_factory)
                self._proxies.append(proxy)
        if len(self._proxies) > APART_MAX:
            raise EntrypointError(
                named, f"{len(self._proxies)} members, expected at most {APART_MAX} to live apart"
            )
        root._participants = members

    async def open(self, turns: Turns) -> None:
        """Start the processes, all at once."""
        opened = await asyncio.gather(
            *(self._open(proxy, turns) for proxy in self._proxies), return_exceptions=True
        )
        for failed in opened:
            if failed is not None:
                raise failed

    async def _open(self, proxy: MemberProxy, turns: Turns) -> None:
        async def answering(body: Any) -> Json:
            return await self._answer(proxy, turns, body)

        proxy.step = lambda: turns.step
        proxy.host = await self._session.open_host(GUEST, proxy.name, answering)

    async def _answer(self, proxy: MemberProxy, turns: Turns, body: Any) -> Json:
        match body["asks"]:
            case "says":
                await proxy.says(body["message"])
                return None
            case "tool":
                with turns.place(body["path"]):
                    return await self._call_tool(proxy, turns, body)
            case "person":
                with turns.place(body["path"]), effect(body["effect_key"], body["call"]):
                    question = msgspec.convert(body["question"], Question)
                    return await self._session.ask(question)
            case other:
                raise ProtocolError(f"a member asks for {other!r}")

    async def _call_tool(self, proxy: MemberProxy, turns: Turns, body: Any) -> Json:
        host = proxy.open_host

        async def run(given: Json) -> Json:
            return await host.ask(
                {
                    "asks": "run",
                    "number": body["number"],
                    "arguments": given,
                    "effect_key": effect_key() or "",
                    "call": tool_call(),
                }
            )

        return await turns.call_tool(
            body["tool"], body["arguments"], run, idempotent=body["idempotent"]
        )


def _refuse_in_common(named: str, root: BaseGroupChat) -> None:
    """Refuse an agent that several members have inside: each would get one of its own."""
    seen: set[int] = set()
    for one in root._participants:
        for part in parts_of(one):
            if id(part.thing) in seen:
                raise EntrypointError(
                    named,
                    f"{part.path!r} is a part of another member too, which cannot be with "
                    "'isolation: member'",
                )
            seen.add(id(part.thing))


class MemberProxy(BaseChatAgent):
    """Stands for a member in its team, and asks the member's process."""

    def __init__(self, member: ChatAgent, factory: MessageFactory) -> None:
        super().__init__(member.name, member.description)
        self._produced = tuple(member.produced_message_types)
        self._factory = factory
        self._said: asyncio.Queue[BaseAgentEvent | BaseChatMessage] = asyncio.Queue(1)
        self.host: Host | None = None
        self.step: Callable[[], str] = str

    @property
    def open_host(self) -> Host:
        assert self.host is not None, "a member is asked once its process is there"
        return self.host

    @property
    def produced_message_types(self) -> Sequence[type[BaseChatMessage]]:
        return self._produced

    async def says(self, message: Any) -> None:
        """The member said something in the midst of its turn. Returns when there is room."""
        await self._said.put(self._factory.create(message))

    async def on_messages(
        self, messages: Sequence[BaseChatMessage], cancellation_token: CancellationToken
    ) -> Response:
        response: Response | None = None
        async for one in self.on_messages_stream(messages, cancellation_token):
            response = one if isinstance(one, Response) else response
        assert response is not None, "a turn ends with a response"
        return response

    async def on_messages_stream(
        self, messages: Sequence[BaseChatMessage], cancellation_token: CancellationToken
    ) -> AsyncGenerator[BaseAgentEvent | BaseChatMessage | Response, None]:
        heard: list[Json] = [dict(message.dump()) for message in messages]
        turn = asyncio.ensure_future(
            self.open_host.ask({"asks": "turn", "step": self.step(), "messages": heard})
        )
        said = asyncio.ensure_future(self._said.get())
        try:
            while True:
                await asyncio.wait({turn, said}, return_when=asyncio.FIRST_COMPLETED)
                if not said.done():
                    break
                message = said.result()
                said = asyncio.ensure_future(self._said.get())
                yield message
            answered: Any = turn.result()
            yield self._response(answered)
        finally:
            turn.cancel()
            said.cancel()
            await asyncio.wait([turn, said])
            while not self._said.empty():
                self._said.get_nowait()

    def _response(self, answered: Any) -> Response:
        inner: list[Any] = [self._factory.create(one) for one in answered["inner"]]
        message = self._factory.create(answered["message"])
        if not isinstance(message, BaseChatMessage):
            raise AgentError(f"agent {self.name!r} answered with an event, not with a message")
        return Response(chat_message=message, inner_messages=inner)

    async def on_reset(self, cancellation_token: CancellationToken) -> None:
        await self.open_host.ask({"asks": "reset"})

    async def save_state(self) -> Mapping[str, Any]:
        return {"apart": await self.open_host.ask({"asks": "save"})}

    async def load_state(self, state: Mapping[str, Any]) -> None:
        await self.open_host.ask({"asks": "load", "state": state["apart"]})
