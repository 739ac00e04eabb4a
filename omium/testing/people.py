"""Somebody who answers, in a trial or a replay, what agents ask of people.

Owns the shape of what is asked and said there, and the way of an answer to the execution. Who
says what is for the test, or the record, to decide.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Literal

from omium.actors.answers import input_of
from omium.actors.client import Client
from omium.errors import Conflict
from omium.execution.events import CallIntended
from omium.execution.fork import state_at
from omium.execution.handoffs import HANDOFF_REJECTED, not_taken
from omium.execution.records import CallKey
from omium.types import AgentName, ExecutionId, Json

BY = "test"


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What an agent asks.

    ``kind`` is ``question``, ``approval`` (of running ``tool`` with ``arguments``), ``signal``
    (it waits for the one of that ``name``) or ``handoff`` (``agent`` rejected the one of that
    ``name``, with the ``value`` in it). ``text`` is what a person reads; ``schema`` is what an
    answer to a question, or what is handed over instead, must satisfy, None for anything. A handoff
    has no ``key``, since it is no call.
    """

    agent: AgentName
    kind: Literal["question", "approval", "signal", "handoff"]
    text: str
    schema: dict[str, Any] | None = None
    tool: str = ""
    arguments: Json = None
    name: str = ""
    value: Json = None
    key: CallKey | None = None


@dataclass(frozen=True, kw_only=True)
class Said:
    """What somebody says: ``answer`` with a value (to an approval, the arguments to run the tool
    with instead; to who waits for a signal, what comes with it; of a handoff, what is handed over
    instead), ``approve``, or ``deny`` for a ``reason``. A handoff that was rejected is not denied:
    its giver is to ``retry``, or the execution to ``fail``."""

    decision: Literal["answer", "approve", "deny", "retry", "fail"] = "answer"
    answer: Json = None
    reason: str = ""
    by: str = BY


People = Callable[[Asked], Said | None]
"""Says something, or None to leave it open: the execution stays paused then."""


async def answered(client: Client, execution_id: ExecutionId, people: People) -> bool:
    """Let ``people`` say what they have to say to a paused execution: whether that was anything.

    Raises ``AnswerError`` for an answer that does not fit, and ``Conflict`` for a decision that is
    none about what is asked.
    """
    view = await client.view(execution_id)
    if view.pause_reason == HANDOFF_REJECTED:
        return await _decided(client, execution_id, people)
    said_any = False
    for question in view.questions:
        (entry,) = await client.entries(execution_id, after=question.call - 1, limit=1)
        asked = await _asked(entry.event, client.value)
        said = people(asked)
        if said is None:
            continue
        said_any = True
        if asked.kind == "signal" and said.decision == "answer":
            await client.signal(execution_id, asked.name, said.answer, by=said.by)
            continue
        await client.resume(
            execution_id,
            decision=said.decision,
            answer=said.answer,
            call=question.call,
            reason=said.reason,
            by=said.by,
        )
    return said_any


async def _decided(client: Client, execution_id: ExecutionId, people: People) -> bool:
    """The same for an execution that is paused for a handoff which was rejected."""
    state = state_at([entry async for entry in client.events(execution_id)])
    handoff = next(not_taken(state))
    handed = handoff.value or state.agents[handoff.source].output
    said = people(
        Asked(
            agent=handoff.to,
            kind="handoff",
            text=state.pause.detail if state.pause is not None else "",
            schema=input_of(state, handoff),
            name=handoff.name,
            value=await client.value(handed) if handed is not None else None,
        )
    )
    if said is None:
        return False
    await client.resume(
        execution_id, decision=said.decision, answer=said.answer, reason=said.reason, by=said.by
    )
    return True


async def _asked(event: Any, value: Callable[[Any], Awaitable[Json]]) -> Asked:
    if not isinstance(event, CallIntended) or event.question is None:
        raise Conflict(f"{type(event).__name__} asks nobody anything")
    question = event.question
    if question.kind == "signals":
        raise Conflict("who takes signals waits for nobody")
    return Asked(
        agent=event.agent,
        kind=question.kind,
        text=question.text,
        schema=question.schema,
        tool=question.tool,
        arguments=await value(event.request) if question.kind == "approval" else None,
        name=question.name,
        key=event.key,
    )
