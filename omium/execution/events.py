"""Journal events: everything that can happen to an execution, one record each.

An event is a fact in the past tense. Which event may follow which is the business of
``machine``; this module only says what each one carries, and how an entry is encoded.
Fields are added with defaults and never renamed, so that old journals stay readable.
"""

from __future__ import annotations

from typing import Any, TypeAlias, get_args

import msgspec

from omium.errors import CorruptRecord
from omium.execution.records import (
    AttemptCause,
    AttemptEnd,
    Ballot,
    CallKey,
    CodeRef,
    Decision,
    Failure,
    HandoffDecision,
    Origin,
    PauseReason,
    Payload,
    PlannedAgent,
    Question,
    Reason,
    Usage,
    Writer,
)
from omium.types import AgentName, ExecutionId, TenantId, WorkerId

FORMAT = 1
"""Version of the encoding of entries and appends."""


class _Event(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="type"):
    """Base of all events."""


class Created(_Event, frozen=True, kw_only=True, tag="execution.created"):
    """An execution was accepted. Always the first event, at index 1.

    ``definition`` is the whole workflow definition, so that an execution finishes on what
    started it; ``import_paths`` are the folders in which its entrypoints are looked up, unless
    ``code`` pins what was in them;
    ``labels`` are the caller's own, to find it by.
    """

    tenant: TenantId
    workflow: str
    version: str
    digest: str
    definition: Payload
    inputs: Payload
    plan: tuple[PlannedAgent, ...]
    model: str = ""
    import_paths: tuple[str, ...] = ()
    origin: Origin | None = None
    labels: dict[str, str] = {}
    code: CodeRef | None = None


class AttemptStarted(_Event, frozen=True, kw_only=True, tag="attempt.started"):
    """An agent was leased to a worker under a new epoch; all older epochs are fenced off."""

    agent: AgentName
    epoch: int
    worker: WorkerId
    cause: AttemptCause


class AttemptEnded(_Event, frozen=True, kw_only=True, tag="attempt.ended"):
    """An attempt is over without having completed its agent."""

    agent: AgentName
    epoch: int
    end: AttemptEnd
    detail: str = ""


class StepStarted(_Event, frozen=True, kw_only=True, tag="step.started"):
    agent: AgentName
    step: str
    name: str = ""


NOT_COPIED = -1
"""The index of a call that a fork has not copied."""


class CallIntended(_Event, frozen=True, kw_only=True, tag="call.intended"):
    """A call is about to be made. Committed before the first byte of it leaves.

    ``ordinal`` numbers the calls of one kind in their scope, from 0; ``effect_key`` is what
    an idempotent tool is handed, the same in every try.

    A ``human`` call carries its ``question``. ``inside`` is the index of the tool call that asks,
    which is run again once there is an answer, and ``NOT_COPIED`` where a fork lacks that call;
    ``approval`` is that of the approval which lets a tool call be made, and which no other call
    may use.
    """

    agent: AgentName
    step: str
    key: CallKey
    ordinal: int
    request: Payload
    idempotent: bool = False
    effect_key: str = ""
    question: Question | None = None
    inside: int = 0
    approval: int = 0


class CallCompleted(_Event, frozen=True, kw_only=True, tag="call.completed"):
    """The call whose intent is at index ``call`` was answered."""

    agent: AgentName
    call: int
    response: Payload
    served_by: str = ""
    usage: Usage = Usage()
    duration_ms: int = 0


class CallFailed(_Event, frozen=True, kw_only=True, tag="call.failed"):
    """The call whose intent is at index ``call`` is known to have failed."""

    agent: AgentName
    call: int
    failure: Failure


class CallSuspended(_Event, frozen=True, kw_only=True, tag="call.suspended"):
    """The tool call whose intent is at index ``call`` stopped to ask somebody. It did not get any
    further, and starts over, whether or not what it asks is on record yet."""

    agent: AgentName
    call: int


class CallDecided(_Event, frozen=True, kw_only=True, tag="call.decided"):
    """Somebody decided about a call whose outcome is unknown, or answered what it asks.

    ``answer`` gives it ``response``: to a question the answer, to an approval the arguments to
    run the tool with instead. ``approve`` and ``deny`` are for approvals; ``reason`` says why.
    """

    agent: AgentName
    call: int
    decision: Decision
    response: Payload | None = None
    by: str = ""
    reason: str = ""


class StepCompleted(_Event, frozen=True, kw_only=True, tag="step.completed"):
    """A step is done, and ``state`` is a checkpoint: all that is needed to go on after it.

    The journal index of this event is the checkpoint's name.
    """

    agent: AgentName
    step: str
    state: Payload
    name: str = ""


class AgentCompleted(_Event, frozen=True, kw_only=True, tag="agent.completed"):
    """An agent handed over its output, which satisfies its schema.

    ``fits`` names those to whom the agent hands on a condition that the output fulfils.
    """

    agent: AgentName
    output: Payload
    fits: tuple[AgentName, ...] = ()


class AgentSkipped(_Event, frozen=True, kw_only=True, tag="agent.skipped"):
    """An agent does not run, because nobody of those before it handed to it."""

    agent: AgentName


class RoundStarted(_Event, frozen=True, kw_only=True, tag="round.started"):
    """``agent`` handed back to ``to``: ``agents``, all of the loop, run again.

    ``round`` counts the rounds of this loop. The first needs no event, so it is 2 or more.
    """

    agent: AgentName
    to: AgentName
    agents: tuple[AgentName, ...]
    round: int


class HandoffOffered(_Event, frozen=True, kw_only=True, tag="handoff.offered"):
    """The output of ``agent``, which completed under ``epoch``, is offered to ``to``, whose input
    schema has the digest ``schema``.

    Only where the receiver checks what it is handed; other handoffs are made by
    ``agent.completed``. ``handoff`` is the name under which it is accepted, once.
    """

    agent: AgentName
    to: AgentName
    handoff: str
    epoch: int
    schema: str


class HandoffVoted(_Event, frozen=True, kw_only=True, tag="handoff.voted"):
    """``validator`` is for or against what ``agent`` was offered. It is asked once."""

    agent: AgentName
    handoff: str
    validator: str
    ballot: Ballot
    reason: str = ""


class HandoffAccepted(_Event, frozen=True, kw_only=True, tag="handoff.accepted"):
    """``agent`` takes what it was offered, and may begin to work on it."""

    agent: AgentName
    handoff: str


class HandoffRejected(_Event, frozen=True, kw_only=True, tag="handoff.rejected"):
    """``agent`` does not take what it was offered, and does not run."""

    agent: AgentName
    handoff: str
    reasons: tuple[Reason, ...]


class HandoffDecided(_Event, frozen=True, kw_only=True, tag="handoff.decided"):
    """What comes of a handoff that ``agent`` rejected.

    ``retry``: its giver and all that wait for it, ``agents``, begin anew. ``delegate``: the agent
    that stands in for the giver is to have another output, anew if it is among ``agents``.
    ``answer``: ``output``, a person's or that agent's, is offered instead; then ``agents`` are the
    judges who vote anew. ``approve``: it is taken as it is, or is offered anew where it was only
    late. ``fail``: the execution fails. ``by`` is empty where that followed from the definition.
    """

    agent: AgentName
    handoff: str
    decision: HandoffDecision
    agents: tuple[AgentName, ...] = ()
    output: Payload | None = None
    by: str = ""
    reason: str = ""


class FailureRecorded(_Event, frozen=True, kw_only=True, tag="failure.recorded"):
    failure: Failure


class Paused(_Event, frozen=True, kw_only=True, tag="execution.paused"):
    """The execution waits for a decision or an answer; ``call`` is the index of the call in
    question."""

    reason: PauseReason
    detail: str = ""
    call: int = 0


class Resumed(_Event, frozen=True, kw_only=True, tag="execution.resumed"):
    """A paused or failed execution goes on."""

    by: str = ""


class Signalled(_Event, frozen=True, kw_only=True, tag="execution.signalled"):
    """Somebody sent data to an execution that has not ended."""

    name: str
    payload: Payload
    by: str = ""


class Completed(_Event, frozen=True, kw_only=True, tag="execution.completed"):
    """All agents are done. The result is the output of ``sinks``, who handed to nobody."""

    sinks: tuple[AgentName, ...]


class Failed(_Event, frozen=True, kw_only=True, tag="execution.failed"):
    failure: Failure


class Cancelled(_Event, frozen=True, kw_only=True, tag="execution.cancelled"):
    by: str = ""


Event: TypeAlias = (
    Created
    | AttemptStarted
    | AttemptEnded
    | StepStarted
    | CallIntended
    | CallCompleted
    | CallFailed
    | CallSuspended
    | CallDecided
    | StepCompleted
    | AgentCompleted
    | AgentSkipped
    | RoundStarted
    | HandoffOffered
    | HandoffVoted
    | HandoffAccepted
    | HandoffRejected
    | HandoffDecided
    | FailureRecorded
    | Paused
    | Resumed
    | Signalled
    | Completed
    | Failed
    | Cancelled
)


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One event at its place in the journal of one execution.

    ``index`` counts from 1 without gaps and is the cursor of every stream; ``epoch`` is that
    of the attempt which wrote it, 0 for the coordinator, and ``sequence`` its writer's;
    ``at_ms`` is the leader's clock.
    """

    execution_id: ExecutionId
    index: int
    at_ms: int
    event: Event
    epoch: int = 0
    sequence: int = 0


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """A client's own name for a request: its idempotency key, unique within its tenant, and a
    digest of all that was asked for. The same two have the effect of one, for ever; the same
    key with another digest is refused."""

    key: str
    digest: str


class Append(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="append"):
    """A request to append ``events`` to one execution, all of them or none.

    The unit that consensus orders. ``writer`` is None for the coordinator itself; ``request``
    is what a client calls it by.
    """

    execution_id: ExecutionId
    events: tuple[Event, ...]
    at_ms: int = 0
    writer: Writer | None = None
    request: Request | None = None
    format: int = FORMAT


_encoder = msgspec.msgpack.Encoder()
_event_decoder: msgspec.msgpack.Decoder[Event] = msgspec.msgpack.Decoder(Event)
_kinds: dict[str, type[Event]] = {str(kind.__struct_config__.tag): kind for kind in get_args(Event)}


def type_of(event: Event) -> str:
    """The event's stable name, such as ``call.intended``."""
    return str(type(event).__struct_config__.tag)


def encode_event(event: Event) -> bytes:
    """MessagePack of one event, its ``type`` included."""
    return _encoder.encode(event)


def decode_event(data: bytes, where: str) -> Event:
    """The inverse of ``encode_event``. Raises ``CorruptRecord`` naming ``where``."""
    try:
        return _event_decoder.decode(data)
    except (msgspec.DecodeError, RecursionError) as error:
        raise CorruptRecord(where, str(error)) from error


def to_json(entry: Entry) -> dict[str, Any]:
    """An entry as the JSON object that streams, ``--json`` and the API show."""
    shown: dict[str, Any] = msgspec.to_builtins(entry.event)
    kind = shown.pop("type")
    return {
        "execution": entry.execution_id,
        "index": entry.index,
        "at_ms": entry.at_ms,
        "epoch": entry.epoch,
        "type": kind,
        **shown,
    }


def from_json(shown: dict[str, Any]) -> Entry:
    """The entry that ``to_json`` has shown so.

    What is not shown is not known: ``sequence`` is 0, and the epoch of an event that tells one
    of its own, as leases do, is the coordinator's. Raises ``CorruptRecord``.
    """
    rest = dict(shown)
    try:
        execution_id, index, at_ms = (rest.pop(name) for name in ("execution", "index", "at_ms"))
        kind = _kinds.get(rest["type"])
        own = kind is not None and "epoch" in kind.__struct_fields__
        return msgspec.convert(
            {
                "execution_id": execution_id,
                "index": index,
                "at_ms": at_ms,
                "epoch": 0 if own else rest.pop("epoch"),
                "event": rest,
            },
            Entry,
        )
    except (KeyError, TypeError, msgspec.ValidationError) as error:
        raise CorruptRecord("an entry in JSON", str(error)) from error
