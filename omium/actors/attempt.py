"""One attempt: the session that an adapter runs in, over the stream to the coordinator."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Future
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import msgspec
from msgspec.structs import replace

from omium.actors import asking
from omium.actors import messages as m
from omium.actors.link import Link
from omium.errors import (
    AgentError,
    Asked,
    AttemptFenced,
    Control,
    OmiumError,
    OutcomeUnknown,
    PlatformError,
    ProtocolError,
    ToolError,
)
from omium.execution.blobref import BlobRef
from omium.execution.calls import (
    Replay,
    ReplayFailure,
    Run,
    Unknown,
    digest_of,
    step_of_round,
)
from omium.execution.events import CallCompleted, CallFailed, Event, StepCompleted, StepStarted
from omium.execution.machine import Refusal
from omium.execution.records import (
    INLINE_BYTES_MAX,
    CallKey,
    Failure,
    Payload,
    Question,
    Usage,
    Writer,
)
from omium.frameworks.effect import effect
from omium.frameworks.hook import CallSite
from omium.frameworks.protocol import Assignment, BlockingToolRun, ToolRun
from omium.frameworks.scope import Place
from omium.types import AgentName, Json, TenantId

CALL_DEADLINE_S = 60.0
"""How long a coordinator may stay away, seconds: a restart takes a few."""

_T = TypeVar("_T")


class Blobs(Protocol):
    """What payloads and bundles of code need of a blob store."""

    async def put_json(self, value: Json, *, tenant: str) -> BlobRef: ...

    async def get_json(self, ref: BlobRef, *, tenant: str) -> Json: ...

    async def put(self, data: bytes, *, tenant: str) -> BlobRef: ...

    async def get(self, ref: BlobRef, *, tenant: str) -> bytes: ...


def as_json(value: Any, what: str) -> Json:
    """``value`` as the journal will give it back, so that a replay sees what the first run saw.

    Raises ``AgentError`` naming ``what`` when JSON cannot carry it.
    """
    try:
        plain = json.loads(json.dumps(value, allow_nan=False))
        msgspec.json.encode(plain)  # integers beyond 64 bits and lone surrogates
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise AgentError(f"{what}, a {type(value).__name__}, is not JSON: {error}") from error
    return plain


async def payload_of(value: Json, blobs: Blobs, tenant: TenantId) -> Payload:
    """A value as a payload: inline when small, else stored first and then named."""
    if len(msgspec.json.encode(value)) <= INLINE_BYTES_MAX:
        return Payload(inline=value)
    return Payload(blob=await blobs.put_json(value, tenant=tenant))


async def value_of(payload: Payload, blobs: Blobs, tenant: TenantId) -> Any:
    """The inverse of ``payload_of``."""
    if payload.blob is None:
        return payload.inline
    return await blobs.get_json(payload.blob, tenant=tenant)


StandIn = Callable[[], Json]
"""Gives the result of one tool call, or raises, in place of the tool."""


class StandIns(Protocol):
    """Who acts in place of tools, where they must not act themselves: in replays."""

    def tool(self, agent: AgentName, key: CallKey) -> StandIn | None:
        """Who acts in place of this call's tool; None lets the tool act."""
        ...


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


class AttemptSession:
    """Implements ``frameworks.protocol.Session``. One a lease; dies with its attempt."""

    def __init__(
        self,
        assignment: Assignment,
        tenant: TenantId,
        site: CallSite,
        link: Link,
        blobs: Blobs,
        stand_ins: StandIns | None = None,
    ) -> None:
        self.assignment = assignment
        self._stand_ins = stand_ins
        self.site = site
        self.tenant = tenant
        self._link = link
        self._blobs = blobs
        self._sequence = 0
        self._tools: set[Future[None]] = set()
        self._turn = asyncio.Lock()
        self._loop = asyncio.get_running_loop()
        self.blocking = BlockingAttemptSession(self, self._loop)

    # ------------------------------------------------------------------ the journal

    async def append(self, *events: Event) -> None:
        """Append to the journal under this attempt's epoch. Returns when it is durable."""
        # One at a time: the sequence numbers say in which order they were meant.
        async with self._turn:
            self.site.check()
            self._sequence += 1
            assignment = self.assignment
            answer = await self._link.call(
                m.AppendEvents(
                    execution_id=assignment.execution_id,
                    writer=Writer(
                        agent=assignment.agent.name,
                        epoch=assignment.epoch,
                        sequence=self._sequence,
                    ),
                    events=events,
                ),
                deadline_s=CALL_DEADLINE_S,
            )
        if isinstance(answer, m.Refused):
            raise self._refused(answer.refusal)

    def _refused(self, refusal: Refusal) -> Control | PlatformError:
        if refusal.code in ("stale_epoch", "conflict"):
            # A conflict means that the execution was paused, cancelled or failed meanwhile.
            self.site.stopped = self.site.stopped or AttemptFenced(refusal.message)
            return self.site.stopped
        return PlatformError(refusal.message)

    # ------------------------------------------------------------------ steps

    async def start_step(self, step: str, name: str = "") -> None:
        self.enter_step(step)
        await self.append(
            StepStarted(agent=self.assignment.agent.name, step=self._of_round(step), name=name)
        )

    async def complete_step(self, step: str, state: Json, name: str = "") -> None:
        plain = as_json(state, f"the state of step {step!r}")
        payload = await payload_of(plain, self._blobs, self.tenant)
        agent = self.assignment.agent.name
        step = self._of_round(step)
        await self.append(StepCompleted(agent=agent, step=step, state=payload, name=name))

    def enter_step(self, step: str) -> None:
        self.site.place = Place(self._of_round(step))

    def in_step(self, step: str, branch: str = "") -> AbstractContextManager[None]:
        return self.site.at(Place(self._of_round(step), branch))

    def locate_by(self, where: Callable[[], tuple[str, str] | None]) -> None:
        def place() -> Place | None:
            found = where()
            return None if found is None else Place(self._of_round(found[0]), found[1])

        self.site.locate = place

    def _of_round(self, step: str) -> str:
        return step_of_round(step, self.assignment.round)

    # ------------------------------------------------------------------ tools

    async def call_tool(
        self, name: str, arguments: Json, run: ToolRun, *, idempotent: bool
    ) -> Json:
        begun = await self.begin_tool(name, arguments, idempotent=idempotent)
        if isinstance(begun, Recorded):
            return begun.result
        started_s = self._loop.time()
        with self.at_work():
            try:
                if begun.stand_in is not None:
                    result = begun.stand_in()
                else:
                    with effect(begun.effect_key, begun.call):
                        result = await run(begun.arguments)
            except (Exception, SystemExit) as error:
                raise await self.tool_failed(name, begun.call, error) from error
            return await self.tool_completed(name, begun.call, result, started_s)

    async def begin_tool(
        self, name: str, arguments: Json, *, idempotent: bool
    ) -> Permit | Recorded:
        """Commit the intent to run a tool, unless its result is on record."""
        self.site.check()
        approval = 0
        try:
            arguments = as_json(arguments, "what it was given")
        except AgentError as error:
            raise ToolError(name, str(error)) from error
        if asking.needs_approval(self, name):
            approval, arguments = await asking.approved(self, name, arguments)
        place = self.site.here()
        digest = digest_of(arguments)
        ordinal, occurrence = self.site.counters.next("tool", place.scope, name, digest)
        key = CallKey(
            kind="tool", scope=place.scope, name=name, digest=digest, occurrence=occurrence
        )
        assignment = self.assignment
        answer = await self.begin_call(
            m.BeginCall(
                execution_id=assignment.execution_id,
                agent=assignment.agent.name,
                epoch=assignment.epoch,
                step=place.step,
                key=key,
                ordinal=ordinal,
                idempotent=idempotent,
                request=await self.payload(arguments),
                approval=approval,
            )
        )
        match answer.decision:
            case Run(effect_key=effect_key):
                stand_ins, agent = self._stand_ins, assignment.agent.name
                stand_in = stand_ins.tool(agent, key) if stand_ins is not None else None
                return Permit(answer.index, effect_key, arguments, stand_in)
            case Replay(response=response):
                return Recorded(await self.value(response))
            case ReplayFailure(failure=failure):
                raise ToolError(name, failure.message)
            case Unknown(call=call):
                raise OutcomeUnknown(f"tool {name!r}", call)
            case _:
                raise ProtocolError(f"no version decides {answer.decision!r} about a call")

    async def begin_call(self, message: m.BeginCall) -> m.CallBegun:
        """What is to be done about a call, whose intent is committed where it is to be made."""
        self.site.check_beginning()
        again = replace(message, again=True)
        answer = await self._link.call(message, deadline_s=CALL_DEADLINE_S, again=again)
        if isinstance(answer, m.Refused):
            raise self._refused(answer.refusal)
        return answer

    async def payload(self, value: Json) -> Payload:
        return await payload_of(value, self._blobs, self.tenant)

    async def value(self, payload: Payload) -> Json:
        return await value_of(payload, self._blobs, self.tenant)

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """A tool runs inside, in the event loop or in a thread."""
        done: Future[None] = Future()
        self._tools.add(done)
        try:
            yield
        finally:
            self._tools.discard(done)
            done.set_result(None)

    async def settled(self, asked: Asked) -> None:
        """Begin nothing more, and wait until no tool is at work: of one that is left alone
        nobody would know how it ended."""
        self.site.asked = asked
        while self._tools:
            await asyncio.wait([asyncio.wrap_future(done) for done in tuple(self._tools)])

    # ------------------------------------------------------------------ people

    async def ask(self, question: Question) -> Json:
        return await self.on_own_loop(lambda: asking.ask(self, question))

    async def on_own_loop(self, work: Callable[[], Coroutine[Any, Any, _T]]) -> _T:
        """The result of ``work``, which may be asked for on any event loop."""
        if asyncio.get_running_loop() is self._loop:
            return await work()
        # The place is the calling code's, so it is read here.
        place = self.site.here()

        async def placed() -> _T:
            with self.site.at(place):
                return await work()

        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(placed(), self._loop))

    # ------------------------------------------------------------------ how a tool ended

    async def tool_failed(self, name: str, call: int, error: BaseException) -> ToolError:
        reason = str(error)
        if not isinstance(error, OmiumError):
            reason = f"{type(error).__name__}: {error}"
        failure = Failure(
            kind="tool",
            message=reason,
            error_type=type(error).__name__,
            agent=self.assignment.agent.name,
        )
        await self.append(CallFailed(agent=self.assignment.agent.name, call=call, failure=failure))
        return ToolError(name, reason)

    async def tool_completed(self, name: str, call: int, result: Any, started_s: float) -> Json:
        try:
            plain = as_json(result, "its result")
        except AgentError as error:
            raise await self.tool_failed(name, call, error) from error
        payload = await payload_of(plain, self._blobs, self.tenant)
        await self.append(
            CallCompleted(
                agent=self.assignment.agent.name,
                call=call,
                response=payload,
                served_by=f"tool/{name}",
                usage=Usage(),
                duration_ms=round((self._loop.time() - started_s) * 1000),
            )
        )
        return plain


class BlockingAttemptSession:
    """The same session for code in a thread: each call waits for the event loop."""

    def __init__(self, session: AttemptSession, loop: asyncio.AbstractEventLoop) -> None:
        self._session = session
        self._loop = loop

    def _wait(self, work: Coroutine[Any, Any, _T]) -> _T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def start_step(self, step: str, name: str = "") -> None:
        self._wait(self._session.start_step(step, name))

    def complete_step(self, step: str, state: Json, name: str = "") -> None:
        self._wait(self._session.complete_step(step, state, name))

    def call_tool(
        self, name: str, arguments: Json, run: BlockingToolRun, *, idempotent: bool
    ) -> Json:
        session = self._session
        # The place is the calling thread's, so it is read here and not in the loop.
        place = session.site.here()

        async def begin() -> Permit | Recorded:
            with session.site.at(place):
                return await session.begin_tool(name, arguments, idempotent=idempotent)

        begun = self._wait(begin())
        if isinstance(begun, Recorded):
            return begun.result
        started_s = self._loop.time()
        with session.at_work():
            try:
                if begun.stand_in is not None:
                    result = begun.stand_in()
                else:
                    with effect(begun.effect_key, begun.call):
                        result = run(begun.arguments)
            except (Exception, SystemExit) as error:
                raise self._wait(session.tool_failed(name, begun.call, error)) from error
            return self._wait(session.tool_completed(name, begun.call, result, started_s))

    def ask(self, question: Question) -> Json:
        session = self._session
        place = session.site.here()

        async def placed() -> Json:
            with session.site.at(place):
                return await asking.ask(session, question)

        return self._wait(placed())
