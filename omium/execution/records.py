"""The records that journal events are made of. Frozen, and encoded as MessagePack."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from omium.execution.blobref import BlobRef
from omium.types import AgentName, CallKind, ExecutionId

QuestionKind = Literal["question", "approval", "signal", "signals"]

INLINE_BYTES_MAX = 32 * 1024
"""A payload whose JSON is larger than this goes to the blob store, its reference here."""


class Record(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Base of all records: immutable, keyword-only, absent fields mean their defaults."""


class Payload(Record, frozen=True, kw_only=True):
    """A JSON value, carried inline when small and by reference when not.

    ``blob`` being set means that ``inline`` is not the value.
    """

    inline: Any = None
    blob: BlobRef | None = None


class PlannedLoop(Record, frozen=True, kw_only=True):
    """A handoff back to ``to``, an agent before the one that hands back, or that one itself.

    ``agents`` are those that run again: ``to``, the one that hands back, and all between them.
    It is taken at most ``rounds_max`` times; where ``conditional``, only when the output fits.
    ``then`` says what follows when it would be taken once more.
    """

    to: AgentName
    agents: tuple[AgentName, ...]
    rounds_max: int
    conditional: bool = False
    then: Literal["continue", "fail"] = "continue"


class CodeRef(Record, frozen=True, kw_only=True):
    """The user's code that an execution runs on: a bundle in the blob store.

    ``folders`` are those that it was taken from, for people; ``files`` is how many there are.
    """

    blob: BlobRef
    files: int
    folders: tuple[str, ...] = ()


class PlannedAgent(Record, frozen=True, kw_only=True):
    """One agent of the plan: its name and the agents whose outputs it waits for.

    Of these ``when`` hand to it only if their output fits a condition, and ``otherwise`` only
    if it fits no condition of theirs. ``loops`` are the agent's own handoffs back, in order.
    """

    name: AgentName
    upstream: tuple[AgentName, ...] = ()
    when: tuple[AgentName, ...] = ()
    otherwise: tuple[AgentName, ...] = ()
    loops: tuple[PlannedLoop, ...] = ()


class Origin(Record, frozen=True, kw_only=True):
    """Where a forked execution comes from: a point in another one's journal."""

    execution_id: ExecutionId
    index: int


class Failure(Record, frozen=True, kw_only=True):
    """What went wrong.

    ``kind`` is the stable name of an error class in ``omium.errors``; ``error_type`` the
    exception's own class name; ``checkpoint`` the journal index of the last good checkpoint
    of the agent, 0 where there is none; ``retryable`` whether the same attempt might succeed.
    """

    kind: str
    message: str
    error_type: str = ""
    agent: AgentName | None = None
    step: str = ""
    checkpoint: int = 0
    retryable: bool = False
    traceback: str = ""


class CallKey(Record, frozen=True, kw_only=True):
    """What makes two calls the same call.

    ``scope`` names the place inside the agent (its step, and whatever branch the framework
    is in); ``digest`` is of the canonical request; ``occurrence`` counts equal requests in
    one scope, from 0.
    """

    kind: CallKind
    scope: str
    name: str
    digest: str
    occurrence: int


class Question(Record, frozen=True, kw_only=True):
    """What a ``human`` call asks for.

    A ``question`` wants a JSON value that satisfies ``schema`` (any, where there is none); an
    ``approval`` wants leave to run ``tool`` with the arguments that are the call's request;
    ``signal`` waits for the signal ``name``; ``signals`` takes those that have come, and waits
    for nothing. ``text`` is for people.
    """

    kind: QuestionKind = "question"
    text: str = ""
    schema: dict[str, Any] | None = None
    tool: str = ""
    name: str = ""


class Usage(Record, frozen=True, kw_only=True):
    """What a call consumed. ``None`` means that nobody said, which is not zero."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cost_micros: int | None = None
    """Millionths of a US dollar."""


class Writer(Record, frozen=True, kw_only=True):
    """Who appends: an attempt. Its ``sequence`` numbers its appends from 1, so that one that
    is sent twice is written once. 0 asks for the fence alone: calls are told apart by key."""

    agent: AgentName
    epoch: int
    sequence: int


PauseReason = Literal["outcome_unknown", "requested", "question", "approval", "signal"]
AttemptCause = Literal["first", "worker_lost", "resumed", "retry"]
AttemptEnd = Literal["worker_lost", "failed", "step_timeout", "paused", "cancelled", "asked"]
Decision = Literal["retry", "answer", "fail", "approve", "deny"]
