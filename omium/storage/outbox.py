"""The outbox: which events are still to be told to which webhooks.

A table of a replica's database. An event and its rows here are committed together, so that
nothing is forgotten when a process dies between the event and its delivery. Everything here runs
inside the replica's transaction, in the order of the log. Nothing is sent.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from omium.errors import CorruptRecord
from omium.execution.commands import WriteDelivery, WriteRecord
from omium.execution.machine import Refusal
from omium.storage.catalog import Catalog, RecordWritten
from omium.storage.sqlite import checksum, translated
from omium.types import ExecutionId, TenantId

WEBHOOK_KIND = "webhook"
DELIVERY_KIND = "delivery"

Lane = tuple[TenantId, str]
"""A tenant and one of its webhooks."""


class OutboxRow(msgspec.Struct, frozen=True, kw_only=True):
    """An event that a webhook is to be told of. ``due_ms`` is when the next try is due."""

    tenant: TenantId
    webhook: str
    execution: ExecutionId
    index: int
    type: str
    at_ms: int
    due_ms: int

    @property
    def id(self) -> str:
        """The delivery's name."""
        return f"{self.execution}@{self.index}"


class _Wants(msgspec.Struct):
    """What of a webhook's record matters here: the types of events that it wants."""

    events: frozenset[str] = frozenset()


class Outbox:
    """See the module's docstring. Shares the connection of its replica.

    Which webhooks want what, and when the first row of each is due, is kept in memory as well:
    a tenant without webhooks costs one look into a dictionary.
    """

    def __init__(self, connection: sqlite3.Connection, path: Path, catalog: Catalog) -> None:
        self._connection = connection
        self._path = path
        self._catalog = catalog
        self._wanted: dict[TenantId, dict[str, frozenset[str]]] = {}
        self._due: dict[Lane, int] = {}
        self.load()

    def load(self) -> None:
        """Read again what is kept in memory: at the start, and after a batch was rolled back."""
        self._wanted.clear()
        self._due.clear()
        with translated(self._path):
            hooks = self._connection.execute(
                f"SELECT DISTINCT tenant FROM records WHERE kind = '{WEBHOOK_KIND}'"
            ).fetchall()
            lanes = self._connection.execute(
                "SELECT tenant, webhook, min(due_ms) FROM outbox GROUP BY tenant, webhook"
            ).fetchall()
        for (tenant,) in hooks:
            after = ""
            while page := self._catalog.records(tenant, WEBHOOK_KIND, after=after):
                for record in page:
                    self._want(tenant, record.key, record.body)
                after = page[-1].key
        for tenant, webhook, due_ms in lanes:
            self._due[TenantId(tenant), webhook] = due_ms

    # ------------------------------------------------------------------ writing

    def changed(self, command: WriteRecord) -> None:
        """Note that the record of a webhook was written or deleted. With it goes all that was
        to be told to it, and what is known of what was."""
        tenant, webhook = command.tenant, command.key
        if not command.delete:
            self._want(tenant, webhook, command.body)
            return
        wanted = self._wanted.get(tenant, {})
        wanted.pop(webhook, None)
        if not wanted:
            self._wanted.pop(tenant, None)
        self._due.pop((tenant, webhook), None)
        self._connection.execute(
            "DELETE FROM outbox WHERE tenant = ? AND webhook = ?", (tenant, webhook)
        )
        self._connection.execute(
            "DELETE FROM records WHERE tenant = ? AND kind = ? AND key >= ? AND key < ?",
            (tenant, DELIVERY_KIND, f"{webhook}/", f"{webhook}0"),
        )

    def is_wanted(self, tenant: TenantId) -> bool:
        """Whether the tenant has webhooks."""
        return tenant in self._wanted

    def add(
        self, tenant: TenantId, execution: ExecutionId, index: int, kind: str, at_ms: int
    ) -> None:
        """Put an event in for each webhook that wants its kind."""
        for webhook, kinds in self._wanted.get(tenant, {}).items():
            if kind in kinds:
                row = OutboxRow(
                    tenant=tenant,
                    webhook=webhook,
                    execution=execution,
                    index=index,
                    type=kind,
                    at_ms=at_ms,
                    due_ms=at_ms,
                )
                self._put(row)

    def write(self, command: WriteDelivery) -> RecordWritten | Refusal:
        """Write what became of a delivery, and when it is tried again, if ever."""
        tenant, webhook = command.tenant, command.webhook
        request = command.request
        refusal = self._catalog.carried_out(tenant, request) if request is not None else None
        if refusal is not None:
            return refusal
        place = (tenant, webhook, command.execution, command.index)
        if webhook not in self._wanted.get(tenant, {}):
            return Refusal(code="not_found", message=f"no webhook {webhook!r}")
        if not command.anew and not self._holds(place):
            return Refusal(code="conflict", message=f"nothing is due for {webhook!r}")
        if command.due_ms is None:
            self._connection.execute(
                "DELETE FROM outbox WHERE tenant = ? AND webhook = ? AND execution = ? AND idx = ?",
                place,
            )
        else:
            row = OutboxRow(
                tenant=tenant,
                webhook=webhook,
                execution=command.execution,
                index=command.index,
                type=command.event,
                at_ms=command.event_ms,
                due_ms=command.due_ms,
            )
            self._put(row)
        for key in command.drop:
            self._write_record(command, key, None, delete=True)
        key = f"{webhook}/{command.execution}@{command.index}"
        written = self._write_record(command, key, command.body)
        if request is not None:
            self._catalog.remember(tenant, request, command.execution, command.index)
        return written

    def _write_record(
        self, command: WriteDelivery, key: str, body: Any, *, delete: bool = False
    ) -> RecordWritten | Refusal:
        return self._catalog.write(
            WriteRecord(
                tenant=command.tenant,
                kind=DELIVERY_KIND,
                key=key,
                body=body,
                delete=delete,
                at_ms=command.at_ms,
            )
        )

    def _holds(self, place: tuple[TenantId, str, ExecutionId, int]) -> bool:
        found = self._connection.execute(
            "SELECT 1 FROM outbox WHERE tenant = ? AND webhook = ? AND execution = ? AND idx = ?",
            place,
        )
        return found.fetchone() is not None

    def _put(self, row: OutboxRow) -> None:
        values = msgspec.structs.astuple(row)
        self._connection.execute(
            "INSERT OR REPLACE INTO outbox VALUES (?,?,?,?,?,?,?,?)", (*values, _crc(row))
        )
        lane = (row.tenant, row.webhook)
        self._due[lane] = min(row.due_ms, self._due.get(lane, row.due_ms))

    def _want(self, tenant: TenantId, webhook: str, body: Any) -> None:
        # Written by clients: what is no list of names wants nothing.
        try:
            wants = msgspec.convert(body, _Wants)
        except msgspec.ValidationError:
            wants = _Wants()
        self._wanted.setdefault(tenant, {})[webhook] = wants.events

    # ------------------------------------------------------------------ looking

    def lanes(self, now_ms: int) -> list[Lane]:
        """The webhooks for which something may be due, the longest due first."""
        due = [(due_ms, lane) for lane, due_ms in self._due.items() if due_ms <= now_ms]
        return [lane for _, lane in sorted(due)]

    @property
    def is_empty(self) -> bool:
        """Whether nothing is to be told to anybody."""
        return not self._due

    def due(self, lane: Lane, now_ms: int, limit: int) -> list[OutboxRow]:
        """What is due for a webhook, the longest due first. Notes when the next is, if none is."""
        with translated(self._path):
            found = self._connection.execute(
                "SELECT tenant, webhook, execution, idx, type, at_ms, due_ms, crc FROM outbox "
                "WHERE tenant = ? AND webhook = ? ORDER BY due_ms, execution, idx LIMIT ?",
                (*lane, limit),
            ).fetchall()
        rows: list[OutboxRow] = []
        for *values, crc in found:
            tenant, webhook, execution, index, kind, at_ms, due_ms = values
            row = OutboxRow(
                tenant=TenantId(tenant),
                webhook=webhook,
                execution=ExecutionId(execution),
                index=index,
                type=kind,
                at_ms=at_ms,
                due_ms=due_ms,
            )
            if _crc(row) != crc:
                raise CorruptRecord(f"outbox {row.id}", "its checksum does not match")
            rows.append(row)
        if rows:
            self._due[lane] = rows[0].due_ms
        else:
            self._due.pop(lane, None)
        return [row for row in rows if row.due_ms <= now_ms]


def damaged_in_outbox(connection: sqlite3.Connection) -> Iterator[CorruptRecord]:
    """Every row that is not what was written."""
    for *values, crc in connection.execute(
        "SELECT tenant, webhook, execution, idx, type, at_ms, due_ms, crc FROM outbox"
    ):
        row = OutboxRow(**dict(zip(OutboxRow.__struct_fields__, values, strict=True)))
        if _crc(row) != crc:
            yield CorruptRecord(f"outbox {row.id}", "its checksum does not match")


def _crc(row: OutboxRow) -> int:
    body = msgspec.msgpack.encode(msgspec.structs.astuple(row))
    return checksum(body, "outbox", row.tenant, row.webhook, row.execution, row.index)
