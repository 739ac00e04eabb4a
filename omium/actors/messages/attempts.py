"""Between a worker and its coordinator: who is there, what is leased, how an attempt goes and ends.

Owns no call: what is asked before and after one is in ``calls``, since the gateway asks it too.
"""

from __future__ import annotations

from typing import Literal

from omium.actors.messages.base import Message
from omium.actors.messages.handoffs import Offer
from omium.execution.events import Event
from omium.execution.records import CodeRef, Failure, Payload, Rejection, Writer
from omium.types import AgentName, ExecutionId, TenantId, WorkerId


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


class AttemptOver(Message, frozen=True, kw_only=True, tag="attempt_over"):
    """A worker stopped working on an attempt. ``call`` goes with ``outcome_unknown``. One that
    completed, or rejected what was handed to it, has said so in the journal.

    Answer: ``Done``.
    """

    execution_id: ExecutionId
    agent: AgentName
    epoch: int
    end: Literal["completed", "failed", "outcome_unknown", "asked", "rejected", "stopped"]
    failure: Failure | None = None
    call: int = 0


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
    offers: tuple[Offer, ...] = ()
    rejections: tuple[Rejection, ...] = ()


class Stop(Message, frozen=True, kw_only=True, tag="stop"):
    """Stop an attempt: it was cancelled or superseded."""

    execution_id: ExecutionId
    agent: AgentName
    epoch: int
    cancelled: bool


class Shutdown(Message, frozen=True, kw_only=True, tag="shutdown"):
    """The worker's process is to end."""
