"""The records that journal events are made of. Frozen, and encoded as MessagePack."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from omium.execution.blobref import BlobRef
from omium.types import AgentName, CallKind, ExecutionId

ReasonCode = Literal["schema", "schema_version", "deadline", "vote"]
Ballot = Literal["for", "against"]
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


class PlannedHandoff(Record, frozen=True, kw_only=True):
    """A handoff from ``source`` that its receiver checks before it takes it.

    ``schema`` is the digest of the receiver's input schema; ``retries`` is how often the giver
    runs again by itself when what it hands over is rejected; ``deadline_s`` how many seconds the
    receiver has to accept it, None where it may take for ever. ``validators``, functions and
    agents, vote about it first, and ``votes_min`` of them have to be for it. ``stand_in`` is the
    agent that is asked for another output when that of the giver is not taken.
    """

    source: AgentName
    schema: str
    retries: int = 0
    deadline_s: float | None = None
    validators: tuple[str, ...] = ()
    votes_min: int = 0
    stand_in: AgentName | None = None


class PlannedAgent(Record, frozen=True, kw_only=True):
    """One agent of the plan: its name and the agents whose outputs it waits for.

    Of these ``when`` hand to it only if their output fits a condition, and ``otherwise`` only
    if it fits no condition of theirs. ``loops`` are the agent's own handoffs back, in order;
    ``checked`` are the handoffs to it that it does not take unseen. A judge votes about what is
    handed to the agents ``judges``, all of it by the one that it waits for. A stand-in runs when
    what that one hands to the agent ``stands_in`` is rejected, and has an output for it instead.
    """

    name: AgentName
    upstream: tuple[AgentName, ...] = ()
    when: tuple[AgentName, ...] = ()
    otherwise: tuple[AgentName, ...] = ()
    loops: tuple[PlannedLoop, ...] = ()
    checked: tuple[PlannedHandoff, ...] = ()
    judges: tuple[AgentName, ...] = ()
    stands_in: AgentName | None = None


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


class Reason(Record, frozen=True, kw_only=True):
    """Why a handoff was rejected, for programs: a ``code``, and what it is about.

    ``schema``: the output breaks the receiver's input schema at ``path``, a JSON Pointer
    (RFC 6901). ``schema_version``: it was offered for another input schema than the receiver's.
    ``deadline``: nobody accepted it in time. ``vote``: ``validator`` voted against it, and too few
    others were for it. ``message`` is for people.
    """

    code: ReasonCode
    message: str
    path: str = ""
    validator: str = ""


class Rejection(Record, frozen=True, kw_only=True):
    """What ``to`` said when it did not take an agent's output: what that agent is told when it
    runs again because of it. A stand-in is told it of the output of ``source``."""

    to: AgentName
    reasons: tuple[Reason, ...]
    source: AgentName | None = None


class Vote(Record, frozen=True, kw_only=True):
    """What ``validator``, a function ``package.module:function`` or an agent, said of a handoff,
    and why."""

    validator: str
    ballot: Ballot
    reason: str = ""


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


PauseReason = Literal[
    "outcome_unknown", "requested", "question", "approval", "signal", "handoff_rejected"
]
AttemptCause = Literal["first", "worker_lost", "resumed", "retry"]
AttemptEnd = Literal["worker_lost", "failed", "step_timeout", "paused", "cancelled", "asked"]
Decision = Literal["retry", "answer", "fail", "approve", "deny"]
HandoffChoice = Literal["retry", "answer", "approve", "fail"]
"""What a person may decide of a rejected handoff."""

HandoffDecision = Literal["delegate"] | HandoffChoice
