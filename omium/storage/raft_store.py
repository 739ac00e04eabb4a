"""The log and the hard state of a group's member, in its replica's SQLite file.

What consensus reads of them is answered from memory, but for old entries. Writing is done inside
the transaction of ``group_store``, and ``load`` reads everything again where that was rolled
back. Every row carries a checksum over its content and its place.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import msgspec

from omium.consensus import ConfState, Entry, EntryType, HardState, Snapshot
from omium.consensus.records import EMPTY_HARD_STATE, NO_LIMIT, within_bytes
from omium.errors import CorruptRecord, InvariantBroken, SnapshotUnavailable
from omium.storage.sqlite import checksum, translated

RECENT_BYTES_MAX = 16 * 1024 * 1024
"""Entries at the end of the log that are kept in memory: what members that follow are sent."""

ENTRIES_READ_MAX = 1_024

T = TypeVar("T")


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """Whose file this is: the member ``id`` of the group ``group``."""

    id: int
    group: str


class Compacted(msgspec.Struct, frozen=True, kw_only=True):
    """The last entry that is no longer in the log."""

    index: int = 0
    term: int = 0


class RaftStore:
    """See the module's docstring. Implements ``omium.consensus.Storage``.

    ``applied`` says how far the state beside the log has come.
    """

    def __init__(
        self, connection: sqlite3.Connection, path: Path, applied: Callable[[], int]
    ) -> None:
        self._connection = connection
        self._path = path
        self._applied = applied
        self.load()

    def load(self) -> None:
        """Read everything from the file. Raises ``CorruptRecord``."""
        with translated(self._path):
            self._hard_state = self._get("hard_state", HardState) or EMPTY_HARD_STATE
            self._conf_state = self._get("conf_state", ConfState) or ConfState()
            self._compacted = self._get("compacted", Compacted) or Compacted()
            self._terms: list[int] = []
            self._recent: list[Entry] = []
            self._recent_bytes = 0
            rows = self._connection.execute(
                "SELECT idx, term, type, body, crc FROM log WHERE idx > ? ORDER BY idx",
                (self._compacted.index,),
            )
            for row in rows:
                self._note(entry_of(row, self.last_index() + 1))

    # ------------------------------------------------------------------ what consensus reads

    def initial_state(self) -> tuple[HardState, ConfState]:
        return self._hard_state, self._conf_state

    def first_index(self) -> int:
        return self._compacted.index + 1

    def last_index(self) -> int:
        return self._compacted.index + len(self._terms)

    def term(self, index: int) -> int | None:
        place = index - self._compacted.index
        if place == 0:
            return self._compacted.term
        return self._terms[place - 1] if 0 < place <= len(self._terms) else None

    def entries(self, low: int, high: int, bytes_max: int = NO_LIMIT) -> Sequence[Entry]:
        """See ``Storage``. Raises ``CorruptRecord`` for a row that is not what was written."""
        if not self._compacted.index < low <= high <= self.last_index() + 1:
            raise InvariantBroken(
                f"entries {low} to {high} were asked for, "
                f"there are {self.first_index()} to {self.last_index()}"
            )
        recent = self._recent
        first = self.last_index() + 1 - len(recent)
        if low >= first:
            return within_bytes(recent, low - first, high - first, bytes_max)
        with translated(self._path):
            rows = self._connection.execute(
                "SELECT idx, term, type, body, crc FROM log WHERE idx >= ? AND idx < ? "
                "ORDER BY idx LIMIT ?",
                (low, min(high, low + ENTRIES_READ_MAX), ENTRIES_READ_MAX),
            ).fetchall()
        found = [entry_of(row, index) for index, row in enumerate(rows, low)]
        if not found and low < high:
            raise CorruptRecord(f"log@{low}", "missing")
        return within_bytes(found, 0, len(found), bytes_max)

    def snapshot(self) -> Snapshot:
        """What a snapshot of now would be. The state itself is copied when it is sent."""
        index = self._applied()
        term = self.term(index)
        if term is None:
            raise SnapshotUnavailable(f"the term of the applied entry {index} is not known")
        return Snapshot(index=index, term=term, conf_state=self._conf_state)

    # ------------------------------------------------------------------ inside a transaction

    def set_identity(self, identity: Identity) -> None:
        self._put("identity", identity)

    def set_hard_state(self, hard_state: HardState) -> None:
        self._put("hard_state", hard_state)
        self._hard_state = hard_state

    def set_conf_state(self, conf_state: ConfState) -> None:
        self._put("conf_state", conf_state)
        self._conf_state = conf_state

    def append(self, entries: Sequence[Entry]) -> None:
        """Write ``entries`` and drop what followed the one before the first.

        Those that are compacted already are skipped. Raises ``InvariantBroken`` for a gap.
        """
        entries = [entry for entry in entries if entry.index > self._compacted.index]
        if not entries:
            return
        first = entries[0].index
        if first > self.last_index() + 1:
            raise InvariantBroken(f"a gap in the log between {self.last_index()} and {first}")
        if first <= self.last_index():
            self._connection.execute("DELETE FROM log WHERE idx >= ?", (first,))
            kept = first - self.first_index()
            del self._terms[kept:]
            # What is kept in memory ends where the log does.
            self._recent = [entry for entry in self._recent if entry.index < first]
            self._recent_bytes = sum(len(entry.data) for entry in self._recent)
        self._connection.executemany(
            "INSERT INTO log (idx, term, type, body, crc) VALUES (?,?,?,?,?)",
            [(e.index, e.term, int(e.type), e.data, _crc(e)) for e in entries],
        )
        for entry in entries:
            self._note(entry)

    def start_over(self, snapshot: Snapshot) -> None:
        """Drop the whole log: the state is that of ``snapshot`` now."""
        self._connection.execute("DELETE FROM log")
        self._terms, self._recent, self._recent_bytes = [], [], 0
        self._set_compacted(Compacted(index=snapshot.index, term=snapshot.term))
        self.set_conf_state(snapshot.conf_state)

    def compact(self, index: int) -> None:
        """Drop the entries up to ``index``, which must have been applied."""
        if index <= self._compacted.index:
            return
        term = self.term(index)
        if term is None or index > self._applied():
            raise InvariantBroken(f"the log cannot be compacted up to {index}")
        dropped = index - self._compacted.index
        recent = self.last_index() - len(self._recent)
        self._set_compacted(Compacted(index=index, term=term))
        self._connection.execute("DELETE FROM log WHERE idx <= ?", (index,))
        del self._terms[:dropped]
        if index > recent:
            gone = self._recent[: index - recent]
            self._recent_bytes -= sum(len(entry.data) for entry in gone)
            del self._recent[: index - recent]

    # ------------------------------------------------------------------ in common

    def identity(self) -> Identity | None:
        """Whose file this is; None for one that is no group's."""
        return identity_in(self._connection)

    def _note(self, entry: Entry) -> None:
        self._terms.append(entry.term)
        self._recent.append(entry)
        self._recent_bytes += len(entry.data)
        if self._recent_bytes > RECENT_BYTES_MAX and len(self._recent) > 1:
            half = len(self._recent) // 2
            self._recent_bytes -= sum(len(entry.data) for entry in self._recent[:half])
            del self._recent[:half]

    def _set_compacted(self, compacted: Compacted) -> None:
        self._put("compacted", compacted)
        self._compacted = compacted

    def _put(self, key: str, value: msgspec.Struct) -> None:
        body = msgspec.msgpack.encode(value)
        self._connection.execute(
            "INSERT OR REPLACE INTO raft VALUES (?,?,?)", (key, body, checksum(body, "raft", key))
        )

    def _get(self, key: str, kind: type[T]) -> T | None:
        return _read(self._connection, key, kind)


def identity_in(connection: sqlite3.Connection) -> Identity | None:
    """Whose file an open database is; None for one that is no group's."""
    return _read(connection, "identity", Identity)


def raft_state_in(connection: sqlite3.Connection) -> tuple[Compacted, ConfState]:
    """Where the log of an open database begins, and the members that it has applied."""
    return (
        _read(connection, "compacted", Compacted) or Compacted(),
        _read(connection, "conf_state", ConfState) or ConfState(),
    )


def _read(connection: sqlite3.Connection, key: str, kind: type[T]) -> T | None:
    row = connection.execute("SELECT value, crc FROM raft WHERE key = ?", (key,)).fetchone()
    if row is None:
        return None
    body, crc = row
    if checksum(body, "raft", key) != crc:
        raise CorruptRecord(f"raft.{key}", "its checksum does not match")
    try:
        return msgspec.msgpack.decode(body, type=kind)
    except msgspec.DecodeError as error:
        raise CorruptRecord(f"raft.{key}", str(error)) from error


def entry_of(row: tuple[int, int, int, bytes, int], expected: int) -> Entry:
    """The entry in a row of the log (index, term, type, body, checksum), which must be the one at
    ``expected``. Raises ``CorruptRecord``."""
    index, term, kind, body, crc = row
    if index != expected:
        raise CorruptRecord(f"log@{expected}", f"missing; the next one is {index}")
    try:
        entry = Entry(index=index, term=term, type=EntryType(kind), data=body)
    except ValueError as error:
        raise CorruptRecord(f"log@{index}", str(error)) from error
    if _crc(entry) != crc:
        raise CorruptRecord(f"log@{index}", "its checksum does not match")
    return entry


def _crc(entry: Entry) -> int:
    # As without a group, where every entry is a command.
    kind = (int(entry.type),) if entry.type is not EntryType.NORMAL else ()
    return checksum(entry.data, "log", entry.index, entry.term, *kind)
