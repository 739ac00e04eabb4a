"""What the parts of a runtime say to one another. Records only.

Every request may be sent twice, by a link that lost its connection before the answer came,
and must then have the effect of being sent once.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal, TypeAlias

import msgspec

from omium.execution.calls import CallDecision
from omium.execution.events import CallCompleted, CallFailed, Created, Entry, Event, Request
from omium.execution.machine import Refusal
from omium.execution.records import CallKey, CodeRef, Decision, Failure, Payload, Question, Writer
from omium.execution.state import AgentStatus
from omium.storage.catalog import StoredRecord
from omium.storage.journal import ExecutionRow
from omium.types import DEFAULT_TENANT, AgentName, ExecutionId, Status, TenantId, WorkerId


class Message(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="m"):
    """Base of all messages."""


# ------------------------------------------------------------------ from a worker


class WorkerHello(Message, frozen=True, kw_only=True, tag="worker_hello"):
    """First message of a worker. ``attempts`` are those it still runs, after a reconnect."""

    worker: WorkerId
    framework: str
    capacity: int
    pid: int
    attempts: tuple[tuple[ExecutionId, AgentName, int], ...] = ()
    binding: tuple[TenantId, str, AgentName] | None = None


class Heartbeat(Message, frozen=True, kw_only=True, tag="heartbeat"):
    """Sent every second by a worker whose event loop turns."""


class AppendEvents(Message, frozen=True, kw_only=True, tag="append"):
    """An attempt appends to its journal. Answer: ``Appended`` or ``Refused``."""

    execution_id: ExecutionId
    writer: Writer
    events: tuple[Event, ...]


class BeginCall(Message, frozen=True, kw_only=True, tag="begin_call"):
    """May this call be made? Its intent is committed before the answer. Answer: ``CallBegun``
    or ``Refused``.

    ``again`` is said by one that was sent before and never answered: an intent that came of it
    is its own."""

    execution_id: ExecutionId
    agent: AgentName
    epoch: int
    step: str
    key: CallKey
    ordinal: int
    request: Payload
    idempotent: bool = False
    question: Question | None = None
    inside: int = 0
    approval: int = 0
    again: bool = False


class EndCall(Message, frozen=True, kw_only=True, tag="end_call"):
    """The gateway knows how a call ended. Answer: ``Appended`` or ``Refused``."""

    execution_id: ExecutionId
    event: CallCompleted | CallFailed


class AttemptOver(Message, frozen=True, kw_only=True, tag="attempt_over"):
    """A worker stopped working on an attempt. ``call`` goes with ``outcome_unknown``.

    Answer: ``Done``.
    """

    execution_id: ExecutionId
    agent: AgentName
    epoch: int
    end: Literal["completed", "failed", "outcome_unknown", "asked", "stopped"]
    failure: Failure | None = None
    call: int = 0


# ------------------------------------------------------------------ from the gateway


class GatewayHello(Message, frozen=True, kw_only=True, tag="gateway_hello"):
    url: str
    pid: int


class Delta(msgspec.Struct, frozen=True, kw_only=True):
    """A piece of an answer on its way: ``text`` of the call whose intent is at index ``call``."""

    agent: AgentName
    call: int
    text: str


class Deltas(Message, frozen=True, kw_only=True, tag="deltas"):
    """Pieces of answers that an execution is getting now. May be lost; wants no answer."""

    execution_id: ExecutionId
    deltas: tuple[Delta, ...]


# ------------------------------------------------------------------ from clients
#
# Each names its tenant. What belongs to another one is not there.


class Submit(Message, frozen=True, kw_only=True, tag="submit"):
    """Create an execution. The client chooses the id, so that sending twice creates once.

    Answer: ``Appended``. Its id is another one where ``request`` was carried out before.
    """

    execution_id: ExecutionId
    created: Created
    request: Request | None = None


class Fork(Message, frozen=True, kw_only=True, tag="fork"):
    """Create ``execution_id`` from ``origin`` as it was at journal index ``at``, with
    ``changes`` (dotted path → JSON value), on other ``code`` where that is given.
    Answer: ``Appended``."""

    execution_id: ExecutionId
    origin: ExecutionId
    at: int
    changes: dict[str, Any] = {}
    code: CodeRef | None = None
    tenant: TenantId = DEFAULT_TENANT
    request: Request | None = None


class Cancel(Message, frozen=True, kw_only=True, tag="cancel"):
    execution_id: ExecutionId
    by: str = ""
    tenant: TenantId = DEFAULT_TENANT
    request: Request | None = None


class Interrupt(Message, frozen=True, kw_only=True, tag="interrupt"):
    """Pause an execution until it is resumed. Answer: ``Appended``."""

    execution_id: ExecutionId
    by: str = ""
    detail: str = ""
    tenant: TenantId = DEFAULT_TENANT
    request: Request | None = None


class Signal(Message, frozen=True, kw_only=True, tag="signal"):
    """Send data to an execution that has not ended. Answer: ``Appended``."""

    execution_id: ExecutionId
    name: str
    payload: Payload
    by: str = ""
    tenant: TenantId = DEFAULT_TENANT
    request: Request | None = None


class Resume(Message, frozen=True, kw_only=True, tag="resume"):
    """Let a paused or failed execution go on, with a decision about the call it waits for, or
    the one at index ``call``. Where it waits for more, that is recorded and it stays paused."""

    execution_id: ExecutionId
    decision: Decision | None = None
    answer: Payload | None = None
    call: int = 0
    reason: str = ""
    by: str = ""
    tenant: TenantId = DEFAULT_TENANT
    request: Request | None = None


class FindRequest(Message, frozen=True, kw_only=True, tag="find_request"):
    """Was this request carried out before? Answer: ``Appended`` with the execution that it
    concerned, ``Done`` for a new one, or the error of another request of that name."""

    tenant: TenantId
    request: Request


class GetExecution(Message, frozen=True, kw_only=True, tag="get_execution"):
    """Answer: ``ExecutionView``."""

    execution_id: ExecutionId
    tenant: TenantId = DEFAULT_TENANT


class ListExecutions(Message, frozen=True, kw_only=True, tag="list_executions"):
    """Executions, the newest first; ``before`` is the last id of the page before.

    Answer: ``ExecutionRows``.
    """

    tenant: TenantId = DEFAULT_TENANT
    statuses: tuple[Status, ...] = ()
    workflow: str | None = None
    id_prefix: str | None = None
    labels: dict[str, str] = {}
    created_from_ms: int | None = None
    created_to_ms: int | None = None
    before: str | None = None
    limit: int = 50


class CountExecutions(Message, frozen=True, kw_only=True, tag="count_executions"):
    """How many executions have which status? Answer: ``ExecutionCounts``."""

    tenant: TenantId


class ReadJournal(Message, frozen=True, kw_only=True, tag="read_journal"):
    """Read the journal after index ``after``, and ``wait`` until there is something to read.

    With ``through_pauses`` a paused execution is waited for like one at work. ``live_after``
    asks for deltas too: 0 at first, then what the last answer said. Answer: ``Entries``.
    """

    execution_id: ExecutionId
    after: int
    tenant: TenantId = DEFAULT_TENANT
    limit: int = 100
    wait: bool = True
    through_pauses: bool = False
    live_after: int | None = None


class PutRecord(Message, frozen=True, kw_only=True, tag="put_record"):
    """Write a record, or ``delete`` it. ``expect`` is the version that must be there, 0 for
    none at all. Answer: ``RecordPut``, or ``Appended`` for a request carried out before."""

    tenant: TenantId
    kind: str
    key: str
    body: Any = None
    expect: int | None = None
    delete: bool = False
    request: Request | None = None


class GetRecords(Message, frozen=True, kw_only=True, tag="get_records"):
    """The record ``key``, or those whose keys begin with ``prefix`` and come after ``after``.

    Answer: ``Records``.
    """

    tenant: TenantId
    kind: str
    key: str | None = None
    prefix: str = ""
    after: str = ""
    limit: int = 100


class Redeliver(Message, frozen=True, kw_only=True, tag="redeliver"):
    """Deliver a message to a webhook once more, now. Answer: ``RecordPut``, or ``Appended`` for
    a request that was carried out before."""

    tenant: TenantId
    webhook: str
    delivery: str
    request: Request | None = None


class TestWebhook(Message, frozen=True, kw_only=True, tag="test_webhook"):
    """Deliver a trial message of that ``name`` to a webhook. Answer: as for ``Redeliver``."""

    __test__: ClassVar[bool] = False

    tenant: TenantId
    webhook: str
    name: str
    request: Request | None = None


class GetRuntime(Message, frozen=True, kw_only=True, tag="get_runtime"):
    """Answer: ``RuntimeView``."""


class Drain(Message, frozen=True, kw_only=True, tag="drain"):
    """Begin no step any more; let those under way finish for ``grace_s`` seconds.

    Answer: ``Drained``.
    """

    grace_s: float


class StopRuntime(Message, frozen=True, kw_only=True, tag="stop_runtime"):
    """Stop leasing and shut the workers down. Answer: ``Done``."""


# ------------------------------------------------------------------ from the coordinator


class Lease(Message, frozen=True, kw_only=True, tag="lease"):
    """Run one agent of an execution under ``epoch``. Answer: ``Done``, or an error when the
    worker cannot take it."""

    execution_id: ExecutionId
    tenant: TenantId
    digest: str
    agent: AgentName
    epoch: int
    definition: Payload
    model: str
    inputs: Payload
    outputs: dict[AgentName, Payload]
    saved: Payload | None
    steps: tuple[str, ...]
    import_paths: tuple[str, ...]
    gateway_url: str
    round: int = 1
    code: CodeRef | None = None


class Stop(Message, frozen=True, kw_only=True, tag="stop"):
    """Stop an attempt: it was cancelled or superseded."""

    execution_id: ExecutionId
    agent: AgentName
    epoch: int
    cancelled: bool


class Shutdown(Message, frozen=True, kw_only=True, tag="shutdown"):
    """The worker's process is to end."""


# ------------------------------------------------------------------ answers


class Done(Message, frozen=True, kw_only=True, tag="done"):
    """It is so."""


class Drained(Message, frozen=True, kw_only=True, tag="drained"):
    """``attempts`` are still in the middle of a step; 0 when all came to the end of one."""

    attempts: int


class Entries(Message, frozen=True, kw_only=True, tag="entries"):
    """A page of a journal. ``stopped`` says that nothing follows while nobody resumes it.

    ``deltas`` came before the entries; ``dropped`` of them are gone. ``live`` is what the next
    read is to ask with.
    """

    entries: tuple[Entry, ...]
    stopped: bool
    deltas: tuple[Delta, ...] = ()
    dropped: int = 0
    live: int = 0


class Appended(Message, frozen=True, kw_only=True, tag="appended"):
    """``index`` is that of the last event written, 0 when all was written before.

    ``execution_id`` is set when a request of that name was carried out before, for it.
    """

    index: int
    execution_id: ExecutionId | None = None


class RecordPut(Message, frozen=True, kw_only=True, tag="record_put"):
    """``version`` is the record's new one, 0 when it was deleted."""

    version: int


class Records(Message, frozen=True, kw_only=True, tag="records"):
    records: tuple[StoredRecord, ...]


class ExecutionRows(Message, frozen=True, kw_only=True, tag="execution_rows"):
    rows: tuple[ExecutionRow, ...]


class ExecutionCounts(Message, frozen=True, kw_only=True, tag="execution_counts"):
    """A status of which there is none is left out."""

    counts: dict[Status, int]


class Refused(Message, frozen=True, kw_only=True, tag="refused"):
    refusal: Refusal


class CallBegun(Message, frozen=True, kw_only=True, tag="call_begun"):
    """``index`` is that of the intent when the decision is to run the call."""

    decision: CallDecision
    index: int = 0


class AgentView(msgspec.Struct, frozen=True, kw_only=True):
    """How far an agent is. ``output`` is set once it has completed. In a loop, all but ``epoch``
    is of its present ``round``."""

    name: AgentName
    status: AgentStatus
    epoch: int
    worker: WorkerId | None
    steps: int
    checkpoint: int
    output: Payload | None
    round: int = 1


class QuestionView(msgspec.Struct, frozen=True, kw_only=True):
    """What an agent asks and nobody has answered yet, by the journal index of its ``call``.

    ``arguments`` are those that ``tool`` is to be run with, of an approval.
    """

    call: int
    agent: AgentName
    kind: str
    text: str
    schema: dict[str, Any] | None
    tool: str
    name: str
    arguments: Payload | None
    asked_ms: int


class ExecutionView(Message, frozen=True, kw_only=True, tag="execution"):
    """An execution as it stands. ``result`` names the agents whose outputs are the result."""

    row: ExecutionRow
    agents: tuple[AgentView, ...]
    result: tuple[AgentName, ...]
    failure: Failure | None
    pause_reason: str
    pause_call: int
    status: Status
    questions: tuple[QuestionView, ...] = ()


class WorkerView(msgspec.Struct, frozen=True, kw_only=True):
    worker: WorkerId
    framework: str
    pid: int
    capacity: int
    attempts: int
    binding: tuple[TenantId, str, AgentName] | None


class ArchiveView(msgspec.Struct, frozen=True, kw_only=True):
    """How far an archive has come: ``shipped`` of ``committed`` entries of the log.

    A total loss now would cost the rest, which is ``behind_ms`` old. ``trouble`` is why shipping
    does not go on, if it does not.
    """

    url: str
    shipped: int
    committed: int
    behind_ms: int
    trouble: str = ""


class RuntimeView(Message, frozen=True, kw_only=True, tag="runtime"):
    """What the coordinator supervises: its workers and its gateway's address, if any.

    ``followers`` are the other voters of its group that keep up with it; ``archive`` is None
    where nothing is shipped.
    """

    workers: tuple[WorkerView, ...]
    gateway_url: str
    gateway_pid: int
    pid: int
    followers: int = 0
    archive: ArchiveView | None = None


Messages: TypeAlias = (
    WorkerHello
    | Heartbeat
    | AppendEvents
    | BeginCall
    | EndCall
    | AttemptOver
    | GatewayHello
    | Deltas
    | Submit
    | Fork
    | Cancel
    | Interrupt
    | Signal
    | Resume
    | FindRequest
    | GetExecution
    | ListExecutions
    | CountExecutions
    | ReadJournal
    | PutRecord
    | GetRecords
    | Redeliver
    | TestWebhook
    | GetRuntime
    | Drain
    | StopRuntime
    | Lease
    | Stop
    | Shutdown
    | Entries
    | Done
    | Drained
    | Appended
    | RecordPut
    | Records
    | ExecutionRows
    | ExecutionCounts
    | Refused
    | CallBegun
    | ExecutionView
    | RuntimeView
)
