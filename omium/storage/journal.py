"""Reading what a replica holds: journals, the states they add up to, and the list of executions.

Every record is checked against its checksum and its place before it is handed out; a wrong
one is named in a ``CorruptRecord`` and never served. Nothing here writes.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from omium.errors import CorruptRecord, NotFound
from omium.execution.events import Entry, decode_event
from omium.execution.fold import create, evolve
from omium.execution.state import ExecutionState
from omium.storage.sqlite import checksum, open_reader, translated
from omium.types import DEFAULT_TENANT, ExecutionId, Status, TenantId

PAGE_ROWS_MAX = 1_000


class ExecutionRow(msgspec.Struct, frozen=True, kw_only=True):
    """An execution in a list. ``detail`` is its failure or the reason of its pause."""

    id: ExecutionId
    tenant: TenantId
    workflow: str
    version: str
    status: Status
    created_ms: int
    updated_ms: int
    last_index: int
    origin: str | None
    detail: str
    agents_done: int
    agents_total: int
    llm_calls: int
    tool_calls: int
    checkpoints: int
    prompt_tokens: int
    completion_tokens: int
    cost_micros: int | None
    labels: dict[str, str]


COLUMNS = ExecutionRow.__struct_fields__


def column_values(row: ExecutionRow) -> tuple[object, ...]:
    """What is stored of a row, in the order of ``COLUMNS``."""
    labels = msgspec.json.encode(row.labels).decode()
    return tuple(labels if name == "labels" else getattr(row, name) for name in COLUMNS)


def row_checksum(row: ExecutionRow) -> int:
    """What is stored beside a row to tell whether it is still what was written."""
    body = msgspec.msgpack.encode(msgspec.structs.astuple(row))
    return checksum(body, "executions", row.id)


class Journal:
    """The readable side of a replica, over one SQLite connection."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._connection = connection
        self._path = path

    @classmethod
    def open(cls, path: Path) -> Journal:
        """Open the replica file ``path`` for reading, while its owner may be writing."""
        if not path.exists():
            raise NotFound("journal", str(path), "nothing has run in this data directory yet")
        return cls(open_reader(path), path)

    def close(self) -> None:
        self._connection.close()

    def entries(
        self, execution_id: str, *, after: int = 0, limit: int = PAGE_ROWS_MAX
    ) -> list[Entry]:
        """At most ``limit`` entries with an index above ``after``, in order, without gaps."""
        limit = _bounded(limit)
        with translated(self._path), self._snapshot():
            rows = self._connection.execute(
                "SELECT idx, at_ms, epoch, sequence, body, crc FROM journal "
                "WHERE execution = ? AND idx > ? ORDER BY idx LIMIT ?",
                (execution_id, after, limit),
            ).fetchall()
            known = self._connection.execute(
                "SELECT last_index FROM executions WHERE id = ?", (execution_id,)
            ).fetchone()
        end, last = after + len(rows), known[0] if known is not None else 0
        entries: list[Entry] = []
        for expected, row in enumerate(rows, start=after + 1):
            index, at_ms, epoch, sequence, body, crc = row
            where = f"{execution_id}@{expected}"
            if index != expected:
                raise CorruptRecord(where, f"missing; the next one is {index}")
            if checksum(body, execution_id, index, at_ms, epoch, sequence) != crc:
                raise CorruptRecord(where, "its checksum does not match")
            entries.append(
                Entry(
                    execution_id=ExecutionId(execution_id),
                    index=index,
                    at_ms=at_ms,
                    epoch=epoch,
                    sequence=sequence,
                    event=decode_event(body, where),
                )
            )
        if len(rows) < limit and end < last:
            raise CorruptRecord(f"{execution_id}@{end + 1}", f"missing; the last one is {last}")
        if rows and end > last:
            raise CorruptRecord(f"{execution_id}@{end}", f"the list says that {last} is the last")
        return entries

    @contextmanager
    def _snapshot(self) -> Iterator[None]:
        """Let several reads see one state, though another process may write between them."""
        if self._connection.in_transaction:
            yield
            return
        self._connection.execute("BEGIN")
        try:
            yield
        finally:
            self._connection.execute("ROLLBACK")

    def all_entries(self, execution_id: str) -> Iterator[Entry]:
        """The whole journal of one execution, read page by page."""
        after = 0
        while page := self.entries(execution_id, after=after):
            yield from page
            after = page[-1].index

    def fold(self, execution_id: str) -> ExecutionState | None:
        """The state of an execution, from its journal; None where there is none."""
        state: ExecutionState | None = None
        for entry in self.all_entries(execution_id):
            if state is None:
                state = create(entry)
            else:
                evolve(state, entry)
        return state

    def executions(
        self,
        *,
        tenant: TenantId | None = DEFAULT_TENANT,
        statuses: Sequence[Status] = (),
        workflow: str | None = None,
        execution_id: str | None = None,
        id_prefix: str | None = None,
        labels: Mapping[str, str] | None = None,
        created_from_ms: int | None = None,
        created_to_ms: int | None = None,
        before: str | None = None,
        limit: int = 50,
    ) -> list[ExecutionRow]:
        """Executions, the newest first. ``before`` is the last id of the previous page.

        Ids begin with ``id_prefix``. All of ``labels`` must fit; ``created_from_ms`` is included,
        ``created_to_ms`` is not.
        """
        clauses, values = ["1"], list[object]()
        for clause, value in (
            ("tenant = ?", tenant),
            ("workflow = ?", workflow),
            ("id = ?", execution_id),
            ("id >= ?", id_prefix),
            ("id < ?", _after_all_of(id_prefix) if id_prefix is not None else None),
            ("id < ?", before),
            ("created_ms >= ?", created_from_ms),
            ("created_ms < ?", created_to_ms),
        ):
            if value is not None:
                clauses.append(clause)
                values.append(value)
        if statuses:
            clauses.append(f"status IN ({', '.join('?' * len(statuses))})")
            values.extend(statuses)
        for name, value in (labels or {}).items():
            clauses.append(
                "EXISTS (SELECT 1 FROM labels WHERE labels.tenant = executions.tenant "
                "AND name = ? AND value = ? AND execution = executions.id)"
            )
            values += (name, value)
        with translated(self._path):
            rows = self._connection.execute(
                f"SELECT {', '.join(COLUMNS)}, crc FROM executions "
                f"WHERE {' AND '.join(clauses)} ORDER BY id DESC LIMIT ?",
                (*values, _bounded(limit)),
            ).fetchall()
        found: list[ExecutionRow] = []
        for *values, crc in rows:
            row = _row(values)
            if row_checksum(row) != crc:
                raise CorruptRecord(f"{row.id} in the list", "its checksum does not match")
            found.append(row)
        return found

    def counts(self, tenant: TenantId | None = None) -> dict[Status, int]:
        """How many executions of a tenant, or of all, are in each status; those that none is in
        are left out. Of a tenant no row is read, only an index."""
        where, values = ("WHERE tenant = ?", (tenant,)) if tenant is not None else ("", ())
        with translated(self._path):
            rows = self._connection.execute(
                f"SELECT status, COUNT(*) FROM executions {where} GROUP BY status ORDER BY status",
                values,
            ).fetchall()
        return dict(rows)

    def find(self, prefix: str) -> ExecutionId:
        """The one execution whose id is or begins with ``prefix``. Raises ``NotFound``."""
        with translated(self._path):
            rows = self._connection.execute(
                "SELECT id FROM executions WHERE id >= ? AND id < ? ORDER BY id LIMIT 2",
                (prefix, _after_all_of(prefix)),
            ).fetchall()
        if not rows or (len(rows) > 1 and rows[0][0] != prefix):
            hint = "more than one begins so" if rows else "`omium ps` lists what there is"
            raise NotFound("execution", prefix, hint)
        return ExecutionId(rows[0][0])


def _row(values: Sequence[object]) -> ExecutionRow:
    fields: dict[str, Any] = dict(zip(COLUMNS, values, strict=True))
    try:
        fields["labels"] = msgspec.json.decode(fields["labels"], type=dict[str, str])
    except (msgspec.DecodeError, TypeError) as error:
        # In a damaged row they may be no text at all.
        raise CorruptRecord(f"{fields['id']} in the list", f"its labels: {error}") from error
    return ExecutionRow(**fields)


def _after_all_of(prefix: str) -> str:
    """What sorts after every id that begins with ``prefix``."""
    return prefix + "\U0010ffff"


def _bounded(limit: int) -> int:
    # To SQLite a negative limit is no limit.
    return min(max(limit, 0), PAGE_ROWS_MAX)
