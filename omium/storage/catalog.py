"""The catalog: what tenants own beside executions, and which of their requests were carried out.

Two tables of a replica's database. Everything here runs inside the replica's transaction, in
the order of the log, and every row is checked against its checksum when it is read.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from omium.errors import CorruptRecord
from omium.execution.commands import ClaimRequest, WriteRecord
from omium.execution.events import Request
from omium.execution.machine import Refusal
from omium.storage.sqlite import checksum, translated
from omium.types import ExecutionId, TenantId

PAGE_RECORDS_MAX = 1_000


class StoredRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A record as it is: ``version`` counts from 1, ``at_ms`` is when that was written."""

    key: str
    version: int
    at_ms: int
    body: Any


class RecordWritten(msgspec.Struct, frozen=True, kw_only=True, tag="record_written"):
    """A record was written; ``version`` is its new one, 0 when it was deleted."""

    version: int


class RequestClaimed(msgspec.Struct, frozen=True, kw_only=True, tag="request_claimed"):
    """A request is known to concern ``execution_id``, of another shard."""

    execution_id: ExecutionId


class Catalog:
    """See the module's docstring. Shares the connection of its replica."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._connection = connection
        self._path = path

    # ------------------------------------------------------------------ requests

    def carried_out(self, tenant: TenantId, request: Request) -> Refusal | None:
        """What to say of a request that was carried out before; None for a new one."""
        row = self._connection.execute(
            "SELECT digest, execution, idx, crc FROM requests WHERE tenant = ? AND key = ?",
            (tenant, request.key),
        ).fetchone()
        if row is None:
            return None
        digest, execution, index, crc = row
        if _request_crc(tenant, request.key, digest, execution, index) != crc:
            raise CorruptRecord(f"request {request.key!r}", "its checksum does not match")
        if digest != request.digest:
            return Refusal(
                code="request_conflict",
                message=f"the idempotency key {request.key!r} was used for another request, "
                f"which concerns {execution}",
            )
        return Refusal(
            code="repeated", message="carried out before", execution_id=execution, index=index
        )

    def remember(
        self, tenant: TenantId, request: Request, execution: ExecutionId, index: int
    ) -> None:
        crc = _request_crc(tenant, request.key, request.digest, execution, index)
        self._connection.execute(
            "INSERT INTO requests VALUES (?,?,?,?,?,?)",
            (tenant, request.key, request.digest, execution, index, crc),
        )

    def claim(self, command: ClaimRequest) -> RequestClaimed | Refusal:
        """Remember what a request concerns that another shard carries out, unless that is known.

        It has index 0, which nothing else has that was carried out here.
        """
        tenant, request = command.tenant, command.request
        refusal = self.carried_out(tenant, request)
        if refusal is None:
            self.remember(tenant, request, command.execution, 0)
        return refusal or RequestClaimed(execution_id=command.execution)

    # ------------------------------------------------------------------ records

    def write(self, command: WriteRecord) -> RecordWritten | Refusal:
        """Carry out a command, unless another version is there than it expects."""
        place = (command.tenant, command.kind, command.key)
        row = self._connection.execute(
            "SELECT version FROM records WHERE tenant = ? AND kind = ? AND key = ?", place
        ).fetchone()
        version = row[0] if row is not None else 0
        if command.expect is not None and command.expect != version:
            found = f"version {version} is there" if version else "it is not there"
            wanted = f"version {command.expect}" if command.expect else "none"
            return Refusal(
                code="conflict",
                message=f"{command.kind} {command.key!r}: {found}, expected {wanted}",
            )
        if command.delete:
            self._connection.execute(
                "DELETE FROM records WHERE tenant = ? AND kind = ? AND key = ?", place
            )
            return RecordWritten(version=0)
        version += 1
        body = msgspec.json.encode(command.body)
        crc = checksum(body, *place, version, command.at_ms)
        self._connection.execute(
            "INSERT OR REPLACE INTO records VALUES (?,?,?,?,?,?,?)",
            (*place, version, command.at_ms, body, crc),
        )
        return RecordWritten(version=version)

    def record(self, tenant: TenantId, kind: str, key: str) -> StoredRecord | None:
        """One record; None where there is none."""
        found = self._select("key = ?", (tenant, kind, key), 1)
        return found[0] if found else None

    def records(
        self, tenant: TenantId, kind: str, *, prefix: str = "", after: str = "", limit: int = 100
    ) -> list[StoredRecord]:
        """Records of a kind whose keys begin with ``prefix`` and come after ``after``, by key."""
        values = (tenant, kind, prefix, prefix + "\U0010ffff", after)
        limit = min(max(limit, 0), PAGE_RECORDS_MAX)
        return self._select("key >= ? AND key < ? AND key > ?", values, limit)

    def _select(self, where: str, values: tuple[str, ...], limit: int) -> list[StoredRecord]:
        tenant, kind, *_ = values
        with translated(self._path):
            rows = self._connection.execute(
                "SELECT key, version, at_ms, body, crc FROM records "
                f"WHERE tenant = ? AND kind = ? AND {where} ORDER BY key LIMIT ?",
                (*values, limit),
            ).fetchall()
        found: list[StoredRecord] = []
        for key, version, at_ms, body, crc in rows:
            if checksum(body, tenant, kind, key, version, at_ms) != crc:
                raise CorruptRecord(f"{kind} {key!r}", "its checksum does not match")
            value = msgspec.json.decode(body)
            found.append(StoredRecord(key=key, version=version, at_ms=at_ms, body=value))
        return found


def damaged_in_catalog(connection: sqlite3.Connection) -> Iterator[CorruptRecord]:
    """Every request and every record that is not what was written."""
    for row in connection.execute("SELECT tenant, key, digest, execution, idx, crc FROM requests"):
        *values, crc = row
        if _request_crc(*values) != crc:
            yield CorruptRecord(f"request {row[1]!r}", "its checksum does not match")
    for row in connection.execute(
        "SELECT tenant, kind, key, version, at_ms, body, crc FROM records"
    ):
        tenant, kind, key, version, at_ms, body, crc = row
        if checksum(body, tenant, kind, key, version, at_ms) != crc:
            yield CorruptRecord(f"{kind} {key!r}", "its checksum does not match")


def _request_crc(tenant: str, key: str, digest: str, execution: str, index: int) -> int:
    return checksum(b"", "request", tenant, key, digest, execution, index)
