"""What is stored of webhooks and of their deliveries, and what a message says. Pure."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias, TypeVar

import msgspec

from omium.errors import CorruptRecord
from omium.execution.events import (
    Cancelled,
    Completed,
    Entry,
    Event,
    Failed,
    Paused,
    type_of,
)
from omium.storage.journal import ExecutionRow

EventName: TypeAlias = Literal[
    "execution.completed", "execution.failed", "execution.cancelled", "execution.paused"
]
EVENTS: tuple[EventName, ...] = (
    "execution.completed",
    "execution.failed",
    "execution.cancelled",
    "execution.paused",
)
TEST_EVENT = "webhook.test"
MESSAGE_CHARS_MAX = 2_000

_T = TypeVar("_T")
DeliveryState: TypeAlias = Literal["pending", "delivered", "given_up"]


class Secret(msgspec.Struct, frozen=True, kw_only=True):
    """A secret of a webhook; ``until_ms`` is when one that was replaced signs no more."""

    value: str
    until_ms: int | None = None

    def __repr__(self) -> str:
        return "Secret(…)"


class Webhook(msgspec.Struct, frozen=True, kw_only=True):
    """A receiver of a tenant's events. The first of ``secrets`` is the present one."""

    id: str
    url: str
    events: tuple[EventName, ...]
    description: str
    secrets: tuple[Secret, ...]
    created_ms: int

    def secrets_at(self, now_ms: int) -> list[str]:
        """The secrets that sign at that time."""
        return [s.value for s in self.secrets if s.until_ms is None or now_ms < s.until_ms]


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """One message to one webhook, and how far it has come.

    ``id`` is the message's, ``execution@index``, the same in every try. ``at_ms`` is when the
    event happened; ``next_ms`` when the next try is due, None once it is settled. ``status`` and
    ``error`` are of the latest try: the HTTP status it was answered with, and what was wrong.
    """

    id: str
    webhook: str
    type: str
    execution: str
    index: int
    at_ms: int
    state: DeliveryState = "pending"
    attempts: int = 0
    tried_ms: int | None = None
    took_ms: int | None = None
    status: int | None = None
    error: str = ""
    next_ms: int | None = None


def delivery_id(execution: str, index: int) -> str:
    """The name of a message: that of the journal entry it tells of."""
    return f"{execution}@{index}"


def delivery_key(webhook: str, delivery: str) -> str:
    """The key of a delivery's record."""
    return f"{webhook}/{delivery}"


def webhook_of(body: Any) -> Webhook:
    """A webhook from its record."""
    return _converted(body, Webhook)


def delivery_of(body: Any) -> Delivery:
    """A delivery from its record."""
    return _converted(body, Delivery)


def _converted(body: Any, kind: type[_T]) -> _T:
    try:
        return msgspec.convert(body, kind)
    except msgspec.ValidationError as error:
        raise CorruptRecord(f"a {kind.__name__.lower()}", str(error)) from error


def message(row: ExecutionRow, entry: Entry) -> dict[str, Any]:
    """What is told of an entry, the same however late it is told."""
    kind = type_of(entry.event)
    return {
        "type": kind,
        "execution": entry.execution_id,
        "workflow": row.workflow,
        "version": row.version,
        "status": kind.rpartition(".")[2],
        "index": entry.index,
        "at_ms": entry.at_ms,
        "labels": row.labels,
        **_outcome(entry.execution_id, entry.event),
    }


def _outcome(execution: str, event: Event) -> dict[str, Any]:
    match event:
        case Completed():
            return {"result": f"/v1/executions/{execution}/result"}
        case Failed(failure=failure):
            told = {
                "kind": failure.kind,
                "message": failure.message[:MESSAGE_CHARS_MAX],
                "error_type": failure.error_type,
                "agent": failure.agent,
                "retryable": failure.retryable,
            }
            return {"failure": told}
        case Paused():
            detail = event.detail[:MESSAGE_CHARS_MAX]
            return {"pause": {"reason": event.reason, "detail": detail, "call": event.call}}
        case Cancelled():
            return {"cancelled_by": event.by}
        case _:
            return {}


def test_message(webhook: str, at_ms: int) -> dict[str, Any]:
    """What is sent when somebody asks for a trial."""
    return {"type": TEST_EVENT, "webhook": webhook, "at_ms": at_ms}
