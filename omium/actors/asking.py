"""How an attempt asks people: its questions, its approvals, and the signals that it reads.

Owns what is sent to the coordinator for that, and what comes of its word. Whether there is an
answer is decided there.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec

from omium.actors import messages as m
from omium.actors.outside import StandIns
from omium.definitions.problems import lines
from omium.definitions.schema_check import schema_problems
from omium.errors import AgentError, Asked, Declined, ProtocolError, ToolError
from omium.execution.calls import Replay, ReplayFailure, Run, Waiting, digest_of
from omium.execution.records import INLINE_BYTES_MAX, CallKey, Payload, Question
from omium.frameworks.effect import tool_call
from omium.frameworks.hook import CallSite
from omium.frameworks.protocol import Assignment
from omium.types import Json

ARGUMENTS_SHOWN_CHARS_MAX = 300


class Asking(Protocol):
    """What is needed of an attempt's session."""

    assignment: Assignment
    site: CallSite
    stand_ins: StandIns | None

    async def begin_call(self, message: m.BeginCall) -> m.CallBegun: ...

    async def payload(self, value: Json) -> Payload: ...

    async def value(self, payload: Payload) -> Json: ...


@dataclass(frozen=True, slots=True)
class _Answered:
    call: int
    key: CallKey
    response: Payload


async def ask(session: Asking, question: Question) -> Json:
    """The answer to a question, or the signals that were asked for.

    Raises ``Asked`` where there is no answer yet, ``Declined`` where there will be none, and
    ``AgentError`` for what cannot be asked.
    """
    _check(question)
    digest = digest_of(msgspec.to_builtins(question))
    answered = await _answer(session, question, question.name or question.kind, digest, Payload())
    value: Any = await session.value(answered.response)
    match question.kind:
        case "signal":
            return await _with_payload(session, value)
        case "signals" if session.stand_ins is not None:
            return session.stand_ins.signals(session.assignment.agent.name, answered.key)
        case "signals":
            return [await _with_payload(session, one) for one in value]
        case _:
            return value


async def approved(session: Asking, tool: str, arguments: Json) -> tuple[int, Json]:
    """Leave to run a tool: the index of the approval, and the arguments that it is for.

    Raises ``Asked`` where nobody has decided yet, ``ToolError`` where the tool may not run.
    """
    shown = msgspec.json.encode(arguments).decode()
    if len(shown) > ARGUMENTS_SHOWN_CHARS_MAX:
        shown = shown[: ARGUMENTS_SHOWN_CHARS_MAX - 1] + "…"
    question = Question(kind="approval", tool=tool, text=f"run tool {tool!r} with {shown}?")
    request = await session.payload(arguments)
    try:
        answered = await _answer(session, question, tool, digest_of(arguments), request)
    except Declined as declined:
        raise ToolError(tool, declined.reason) from declined
    return answered.call, await session.value(answered.response)


def needs_approval(session: Asking, tool: str) -> bool:
    """Whether the definition wants each call of ``tool`` approved. Frameworks spell names in
    ways of their own; of tools that differ in spelling only, each wants approval then."""
    declared = session.assignment.workflow.tools
    return any(one.approval is not None and _plain(one.name) == _plain(tool) for one in declared)


async def _answer(
    session: Asking, question: Question, name: str, digest: str, request: Payload
) -> _Answered:
    site, assignment = session.site, session.assignment
    site.check()
    place = site.here()
    ordinal, occurrence = site.counters.next("human", place.scope, name, digest)
    key = CallKey(kind="human", scope=place.scope, name=name, digest=digest, occurrence=occurrence)
    begun = await session.begin_call(
        m.BeginCall(
            execution_id=assignment.execution_id,
            agent=assignment.agent.name,
            epoch=assignment.epoch,
            step=place.step,
            key=key,
            ordinal=ordinal,
            request=request,
            question=question,
            inside=tool_call(),
        )
    )
    match begun.decision:
        case Run():
            raise Asked(begun.index, question.text)
        case Waiting(call=call):
            raise Asked(call, question.text)
        case Replay(call=call, response=response):
            return _Answered(call, key, response)
        case ReplayFailure(failure=failure):
            raise Declined(question.text, failure.message)
        case _:
            raise ProtocolError(f"no version decides {begun.decision!r} about a question")


def _check(question: Question) -> None:
    """Refuse what nobody could be shown or answer. Raises ``AgentError``."""
    try:
        size = len(msgspec.json.encode(question))
    except (TypeError, ValueError, RecursionError) as error:
        raise AgentError(f"question {question.text[:80]!r} is not JSON: {error}") from error
    if size > INLINE_BYTES_MAX:
        raise AgentError(
            f"question {question.text[:80]!r} with its schema is {size} bytes, expected at most "
            f"{INLINE_BYTES_MAX}"
        )
    problems = lines(schema_problems(question.schema)) if question.schema is not None else ()
    if problems:
        raise AgentError(f"the schema of question {question.text[:80]!r}: {'; '.join(problems)}")


async def _with_payload(session: Asking, signal: Any) -> Json:
    payload = msgspec.convert(signal["payload"], Payload)
    return {**signal, "payload": await session.value(payload)}


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")
