"""A member of a team in a process of its own: what answers the team's proxy.

The whole team is built here too, as in the attempt, since nothing else knows how its members are
made; of it only the one member is used. Tools run here, but under the journal of the attempt,
which is asked for each run.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import AbstractContextManager, aclosing, asynccontextmanager, contextmanager
from contextvars import Context, ContextVar, copy_context
from typing import Any

import msgspec
from autogen_agentchat.base import Response
from autogen_agentchat.teams import BaseGroupChat
from autogen_core import CancellationToken

from omium.errors import AgentError, EntrypointError, OmiumError, ProtocolError
from omium.execution.records import Question
from omium.frameworks.autogen import quieten
from omium.frameworks.autogen_build import check_parts, let_go, subject_of
from omium.frameworks.autogen_parts import Part, parts_of
from omium.frameworks.autogen_people import ask_durably
from omium.frameworks.autogen_state import load_parts, save_parts
from omium.frameworks.autogen_tools import journal_tools
from omium.frameworks.autogen_turns import Turns
from omium.frameworks.effect import effect, effect_key, tool_call
from omium.frameworks.people import asking
from omium.frameworks.protocol import Answering, Assignment, ToolRun
from omium.types import Json

At = Callable[[str, str], AbstractContextManager[None]]

_path: ContextVar[str] = ContextVar("omium_member_path", default="")


@asynccontextmanager
async def member(
    assignment: Assignment, part: str, at: At, ask: Answering
) -> AsyncGenerator[Answering, None]:
    """The member ``part`` of the assigned team. See ``frameworks.protocol.Guest``."""
    quieten()
    calls = _Calls(assignment, at, ask)
    definition = assignment.agent
    named = definition.entrypoint or f"the component of agent {definition.name!r}"
    with asking(calls):
        team = await subject_of(calls)
        everything = parts_of(team)
        check_parts(named, everything)
        found = [one for one in getattr(team, "_participants", ()) if one.name == part]
        if not isinstance(team, BaseGroupChat) or not found:
            raise EntrypointError(named, f"built again, the team has no member {part!r}")
        parts = parts_of(found[0])
        turns = Turns(calls, parts)
        journal_tools(calls, turns, parts)
        ask_durably(calls, parts)
        try:
            yield _Member(definition.name, team, parts, turns, calls).answer
        finally:
            # A host has one guest. A stream that was cut off may not have let go of its connection.
            await let_go(everything, busy=True)


class _Member:
    def __init__(
        self, agent: str, team: BaseGroupChat, parts: list[Part], turns: Turns, calls: _Calls
    ) -> None:
        self._agent, self._parts, self._turns, self._calls = agent, parts, turns, calls
        self._thing = parts[0].thing
        self._factory = team._message_factory

    async def answer(self, body: Any) -> Json:
        match body["asks"]:
            case "turn":
                return await self._turn(body["step"], body["messages"])
            case "run":
                return await self._calls.run(body)
            case "save":
                return await save_parts(self._parts)
            case "load":
                await load_parts(self._agent, self._parts, body["state"])
            case "reset":
                await self._thing.on_reset(CancellationToken())
            case other:
                raise ProtocolError(f"a member is not asked for {other!r}")
        return None

    async def _turn(self, step: str, heard: list[Any]) -> Json:
        messages = [self._factory.create(one) for one in heard]

        async def act(token: CancellationToken) -> Response:
            response: Response | None = None
            # Closed at once where the telling is cut off, and not whenever it is collected: it
            # may have an answer of the model open.
            async with aclosing(self._thing.on_messages_stream(messages, token)) as said:
                async for one in said:
                    if isinstance(one, Response):
                        response = one
                    else:
                        await self._calls.say(one)
            if response is None:
                raise AgentError(f"agent {self._thing.name!r} ended its turn without a response")
            return response

        response = await self._turns.run(step, act)
        inner: list[Json] = [dict(one.dump()) for one in response.inner_messages or ()]
        return {"message": dict(response.chat_message.dump()), "inner": inner}


class _Calls:
    """Implements ``frameworks.protocol.Calls`` and ``Asks``, by way of the attempt."""

    def __init__(self, assignment: Assignment, at: At, ask: Answering) -> None:
        self.assignment = assignment
        self.blocking = _Blocking(self, asyncio.get_running_loop())
        self._at, self._ask = at, ask
        self._numbers = itertools.count(1)
        self._runs: dict[int, tuple[ToolRun, Context]] = {}

    @contextmanager
    def in_step(self, step: str, branch: str = "") -> Iterator[None]:
        token = _path.set(branch)
        try:
            with self._at(step, branch):
                yield
        finally:
            _path.reset(token)

    async def say(self, message: Any) -> None:
        await self._ask({"asks": "says", "message": dict(message.dump())})

    async def call_tool(
        self, name: str, arguments: Json, run: ToolRun, *, idempotent: bool
    ) -> Json:
        number = next(self._numbers)
        self._runs[number] = (run, copy_context())
        try:
            return await self._ask(
                {
                    "asks": "tool",
                    "number": number,
                    "tool": name,
                    "arguments": arguments,
                    "idempotent": idempotent,
                    "path": _path.get(),
                }
            )
        finally:
            del self._runs[number]

    async def run(self, body: Any) -> Json:
        """Run a tool that was asked for, in the context in which it was called."""
        run, context = self._runs[body["number"]]

        async def inside() -> Json:
            with effect(body["effect_key"], body["call"]):
                return await run(body["arguments"])

        work = asyncio.create_task(inside(), context=context)
        try:
            return await work
        except OmiumError:
            raise
        except (Exception, SystemExit) as error:
            # What the journal says of a tool that raised, and not what the gateway said last.
            raise AgentError(f"{type(error).__name__}: {error}") from error

    async def ask(self, question: Question) -> Json:
        return await self.ask_from(question, _path.get(), effect_key() or "", tool_call())

    async def ask_from(self, question: Question, path: str, key: str, call: int) -> Json:
        return await self._ask(
            {
                "asks": "person",
                "question": msgspec.to_builtins(question),
                "path": path,
                "effect_key": key,
                "call": call,
            }
        )


class _Blocking:
    def __init__(self, calls: _Calls, loop: asyncio.AbstractEventLoop) -> None:
        self._calls, self._loop = calls, loop

    def ask(self, question: Question) -> Json:
        # The place is the calling thread's, so it is read here and not in the loop.
        asked = self._calls.ask_from(question, _path.get(), effect_key() or "", tool_call())
        return asyncio.run_coroutine_threadsafe(asked, self._loop).result()
