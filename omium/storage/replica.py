"""One member's durable state: the log that consensus orders and what applying it gave.

Both live in one SQLite file, so that they cannot disagree. ``commit`` orders, applies and makes
durable in one transaction: when it has returned, the batch is on disk. In a group of several the
log belongs to consensus, and ``group_store`` drives ``transaction`` and ``carry_out`` instead.

Not safe for use by several threads at once: the coordinator calls it from its event loop, so
that what it reads is always what was committed.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias

import msgspec

from omium.errors import Conflict, CorruptRecord, DataDirectoryBusy, PlatformError
from omium.execution.commands import (
    ClaimRequest,
    Command,
    WriteDelivery,
    WriteRecord,
    decode_command,
    encode_command,
)
from omium.execution.events import (
    Append,
    Cancelled,
    Completed,
    Created,
    Entry,
    Failed,
    Paused,
    encode_event,
    type_of,
)
from omium.execution.fold import create, evolve
from omium.execution.machine import Refusal, check
from omium.execution.state import ExecutionState
from omium.storage.backlog import Backlog
from omium.storage.catalog import Catalog, RecordWritten, RequestClaimed
from omium.storage.journal import Journal
from omium.storage.outbox import WEBHOOK_KIND, Outbox
from omium.storage.raft_store import identity_in
from omium.storage.rows import write_rows
from omium.storage.sqlite import applied_in, checksum, open_writer, translated
from omium.types import ExecutionId, Status

FILE_NAME = "replica.sqlite"
LOG_ROWS_KEPT = 1_024
"""Applied log rows kept for members that lag; older ones are trimmed."""

CACHED_STATES_MAX = 1_024
"""States of finished executions kept in memory. Unfinished ones always are."""

_UNFINISHED: tuple[Status, ...] = ("queued", "running", "paused")
_TOLD = (Completed, Failed, Cancelled, Paused)
"""What webhooks may be told of."""

_JOURNAL_ROW = (
    "INSERT INTO journal (execution, idx, at_ms, epoch, sequence, body, crc) VALUES (?,?,?,?,?,?,?)"
)


class Written(msgspec.Struct, frozen=True, kw_only=True):
    """An append that was committed as ``entries``."""

    entries: tuple[Entry, ...]

    @property
    def last_index(self) -> int:
        return self.entries[-1].index


Outcome: TypeAlias = Written | RecordWritten | RequestClaimed | Refusal
_JournalRow: TypeAlias = tuple[str, int, int, int, int, bytes, int]


class Replica:
    """The one writer of a data directory. See the module's docstring."""

    def __init__(self, connection: sqlite3.Connection, path: Path, lock: int) -> None:
        self._connection = connection
        self._path = path
        self._lock = lock
        self._states: dict[str, ExecutionState] = {}
        self._halted: str | None = None
        self._pending: dict[int, Command] = {}
        self.journal = Journal(connection, path)
        self.catalog = Catalog(connection, path)
        self.outbox = Outbox(connection, path, self.catalog)
        self._applied = applied_in(self._connection, self._path)
        (newest,) = connection.execute("SELECT max(idx) FROM log").fetchone()
        self._last = max(newest or 0, self._applied)
        self._synced = True
        self.shipped: int | None = None
        """The last index that the archive holds; None where nothing is shipped."""
        self._backlog = Backlog(connection)
        self.in_group = identity_in(connection) is not None
        """Whether this is the file of a group's member, whose log may be ahead of what is
        committed."""

    @classmethod
    def open(cls, directory: Path, *, owner: str) -> Replica:
        """Open or create the replica in ``directory`` and take its lock.

        ``owner`` is the words by which a second opener is told who has it. The lock goes with
        the process, however it dies. Raises ``DataDirectoryBusy``, ``StorageUnwritable``,
        ``StorageFull`` or ``CorruptRecord``.
        """
        with translated(directory):
            directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            lock = os.open(directory / "replica.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        path = directory / FILE_NAME
        try:
            with translated(directory):
                _take(lock, directory, owner)
            connection = open_writer(path)
        except BaseException:
            os.close(lock)
            raise
        try:
            with translated(path):
                replica = cls(connection, path, lock)
            if not replica.in_group:
                replica.recover()
        except BaseException:
            connection.close()
            os.close(lock)
            raise
        return replica

    def close(self) -> None:
        """Let go of file and lock. May be called again."""
        self._connection.close()
        lock, self._lock = self._lock, -1
        if lock >= 0:
            os.close(lock)

    @property
    def connection(self) -> sqlite3.Connection:
        """The database, for what is written in the same transactions."""
        return self._connection

    @property
    def path(self) -> Path:
        """The database's file."""
        return self._path

    @property
    def applied(self) -> int:
        """The last index of the log that was applied."""
        return self._applied

    @property
    def halted(self) -> bool:
        """Whether nothing can be written any more."""
        return self._halted is not None

    # ------------------------------------------------------------------ states

    def state(self, execution_id: str) -> ExecutionState | None:
        """The committed state of an execution. The caller must not change it."""
        state = self._load(execution_id)
        self._forget_finished()
        return state

    def _load(self, execution_id: str) -> ExecutionState | None:
        state = self._states.get(execution_id)
        if state is None:
            state = self.journal.fold(execution_id)
            if state is not None:
                self._states[execution_id] = state
        return state

    def unfinished(self) -> list[ExecutionState]:
        """Every execution that is queued, running or paused, the oldest first."""
        with translated(self._path):
            rows = self._connection.execute(
                f"SELECT id FROM executions WHERE status IN ({', '.join('?' * len(_UNFINISHED))}) "
                "ORDER BY id",
                _UNFINISHED,
            ).fetchall()
        states = (self.state(execution_id) for (execution_id,) in rows)
        return [state for state in states if state is not None]

    def _forget_finished(self) -> None:
        if len(self._states) > CACHED_STATES_MAX:
            finished = [s.id for s in self._states.values() if s.status not in _UNFINISHED]
            # Down to half of the bound, so that not every commit has to look for some.
            for execution_id in finished[: len(self._states) - CACHED_STATES_MAX // 2]:
                del self._states[execution_id]

    # ------------------------------------------------------------------ writing

    def commit(self, batch: Sequence[Command]) -> list[Outcome]:
        """Order, apply and make durable a batch, in one transaction and one fsync.

        Returns one outcome for each command. Raises ``StorageFull`` and the like when nothing
        of the batch was written; after an error of fsync the replica refuses to go on, since
        what the disk holds is then unknown.
        """
        if self.in_group:
            raise Conflict(f"{self._path} belongs to a group of coordinators: only it may write")
        with self.transaction():
            first = self._last + 1
            self.append((first + offset, 0, command) for offset, command in enumerate(batch))
            return self.apply(self._last)

    @contextmanager
    def transaction(self, *, sync: bool = True) -> Iterator[None]:
        """Write what is written inside, all of it or nothing; after an error nothing is.

        Without ``sync`` it is on disk with the next one that is synced, and until then a power
        cut may take it back. Raises ``StorageFull`` and the like, and ``PlatformError`` after an
        error of fsync, for ever.
        """
        if self._halted is not None:
            raise PlatformError(f"the replica stopped: {self._halted}")
        try:
            with translated(self._path):
                if sync is not self._synced:
                    level = "FULL" if sync else "NORMAL"
                    self._connection.execute(f"PRAGMA synchronous = {level}")
                    self._synced = sync
                self._connection.execute("BEGIN IMMEDIATE")
                yield
                self._connection.execute("COMMIT")
        except BaseException as error:
            self._roll_back(error)
            raise

    def append(self, entries: Iterable[tuple[int, int, Command]]) -> None:
        """Put (index, term, command) rows into the log, inside the open transaction."""
        rows: list[tuple[int, int, bytes, int]] = []
        for index, term, command in entries:
            body = encode_command(command)
            rows.append((index, term, body, checksum(body, "log", index, term)))
            self._pending[index] = command
            self._last = index
        self._connection.executemany(
            "INSERT INTO log (idx, term, body, crc) VALUES (?,?,?,?)", rows
        )

    def apply(self, upto: int) -> list[Outcome]:
        """Apply the log up to index ``upto``, inside the open transaction."""
        indexes = range(self._applied + 1, upto + 1)
        outcomes = self.carry_out(
            [self._pending.pop(index, None) or self._read_log(index) for index in indexes], upto
        )
        if upto // LOG_ROWS_KEPT != (upto - len(indexes)) // LOG_ROWS_KEPT:
            trimmed = self.trimmed(upto - LOG_ROWS_KEPT)
            self._connection.execute("DELETE FROM log WHERE idx <= ?", (trimmed,))
        return outcomes

    def trimmed(self, wanted: int) -> int:
        """Up to where the log may be trimmed, which is ``wanted`` up to where it is not needed."""
        if self.shipped is None:
            self._backlog.forget()
            return wanted
        return min(wanted, self._backlog.kept_after(self.shipped, self._applied))

    def carry_out(self, commands: Iterable[Command], upto: int) -> list[Outcome]:
        """Carry out ``commands``, which bring the state to index ``upto`` of the log, inside the
        open transaction. Returns one outcome for each."""
        outcomes: list[Outcome] = []
        journal_rows: list[_JournalRow] = []
        # Which executions were touched, and whether they have the status that is in their rows.
        touched: dict[str, bool] = {}
        for command in commands:
            if isinstance(command, WriteRecord):
                outcomes.append(self._write_record(command))
                continue
            if isinstance(command, WriteDelivery):
                outcomes.append(self.outbox.write(command))
                continue
            if isinstance(command, ClaimRequest):
                outcomes.append(self.catalog.claim(command))
                continue
            name = command.execution_id
            before = self._states.get(name)
            status = before.status if before is not None else None
            outcome = self._apply_one(command, journal_rows)
            outcomes.append(outcome)
            if isinstance(outcome, Written):
                touched[name] = touched.get(name, True) and self._states[name].status == status
        if journal_rows:
            self._connection.executemany(_JOURNAL_ROW, journal_rows)
            write_rows(
                self._connection, [(self._states[name], same) for name, same in touched.items()]
            )
        self._connection.execute(
            "UPDATE meta SET value = ?, crc = ? WHERE key = 'applied'",
            (upto, checksum(b"", "meta", "applied", upto)),
        )
        self._applied = upto
        # Not before: states that are ahead of the journal table cannot be folded from it.
        self._forget_finished()
        return outcomes

    def recover(self) -> None:
        """Apply what the log holds and the state does not, as after a crash between the two."""
        if self._last == self._applied:
            return
        with translated(self._path):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                self.apply(self._last)
                self._connection.execute("COMMIT")
            except BaseException as error:
                self._roll_back(error)
                raise

    def _apply_one(self, append: Append, journal_rows: list[_JournalRow]) -> Outcome:
        execution_id = append.execution_id
        state = self._load(execution_id)
        first = append.events[0] if append.events else None
        tenant = first.tenant if isinstance(first, Created) else state.tenant if state else None
        request = append.request
        refusal = (
            self.catalog.carried_out(tenant, request)
            if request is not None and tenant is not None
            else None
        ) or check(state, append)
        if refusal is not None:
            return refusal
        index = state.index if state is not None else 0
        writer = append.writer
        epoch, sequence = (writer.epoch, writer.sequence) if writer is not None else (0, 0)
        entries: list[Entry] = []
        for event in append.events:
            index += 1
            entry = Entry(
                execution_id=execution_id,
                index=index,
                at_ms=append.at_ms,
                epoch=epoch,
                sequence=sequence,
                event=event,
            )
            if state is None:
                state = self._states[execution_id] = create(entry)
            else:
                evolve(state, entry)
            body = encode_event(event)
            crc = checksum(body, execution_id, index, append.at_ms, epoch, sequence)
            journal_rows.append((execution_id, index, append.at_ms, epoch, sequence, body, crc))
            entries.append(entry)
            if isinstance(event, Created) and event.labels:
                self._connection.executemany(
                    "INSERT INTO labels VALUES (?,?,?,?)",
                    [(event.tenant, *label, execution_id) for label in event.labels.items()],
                )
            if isinstance(event, _TOLD) and self.outbox.is_wanted(state.tenant):
                kind = type_of(event)
                self.outbox.add(state.tenant, execution_id, index, kind, append.at_ms)
        if request is not None and tenant is not None:
            self.catalog.remember(tenant, request, execution_id, index)
        return Written(entries=tuple(entries))

    def _write_record(self, command: WriteRecord) -> Outcome:
        tenant, request = command.tenant, command.request
        refusal = self.catalog.carried_out(tenant, request) if request is not None else None
        outcome = refusal or self.catalog.write(command)
        if isinstance(outcome, RecordWritten):
            if request is not None:
                name = ExecutionId(command.key)
                self.catalog.remember(tenant, request, name, outcome.version)
            if command.kind == WEBHOOK_KIND:
                self.outbox.changed(command)
        return outcome

    def _read_log(self, index: int) -> Command:
        row = self._connection.execute(
            "SELECT term, body, crc FROM log WHERE idx = ?", (index,)
        ).fetchone()
        if row is None:
            raise CorruptRecord(f"log@{index}", "missing")
        term, body, crc = row
        if checksum(body, "log", index, term) != crc:
            raise CorruptRecord(f"log@{index}", "its checksum does not match")
        return decode_command(body, f"log@{index}")

    def _roll_back(self, error: BaseException) -> None:
        cause = error.__cause__
        name = getattr(cause, "sqlite_errorname", "")
        if name in ("SQLITE_IOERR_FSYNC", "SQLITE_IOERR_DIR_FSYNC"):
            self._halted = f"fsync failed: {cause}"
        with translated(self._path):
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
        self.reload()

    def reload(self) -> None:
        """Forget what is in memory: the disk is right."""
        self._states.clear()
        self._pending.clear()
        self._backlog.forget()
        with translated(self._path):
            self._applied = applied_in(self._connection, self._path)
            (newest,) = self._connection.execute("SELECT max(idx) FROM log").fetchone()
        self._last = max(newest or 0, self._applied)
        self.outbox.load()


def _take(lock: int, directory: Path, owner: str) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        holder = os.pread(lock, 200, 0).decode("utf-8", "replace").strip()
        raise DataDirectoryBusy(str(directory), holder or "another process") from error
    os.ftruncate(lock, 0)
    os.pwrite(lock, owner.encode(), 0)
