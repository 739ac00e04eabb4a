"""One attempt: the session that an adapter runs in, over the stream to the coordinator."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import AbstractContextManager
from typing import Any, TypeVar

from msgspec.structs import replace

from omium.actors import asking
from omium.actors import messages as m
from omium.actors.host import given_to
from omium.actors.hosting import Hosting, OpenHost
from omium.actors.link import Link
from omium.actors.outside import StandIns
from omium.actors.payloads import Blobs, as_json, payload_of, value_of
from omium.actors.tool_calls import Permit, Recorded, ToolCalls
from omium.errors import (
    Asked,
    AttemptFenced,
    ConfigError,
    Control,
    PlatformError,
    Suspended,
)
from omium.execution.calls import step_of_round
from omium.execution.events import Event, StepCompleted, StepStarted
from omium.execution.machine import Refusal
from omium.execution.records import Payload, Question, Writer
from omium.frameworks.effect import effect
from omium.frameworks.hook import CallSite
from omium.frameworks.protocol import Answering, Assignment, BlockingToolRun, Host, ToolRun
from omium.frameworks.scope import Place
from omium.types import Json, TenantId

CALL_DEADLINE_S = 60.0
"""How long a coordinator may stay away, seconds: a restart takes a few."""

_T = TypeVar("_T")


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
        hosting: Hosting | None = None,
    ) -> None:
        self.assignment = assignment
        self.site = site
        self.tenant = tenant
        self.stand_ins = stand_ins
        self._link = link
        self._blobs = blobs
        self._hosting = hosting
        self._hosts: list[OpenHost] = []
        self._sequence = 0
        self._turn = asyncio.Lock()
        self._loop = asyncio.get_running_loop()
        self.tools = ToolCalls(self, self._loop)
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

    # ------------------------------------------------------------------ hosts

    async def open_host(self, guest: str, part: str, answering: Answering) -> Host:
        if self._hosting is None:
            raise ConfigError("this worker starts no processes for parts of its agents")

        def given(host: str) -> Json:
            return given_to(self.assignment, self.site, guest, part, host)

        host = await self._hosting.open(given, answering)
        self._hosts.append(host)
        return host

    async def end_hosts(self) -> None:
        """The attempt is over, and so are the processes of its parts."""
        for host in self._hosts:
            await host.end()

    # ------------------------------------------------------------------ calls

    async def call_tool(
        self, name: str, arguments: Json, run: ToolRun, *, idempotent: bool
    ) -> Json:
        return await self.tools.call(name, arguments, run, idempotent=idempotent)

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

    async def settled(self, asked: Asked) -> None:
        """Begin nothing more, and wait until no tool is at work: of one that is left alone
        nobody would know how it ended."""
        self.site.asked = asked
        await self.tools.idle()

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
                return await session.tools.begin(name, arguments, idempotent=idempotent)

        # Already while it begins: an intent that is committed is of a tool that is made to run.
        with session.tools.at_work():
            begun = self._wait(begin())
            if isinstance(begun, Recorded):
                return begun.result
            started_s = self._loop.time()
            try:
                if begun.stand_in is not None:
                    result = begun.stand_in()
                else:
                    with effect(begun.effect_key, begun.call):
                        result = run(begun.arguments)
            except Suspended:
                self._wait(session.tools.suspended(begun.call))
                raise
            except (Exception, SystemExit) as error:
                raise self._wait(session.tools.failed(name, begun.call, error)) from error
            return self._wait(session.tools.completed(name, begun.call, result, started_s))

    def ask(self, question: Question) -> Json:
        session = self._session
        place = session.site.here()

        async def placed() -> Json:
            with session.site.at(place):
                return await asking.ask(session, question)

        return self._wait(placed())
