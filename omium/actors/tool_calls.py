"""The tool calls of an attempt: what is committed before a tool runs, and how it ended after.

Owns the order of these, and who is at work. Whether a call may be made is decided by the
coordinator; whether it is to be approved first is ``asking``'s business.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from omium.actors import asking
from omium.actors import messages as m
from omium.actors.outside import StandIn
from omium.actors.payloads import as_json
from omium.errors import (
    AgentError,
    OmiumError,
    OutcomeUnknown,
    ProtocolError,
    Suspended,
    ToolError,
)
from omium.execution.calls import Replay, ReplayFailure, Run, Unknown, digest_of
from omium.execution.events import CallCompleted, CallFailed, CallSuspended, Event
from omium.execution.records import CallKey, Failure, Usage
from omium.frameworks.effect import effect
from omium.frameworks.protocol import ToolRun
from omium.types import Json


class Journaling(asking.Asking, Protocol):
    """What is needed of an attempt's session."""

    async def append(self, *events: Event) -> None: ...


@dataclass(frozen=True, slots=True)
class Permit:
    """Leave to run a tool with ``arguments``; the intent is committed at index ``call``. Where
    there is a ``stand_in``, it is that which is run."""

    call: int
    effect_key: str
    arguments: Json
    stand_in: StandIn | None = None


@dataclass(frozen=True, slots=True)
class Recorded:
    """The result of a tool call that was completed before."""

    result: Json


class ToolCalls:
    """The tool calls of one session. Every method is for its event loop, but ``at_work``."""

    def __init__(self, session: Journaling, loop: asyncio.AbstractEventLoop) -> None:
        self._session = session
        self._loop = loop
        self._at_work: set[Future[None]] = set()

    async def call(self, name: str, arguments: Json, run: ToolRun, *, idempotent: bool) -> Json:
        """See ``frameworks.protocol.Session.call_tool``."""
        # Already while it begins: an intent that is committed is of a tool that is made to run.
        with self.at_work():
            begun = await self.begin(name, arguments, idempotent=idempotent)
            if isinstance(begun, Recorded):
                return begun.result
            started_s = self._loop.time()
            try:
                if begun.stand_in is not None:
                    result = begun.stand_in()
                else:
                    with effect(begun.effect_key, begun.call):
                        result = await run(begun.arguments)
            except Suspended:
                await self.suspended(begun.call)
                raise
            except (Exception, SystemExit) as error:
                raise await self.failed(name, begun.call, error) from error
            return await self.completed(name, begun.call, result, started_s)

    async def begin(self, name: str, arguments: Json, *, idempotent: bool) -> Permit | Recorded:
        """Commit the intent to run a tool, unless its result is on record."""
        session = self._session
        session.site.check()
        approval = 0
        try:
            arguments = as_json(arguments, "what it was given")
        except AgentError as error:
            raise ToolError(name, str(error)) from error
        if asking.needs_approval(session, name):
            approval, arguments = await asking.approved(session, name, arguments)
        place = session.site.here()
        digest = digest_of(arguments)
        ordinal, occurrence = session.site.counters.next("tool", place.scope, name, digest)
        key = CallKey(
            kind="tool", scope=place.scope, name=name, digest=digest, occurrence=occurrence
        )
        assignment = session.assignment
        answer = await session.begin_call(
            m.BeginCall(
                execution_id=assignment.execution_id,
                agent=assignment.agent.name,
                epoch=assignment.epoch,
                step=place.step,
                key=key,
                ordinal=ordinal,
                idempotent=idempotent,
                request=await session.payload(arguments),
                approval=approval,
            )
        )
        match answer.decision:
            case Run(effect_key=effect_key):
                stand_ins, agent = session.stand_ins, assignment.agent.name
                stand_in = stand_ins.tool(agent, key) if stand_ins is not None else None
                return Permit(answer.index, effect_key, arguments, stand_in)
            case Replay(response=response):
                return Recorded(await session.value(response))
            case ReplayFailure(failure=failure):
                raise ToolError(name, failure.message)
            case Unknown(call=call):
                raise OutcomeUnknown(f"tool {name!r}", call)
            case _:
                raise ProtocolError(f"no version decides {answer.decision!r} about a call")

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """A tool begins, runs and ends inside, in the event loop or in a thread."""
        done: Future[None] = Future()
        self._at_work.add(done)
        try:
            yield
        finally:
            self._at_work.discard(done)
            done.set_result(None)

    async def idle(self) -> None:
        """Wait until no tool is at work."""
        while self._at_work:
            await asyncio.wait([asyncio.wrap_future(done) for done in tuple(self._at_work)])

    async def failed(self, name: str, call: int, error: BaseException) -> ToolError:
        """Put on record that a tool raised; returns what its caller is to be told."""
        agent = self._session.assignment.agent.name
        reason = str(error)
        if not isinstance(error, OmiumError):
            reason = f"{type(error).__name__}: {error}"
        failure = Failure(kind="tool", message=reason, error_type=type(error).__name__, agent=agent)
        await self._session.append(CallFailed(agent=agent, call=call, failure=failure))
        return ToolError(name, reason)

    async def suspended(self, call: int) -> None:
        """Put on record that a tool stopped to ask, before anything else is: where another
        asked first, the attempt may end before this one's question is known."""
        agent = self._session.assignment.agent.name
        await self._session.append(CallSuspended(agent=agent, call=call))

    async def completed(self, name: str, call: int, result: Any, started_s: float) -> Json:
        """Put a result on record, and return it as a replay will."""
        try:
            plain = as_json(result, "its result")
        except AgentError as error:
            raise await self.failed(name, call, error) from error
        await self._session.append(
            CallCompleted(
                agent=self._session.assignment.agent.name,
                call=call,
                response=await self._session.payload(plain),
                served_by=f"tool/{name}",
                usage=Usage(),
                duration_ms=round((self._loop.time() - started_s) * 1000),
            )
        )
        return plain
