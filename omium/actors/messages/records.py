"""Records of tenants, and messages to their webhooks that are wanted once more, or on trial.

Owns no kind of record: what is in one is the affair of who writes it. Each names its tenant: what
belongs to another one is not there.
"""

from __future__ import annotations

from typing import Any, ClassVar

from omium.actors.messages.base import Message
from omium.execution.events import Request
from omium.storage.catalog import StoredRecord
from omium.types import TenantId


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


class RecordPut(Message, frozen=True, kw_only=True, tag="record_put"):
    """``version`` is the record's new one, 0 when it was deleted."""

    version: int


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


class Records(Message, frozen=True, kw_only=True, tag="records"):
    records: tuple[StoredRecord, ...]


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
