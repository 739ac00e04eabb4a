"""Two processes that ask one another over one stream, and can stop what they asked for.

What is raised crosses: errors of Omium's and control flow as they were. It knows nothing of what
is asked.
"""

from __future__ import annotations

import asyncio
import json
from contextvars import Context, copy_context
from typing import Any

import msgspec

from omium.actors.failures import known_in
from omium.actors.transport import Answer, Codec, Connection
from omium.errors import (
    Asked,
    AttemptCancelled,
    AttemptFenced,
    Control,
    HostLost,
    OutcomeUnknown,
    ProtocolError,
    Suspended,
    Unavailable,
    rebuilt,
)
from omium.frameworks.hook import CallSite
from omium.frameworks.protocol import Answering
from omium.types import Json

FRAME_BYTES_MAX = 64 * 1024 * 1024
"""For the longest conversation that a member may be shown at once, or have for a state."""

_CONTROL: dict[str, type[Control]] = {
    one.__name__: one
    for one in (Asked, AttemptCancelled, AttemptFenced, HostLost, OutcomeUnknown, Suspended)
}


class HostHello(msgspec.Struct, frozen=True, kw_only=True, tag_field="m", tag="host_hello"):
    """The first message of a host's: which one it is."""

    host: str


class Question(msgspec.Struct, frozen=True, kw_only=True, tag_field="m", tag="question"):
    """Wants a ``Reply`` or a ``Raised``. ``body`` is JSON."""

    number: int
    body: bytes


class Withdrawn(msgspec.Struct, frozen=True, kw_only=True, tag_field="m", tag="withdrawn"):
    """A question whose answer is of no use any more. It is answered all the same, once what it
    had begun has stopped."""

    number: int


class Reply(msgspec.Struct, frozen=True, kw_only=True, tag_field="m", tag="reply"):
    body: bytes


class Raised(msgspec.Struct, frozen=True, kw_only=True, tag_field="m", tag="raised"):
    """``name`` is a class of control flow, ``cancelled``, or the kind of an Omium error."""

    name: str
    args: list[Any]


_CANCELLED = Raised(name="cancelled", args=[])

CODEC = Codec(HostHello | Question | Withdrawn | Reply | Raised, frame_bytes_max=FRAME_BYTES_MAX)


class Duplex:
    """One end. What the other asks is answered in ``context``, or a copy of the caller's."""

    def __init__(
        self, connection: Connection, answering: Answering, context: Context | None = None
    ) -> None:
        self._connection = connection
        self._answering = answering
        self._context = context or copy_context()
        self._site: CallSite | None = None
        self._asked = 0
        self._at_work: dict[int, asyncio.Task[Reply | Raised]] = {}

    def take(self, answering: Answering, site: CallSite) -> None:
        """From here on let ``answering`` answer, in the caller's context. ``site`` tells what the
        gateway said of LLM calls made here."""
        self._answering, self._site, self._context = answering, site, copy_context()

    async def ask(self, body: Json) -> Json:
        """See ``frameworks.protocol.Host``."""
        self._asked += 1
        question = Question(number=self._asked, body=json.dumps(body).encode())
        await self._connection.drained()
        answered = self._connection.request(question)
        try:
            answer = await asyncio.shield(answered)
        except asyncio.CancelledError:
            if not answered.done():
                self._connection.send(Withdrawn(number=question.number))
                await asyncio.wait([answered])
            if not answered.cancelled():
                # Looked at, so that asyncio does not complain of what nobody waited for.
                answered.exception()
            raise
        except Unavailable as error:
            raise HostLost(str(error)) from error
        match answer:
            case Reply():
                return json.loads(answer.body)
            case Raised():
                raise _raised(answer)
            case _:
                raise ProtocolError(f"no version answers with a {type(answer).__name__}")

    def heard(self, message: Any, answer: Answer) -> None:
        """A message has come from the other end."""
        match message:
            case Question(number=number):
                task = asyncio.create_task(self._reply(message), context=self._context.copy())
                self._at_work[number] = task

                def done(task: asyncio.Task[Reply | Raised]) -> None:
                    # Also where it was cancelled before it began.
                    del self._at_work[number]
                    answer(_CANCELLED if task.cancelled() else task.result())

                task.add_done_callback(done)
            case Withdrawn(number=number):
                task = self._at_work.get(number)
                if task is not None:
                    task.cancel()
            case _:
                raise ProtocolError(f"a host takes no {type(message).__name__}")

    def stop(self) -> None:
        """The other end is gone: nobody wants to know any more."""
        for task in self._at_work.values():
            task.cancel()

    async def stopped(self) -> None:
        """Wait until nothing is at work for the other end."""
        while self._at_work:
            await asyncio.wait(list(self._at_work.values()))

    async def _reply(self, question: Question) -> Reply | Raised:
        try:
            value = await self._answering(json.loads(question.body))
            return Reply(body=json.dumps(value).encode())
        except (Exception, SystemExit, Control) as error:  # noqa: BLE001 (the asker raises it)
            return self._told(error)

    def _told(self, error: BaseException) -> Raised:
        site = self._site
        if site is not None and site.stopped is not None:
            error = site.stopped
        if isinstance(error, Control):
            return Raised(name=type(error).__name__, args=list(error.args))
        known = known_in(
            error,
            model_error=None if site is None else site.model_error,
            gateway_lost=site is not None and site.gateway_lost,
        )
        return Raised(name=known.kind, args=list(known.args))


def _raised(told: Raised) -> BaseException:
    if told.name == _CANCELLED.name:
        return asyncio.CancelledError()
    control = _CONTROL.get(told.name)
    return rebuilt(told.name, told.args) if control is None else control(*told.args)
