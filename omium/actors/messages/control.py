"""What clients have done to executions: create, fork, cancel, pause, signal, resume.

Owns what is asked for. Each names its tenant: what belongs to another one is not there.
"""

from __future__ import annotations

from typing import Any

import msgspec

from omium.actors.messages.base import Message
from omium.execution.events import Created, Request
from omium.execution.records import CodeRef, Decision, Payload
from omium.types import DEFAULT_TENANT, ExecutionId, TenantId


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
    changes: dict[str, Any] = msgspec.field(default_factory=dict)
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
