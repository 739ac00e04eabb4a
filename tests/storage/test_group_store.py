"""A replica as a member's disk: what only a file can get wrong."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from omium.consensus import Batch, ConfState, Entry, HardState, Snapshot, initial_snapshot
from omium.errors import (
    ConfigError,
    Conflict,
    CorruptRecord,
    DataDirectoryBusy,
    OmiumError,
    PlatformError,
)
from omium.execution.commands import WriteRecord, encode_command
from omium.storage import backlog, group_store, sqlite
from omium.storage.group_store import STATE_TABLES, GroupStore, copy_state
from omium.storage.journal import Journal
from omium.storage.replica import FILE_NAME, Replica
from omium.testing.log_store_conformance import written
from omium.types import DEFAULT_TENANT
from tests.storage import failed_sync
from tests.storage.test_replica import FailingConnection

START = initial_snapshot([1, 2, 3])


def record(number: int) -> WriteRecord:
    return WriteRecord(tenant=DEFAULT_TENANT, kind="n", key="key", body=number)


def entry(index: int, term: int = 1) -> Entry:
    return Entry(term=term, index=index, data=encode_command(record(index)))


def opened(
    folder: Path, *, start: Snapshot | None = START, group: str = "g", first_id: int = 1
) -> GroupStore:
    return GroupStore.open(
        folder, owner="test", group=group, first_id=first_id, start=start, new_id=lambda: 17
    )


@pytest.fixture
def store(tmp_path: Path) -> Iterator[GroupStore]:
    made = opened(tmp_path)
    yield made
    made.close()


def raw(folder: Path, statement: str) -> list[Any]:
    connection = sqlite3.connect(folder / FILE_NAME, isolation_level=None)
    try:
        return connection.execute(statement).fetchall()
    finally:
        connection.close()


def value(store: GroupStore) -> object:
    found = store.replica.catalog.record(DEFAULT_TENANT, "n", "key")
    return found.body if found is not None else None


def test_what_is_not_committed_is_not_applied_by_opening(tmp_path: Path, store: GroupStore) -> None:
    written(store, Batch(entries=[entry(2), entry(3)], committed=[entry(2)]))
    store.close()
    again = opened(tmp_path)
    assert (again.applied, again.storage.last_index(), value(again)) == (2, 3, 2)
    again.close()


def test_a_batch_is_written_whole_or_not_at_all(tmp_path: Path, store: GroupStore) -> None:
    written(store, Batch(entries=[entry(2), entry(3)], committed=[entry(2)]))
    state, log = HardState(term=9, vote=3), [entry(4)]
    bad = Entry(term=1, index=3, data=b"no command")
    with pytest.raises(OmiumError):
        written(store, Batch(hard_state=state, entries=log, committed=[bad]))
    assert store.storage.initial_state()[0] == HardState(commit=1)
    assert (store.applied, store.storage.last_index(), value(store)) == (2, 3, 2)
    store.close()
    again = opened(tmp_path)
    assert again.storage.initial_state()[0] == HardState(commit=1)
    assert (again.applied, again.storage.last_index()) == (2, 3)
    again.close()


@pytest.mark.parametrize(
    ("statement", "place"),
    [
        ("UPDATE log SET crc = crc + 1 WHERE idx = 3", "log@3: its checksum"),
        ("UPDATE log SET term = 2 WHERE idx = 3", "log@3: its checksum"),
        ("UPDATE log SET type = 1 WHERE idx = 3", "log@3: its checksum"),
        ("UPDATE log SET type = 9 WHERE idx = 3", "log@3: 9"),
        ("UPDATE log SET body = zeroblob(9) WHERE idx = 4", "log@4: its checksum"),
        ("DELETE FROM log WHERE idx = 3", "log@3: missing"),
        ("UPDATE raft SET value = zeroblob(3) WHERE key = 'hard_state'", "raft.hard_state"),
        ("UPDATE raft SET crc = 1 WHERE key = 'conf_state'", "raft.conf_state"),
    ],
)
def test_a_damaged_log_is_named(
    tmp_path: Path, store: GroupStore, statement: str, place: str
) -> None:
    written(store, Batch(entries=[entry(2), entry(3), entry(4)], committed=[entry(2)]))
    store.close()
    raw(tmp_path, statement)
    with pytest.raises(CorruptRecord, match=place):
        opened(tmp_path)


def test_a_failed_fsync_halts(tmp_path: Path) -> None:
    opened(tmp_path).close()
    connection = sqlite3.connect(
        tmp_path / FILE_NAME, factory=FailingConnection, isolation_level=None
    )
    lock = os.open(tmp_path / "replica.lock", os.O_RDWR)
    store = GroupStore(Replica(connection, tmp_path / FILE_NAME, lock), tmp_path)
    written(store, Batch(entries=[entry(2)]))
    connection.failure = "SQLITE_IOERR_FSYNC"
    with pytest.raises(PlatformError, match="SQLITE_IOERR_FSYNC"):
        written(store, Batch(entries=[entry(3)]))
    assert store.halted
    with pytest.raises(PlatformError, match="the replica stopped"):
        written(store, Batch(entries=[entry(3)]))
    store.close()


def test_nothing_rests_on_what_a_failed_fsync_has_left_behind(tmp_path: Path) -> None:
    """The frames that could not be synced are in the page cache and pass for written. Whoever
    opens the file next may take them in, but not build on their being on the disk."""
    member, disk = tmp_path / "member", tmp_path / "disk"
    command = [sys.executable, "-m", "tests.storage.failed_sync", str(member)]
    child = subprocess.run(command, capture_output=True, text=True, check=False)
    if child.returncode == failed_sync.NO_FILTER:
        pytest.skip("no process may filter its system calls here")
    told = json.loads(child.stdout)
    assert "SQLITE_IOERR_FSYNC" in told.pop("error")
    before = {"term": 2, "last": 2, "applied": 2, "value": 2}
    assert told == {"halted": True, **before}
    again = failed_sync.opened(member)
    shown = failed_sync.look(again)
    # The power goes: what was only in the write-ahead log was never on the disk.
    disk.mkdir()
    shutil.copy(member / FILE_NAME, disk / FILE_NAME)
    written(again, failed_sync.batch(again.applied + 1))
    again.close()
    after = failed_sync.opened(disk)
    assert failed_sync.look(after) == shown
    after.close()


def test_who_cannot_clear_away_what_is_behind_does_not_begin(
    tmp_path: Path, store: GroupStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Someone reads for long: what may not be on the disk would stay in front of what will be."""
    monkeypatch.setattr(sqlite, "BUSY_TIMEOUT_S", 0.05)
    reader = sqlite3.connect(tmp_path / FILE_NAME, isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM log").fetchone()
    written(store, Batch(entries=[entry(2)]))
    store.close()
    with pytest.raises(DataDirectoryBusy, match="reads"):
        opened(tmp_path)
    reader.close()
    again = opened(tmp_path)
    assert again.storage.last_index() == 2
    again.close()


def test_what_need_not_be_durable_waits_for_no_disk(tmp_path: Path, store: GroupStore) -> None:
    level = "PRAGMA synchronous"
    written(store, Batch(entries=[entry(2)]))
    assert store.replica.connection.execute(level).fetchone() == (2,)
    written(store, Batch(committed=[entry(2)], must_sync=False))
    assert store.replica.connection.execute(level).fetchone() == (1,)
    written(store, Batch(entries=[entry(3)]))
    assert store.replica.connection.execute(level).fetchone() == (2,)


def test_only_the_group_writes_to_a_members_file(tmp_path: Path, store: GroupStore) -> None:
    with pytest.raises(Conflict, match="belongs to a group"):
        store.replica.commit([record(1)])
    store.close()
    alone = Replica.open(tmp_path, owner="test")
    with pytest.raises(Conflict, match="belongs to a group"):
        alone.commit([record(1)])
    alone.close()


def test_what_is_not_shipped_is_kept_up_to_a_bound_in_bytes(
    store: GroupStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = 40 * len(entry(2).data)
    monkeypatch.setattr(group_store, "LOG_ENTRIES_KEPT", 8)
    monkeypatch.setattr(group_store, "LOG_ENTRIES_DROPPED", 4)
    monkeypatch.setattr(backlog, "BYTES_MAX", size)
    store.replica.shipped = 1
    kept: list[int] = []
    for index in range(2, 200):
        written(store, Batch(entries=[entry(index)], committed=[entry(index)]))
        kept.append(store.storage.last_index() + 1 - store.storage.first_index())
    # Records of three digits are a byte or two longer than the one that was measured.
    assert kept[:30] == [*range(1, 31)]
    assert 36 <= kept[-1] <= 40
    # What is shipped goes, but for what those who lag may ask for.
    store.replica.shipped = store.applied
    written(store, Batch(entries=[entry(200)], committed=[entry(200)]))
    assert store.storage.last_index() + 1 - store.storage.first_index() == 8


def test_a_file_keeps_its_id_and_a_newcomer_gets_a_new_one(
    tmp_path: Path, store: GroupStore
) -> None:
    store.close()
    again = opened(tmp_path, start=None, first_id=2)
    assert again.id == 1
    again.close()
    with pytest.raises(ConfigError, match="belongs to the group 'g'"):
        opened(tmp_path, group="other")
    newcomer = opened(tmp_path / "lost", start=None)
    assert newcomer.id == 17
    assert newcomer.storage.initial_state() == (HardState(), ConfState())
    newcomer.close()


def test_a_replica_that_was_alone_keeps_its_state(tmp_path: Path) -> None:
    alone = Replica.open(tmp_path, owner="test")
    for number in range(5):
        alone.commit([record(number)])
    alone.close()
    store = opened(tmp_path)
    assert (store.applied, store.storage.first_index(), value(store)) == (5, 6, 4)
    assert store.storage.initial_state() == (HardState(commit=5), START.conf_state)
    written(store, Batch(entries=[entry(6)], committed=[entry(6)]))
    other = opened(tmp_path / "other", start=None)
    copied = copy_state(store.replica.path, tmp_path / "other" / "incoming" / "copy")
    assert (copied.index, copied.term, copied.conf_state) == (6, 1, START.conf_state)
    written(other, Batch(snapshot=copied))
    assert (other.applied, value(other)) == (6, 6)
    assert not (tmp_path / "other" / "incoming" / "copy").exists()
    for one in (store, other):
        one.close()


def test_a_snapshot_whose_copy_is_gone_is_refused(store: GroupStore, tmp_path: Path) -> None:
    other = opened(tmp_path / "other", start=None)
    copied = copy_state(store.replica.path, tmp_path / "elsewhere")
    with pytest.raises(CorruptRecord, match="missing"):
        written(other, Batch(snapshot=copied))
    other.close()


def test_a_file_of_the_schema_before_is_migrated(tmp_path: Path) -> None:
    replica = Replica.open(tmp_path, owner="test")
    replica.commit([record(1)])
    replica.close()
    for statement in (
        "ALTER TABLE log DROP COLUMN type",
        "DROP TABLE raft",
        "PRAGMA user_version = 3",
    ):
        raw(tmp_path, statement)
    reader = Journal.open(tmp_path / FILE_NAME)
    assert reader.executions() == []
    reader.close()
    replica = Replica.open(tmp_path, owner="test")
    replica.commit([record(2)])
    replica.close()
    assert raw(tmp_path, "PRAGMA user_version") == [(sqlite.SCHEMA_VERSION,)]
    assert raw(tmp_path, "SELECT idx, type FROM log") == [(1, 0), (2, 0)]
    store = opened(tmp_path)
    assert (store.applied, value(store)) == (2, 2)
    store.close()


def test_a_copy_takes_over_every_table_of_state(store: GroupStore) -> None:
    found = store.replica.connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")
    own = {"meta", "log", "raft"}
    assert {name for (name,) in found} == own | set(STATE_TABLES)
