"""A replica as the disk of a group's member: its log and its state, written together.

Implements ``omium.consensus.LogStore`` on one SQLite file. One transaction carries out a whole
batch. The state that a snapshot stands for is a copy of the database, brought by
``omium.actors.group``; installing it replaces every table of state, and keeps what is this
member's own.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from omium.consensus import Batch, ConfState, Entry, EntryType, HardState, Snapshot
from omium.consensus.records import EMPTY_HARD_STATE
from omium.errors import ConfigError, CorruptRecord, InvariantBroken, OmiumError
from omium.execution.commands import Command, decode_command
from omium.storage.raft_store import Identity, RaftStore, raft_state_in
from omium.storage.replica import Outcome, Replica
from omium.storage.sqlite import applied_in, checksum, copied, translated

LOG_ENTRIES_KEPT = 8_192
"""Applied entries kept for members that lag; who lags more is sent a snapshot."""

LOG_ENTRIES_DROPPED = 256
"""How many older ones are deleted at once: more would hold up the write that they go with."""

STATE_TABLES = ("journal", "executions", "labels", "requests", "records", "outbox")
"""What applying the log gives. A new table of state belongs here."""


class Copied(msgspec.Struct, frozen=True, kw_only=True):
    """The ``data`` of a snapshot that is sent: the copy of the state that comes with it."""

    name: str
    size: int


class GroupStore:
    """See the module's docstring. ``incoming`` is where copies that were received lie."""

    def __init__(self, replica: Replica, incoming: Path) -> None:
        self.replica = replica
        self.storage = RaftStore(replica.connection, replica.path, lambda: replica.applied)
        self._incoming = incoming

    @classmethod
    def open(
        cls,
        directory: Path,
        *,
        owner: str,
        group: str,
        first_id: int,
        start: Snapshot | None,
        new_id: Callable[[], int],
    ) -> GroupStore:
        """Open the member's file in ``directory``, or begin one, and take its lock.

        A file that is there keeps its id. A new one begins with ``first_id`` and ``start`` where
        the group is being formed; else (``start`` None) it is a newcomer under ``new_id()``,
        for the group may remember what a lost file had promised. A replica that was alone until
        now keeps its state and begins from there, as ``first_id``.

        Raises as ``Replica.open``, and ``ConfigError`` for the file of another group, or of none
        where a member's should be.
        """
        replica = Replica.open(directory, owner=owner)
        try:
            store = cls(replica, directory / "incoming")
            identity = store.storage.identity()
            if identity is not None and identity.group != group:
                raise ConfigError(
                    f"{directory} belongs to the group {identity.group!r}, not to {group!r}"
                )
            # One that never joined has promised nothing, and may still begin with the group.
            if identity is None or (start is not None and store._is_blank()):
                store._begin(group, first_id, start, new_id)
        except BaseException:
            replica.close()
            raise
        return store

    def _is_blank(self) -> bool:
        nothing = (EMPTY_HARD_STATE, ConfState())
        return self.storage.initial_state() == nothing and self.storage.last_index() == 0

    def _begin(
        self, group: str, first_id: int, start: Snapshot | None, new_id: Callable[[], int]
    ) -> None:
        alone = self.replica.applied
        if alone and start is None:
            raise ConfigError(
                f"{self.replica.path} is a coordinator's that was alone: no member of the group"
            )
        identity = Identity(id=new_id() if start is None else first_id, group=group)
        with self.replica.transaction():
            self.storage.set_identity(identity)
            if start is not None:
                if alone > start.index:
                    start = msgspec.structs.replace(start, index=alone)
                self.storage.start_over(start)
                self.storage.set_hard_state(HardState(commit=start.index))
                self._set_applied(start.index)
        self.replica.in_group = True
        self.replica.reload()

    def close(self) -> None:
        self.replica.close()

    @property
    def id(self) -> int:
        """The member's id in its group."""
        identity = self.storage.identity()
        if identity is None:
            raise CorruptRecord("raft.identity", "missing")
        return identity.id

    # ------------------------------------------------------------------ LogStore

    @property
    def applied(self) -> int:
        return self.replica.applied

    @property
    def halted(self) -> bool:
        return self.replica.halted

    def write(
        self, batch: Batch, done: Callable[[Sequence[Outcome | None] | OmiumError], None]
    ) -> None:
        """See ``LogStore``: returns when it is written."""
        try:
            results = self._write(batch)
        except OmiumError as error:
            self.storage.load()
            done(error)
            return
        done(results)

    def _write(self, batch: Batch) -> list[Outcome | None]:
        if batch.snapshot is not None and batch.snapshot.index > self.applied:
            self._install(batch.snapshot, batch.hard_state)
        with self.replica.transaction(sync=batch.must_sync):
            if batch.hard_state is not None:
                self.storage.set_hard_state(batch.hard_state)
            self.storage.append(batch.entries)
            results = self._apply(batch.committed)
            if batch.conf_state is not None:
                self.storage.set_conf_state(batch.conf_state)
            applied = self.applied
            if applied - self.storage.first_index() >= LOG_ENTRIES_KEPT + LOG_ENTRIES_DROPPED:
                self.storage.compact(self.replica.trimmed(applied - LOG_ENTRIES_KEPT))
        return results

    def _apply(self, committed: Sequence[Entry]) -> list[Outcome | None]:
        if not committed:
            return []
        if committed[0].index != self.applied + 1:
            raise InvariantBroken(
                f"entry {committed[0].index} is to be applied after {self.applied}"
            )
        commands: list[Command] = []
        places: list[int] = []
        for place, entry in enumerate(committed):
            if entry.type is EntryType.NORMAL and entry.data:
                commands.append(decode_command(entry.data, f"log@{entry.index}"))
                places.append(place)
        results: list[Outcome | None] = [None] * len(committed)
        outcomes = self.replica.carry_out(commands, committed[-1].index)
        for place, outcome in zip(places, outcomes, strict=True):
            results[place] = outcome
        return results

    # ------------------------------------------------------------------ snapshots

    def _install(self, snapshot: Snapshot, hard_state: HardState | None) -> None:
        """Replace the state by a copy. With it goes the hard state, so that a vote that was
        given in the same batch is never behind it."""
        copied = decode_copied(snapshot)
        path = self._incoming / copied.name
        connection = self.replica.connection
        with translated(self.replica.path):
            if not path.exists():
                raise CorruptRecord(str(path), "the copy that a snapshot names is missing")
            connection.execute("ATTACH DATABASE ? AS copy", (str(path),))
        try:
            with self.replica.transaction():
                for table in STATE_TABLES:
                    names = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
                    columns = ", ".join(names)
                    connection.execute(f"DELETE FROM main.{table}")
                    connection.execute(
                        f"INSERT INTO main.{table} ({columns}) SELECT {columns} FROM copy.{table}"
                    )
                self.storage.start_over(snapshot)
                if hard_state is not None:
                    self.storage.set_hard_state(hard_state)
                self._set_applied(snapshot.index)
        finally:
            with translated(self.replica.path):
                connection.execute("DETACH DATABASE copy")
        self.replica.reload()
        path.unlink(missing_ok=True)

    def _set_applied(self, index: int) -> None:
        self.replica.connection.execute(
            "UPDATE meta SET value = ?, crc = ? WHERE key = 'applied'",
            (index, checksum(b"", "meta", "applied", index)),
        )


def decode_copied(snapshot: Snapshot) -> Copied:
    """Which copy comes with a snapshot. Raises ``CorruptRecord``."""
    try:
        return msgspec.msgpack.decode(snapshot.data, type=Copied)
    except msgspec.DecodeError as error:
        raise CorruptRecord(f"snapshot@{snapshot.index}", str(error)) from error


def copy_state(source: Path, target: Path) -> Snapshot:
    """Copy the database ``source``, as it is now, to ``target``, beside whoever writes it.

    Returns the snapshot that the copy stands for; its ``data`` says which copy it is. Blocks for
    as long as the copy takes: to be called in a thread. Raises ``StorageFull`` and the like.
    """
    with copied(source, target) as copy:
        snapshot = _snapshot_of(copy, target)
    about = Copied(name=target.name, size=target.stat().st_size)
    return msgspec.structs.replace(snapshot, data=msgspec.msgpack.encode(about))


def _snapshot_of(connection: sqlite3.Connection, path: Path) -> Snapshot:
    index = applied_in(connection, path)
    compacted, conf_state = raft_state_in(connection)
    if index == compacted.index:
        term = compacted.term
    else:
        row = connection.execute("SELECT term FROM log WHERE idx = ?", (index,)).fetchone()
        if row is None:
            raise CorruptRecord(f"{path}: log@{index}", "missing")
        term = int(row[0])
    return Snapshot(index=index, term=term, conf_state=conf_state)
