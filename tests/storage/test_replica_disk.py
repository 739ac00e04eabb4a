"""A replica on disks that are full, read-only or not there."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from omium.errors import (
    CorruptRecord,
    NotFound,
    PlatformError,
    StorageFull,
    StorageUnwritable,
    exit_code_of,
)
from omium.storage import sqlite
from omium.storage.journal import Journal
from omium.storage.replica import FILE_NAME, Replica
from tests.storage.replica_child import batch, begin, written_batches

DISK_BYTES = 1024 * 1024


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one megabyte."""
    mount, umount = shutil.which("mount"), shutil.which("umount")
    if mount is None or umount is None or os.geteuid() != 0:
        pytest.skip("only root can mount a small file system")
    place = tmp_path / "disk"
    place.mkdir()
    command = [mount, "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(place)]
    mounted = subprocess.run(command, capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"a tmpfs cannot be mounted here: {mounted.stderr.strip()}")
    yield place
    # Lazily, since a test that failed may have left files open.
    subprocess.run([umount, "--lazy", str(place)], check=True)


def fill(disk: Path, leave: int) -> Path:
    """A file that takes all but about ``leave`` bytes of the disk."""
    ballast = disk / "ballast"
    free = shutil.disk_usage(disk).free
    ballast.write_bytes(b"\0" * max(free - leave, 0))
    return ballast


def test_a_full_disk_refuses_and_goes_on_once_there_is_space(disk: Path) -> None:
    ballast = fill(disk, leave=400_000)
    replica = Replica.open(disk / "data", owner="test")
    begin(replica)
    done = 0
    with pytest.raises(StorageFull, match="no space left for"):
        while done < 1_000:
            replica.commit(batch(done + 1))
            done += 1
    assert done > 3
    # Nothing of the batch is there, and what was acknowledged can be read from a full disk.
    assert written_batches(replica) == done
    with pytest.raises(StorageFull):
        replica.commit(batch(done + 1))
    ballast.unlink()
    replica.commit(batch(done + 1))
    replica.commit(batch(done + 2))
    assert written_batches(replica) == done + 2
    replica.close()
    replica = Replica.open(disk / "data", owner="test")
    assert written_batches(replica) == done + 2
    replica.close()


@pytest.mark.parametrize("leave", [0, 4096, 16_384, 40_960, 65_536, 98_304])
def test_a_disk_too_full_to_begin(disk: Path, leave: int) -> None:
    ballast = fill(disk, leave)
    try:
        replica = Replica.open(disk / "data", owner="test")
    except StorageFull:
        pass
    else:
        with pytest.raises(StorageFull):
            for number in range(1_000):
                begin(replica) if number == 0 else replica.commit(batch(number))
        replica.close()
    ballast.unlink()
    replica = Replica.open(disk / "data", owner="test")
    begin(replica)
    done = written_batches(replica)
    replica.commit(batch(done + 1))
    assert written_batches(replica) == done + 1
    replica.close()


def test_a_read_only_disk(disk: Path) -> None:
    replica = Replica.open(disk / "data", owner="test")
    begin(replica)
    replica.close()
    remount = [shutil.which("mount") or "", "-o", "remount,ro", str(disk)]
    subprocess.run(remount, check=True)
    with pytest.raises(StorageUnwritable, match="Read-only file system"):
        Replica.open(disk / "data", owner="test")
    with pytest.raises(StorageUnwritable, match="Read-only file system"):
        Replica.open(disk / "more", owner="test")


def test_a_directory_that_may_not_be_written(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may write everything")
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(StorageUnwritable, match="Permission denied"):
            Replica.open(tmp_path / "data", owner="test")
    finally:
        tmp_path.chmod(0o700)


def test_a_directory_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("here")
    for path in (tmp_path / "file", tmp_path / "file" / "data"):
        with pytest.raises(StorageUnwritable) as caught:
            Replica.open(path, owner="test")
        assert caught.value.path == str(path)
        assert exit_code_of(caught.value.kind) == 7


def test_a_database_that_is_a_directory(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).mkdir()
    with pytest.raises(StorageUnwritable, match="unable to open"):
        Replica.open(tmp_path, owner="test")


@pytest.mark.parametrize("keep", [0, 1, 50, 4096, 0.5, -4096, -1])
def test_a_truncated_database_is_named(tmp_path: Path, keep: float) -> None:
    replica = Replica.open(tmp_path, owner="test")
    begin(replica)
    for number in range(1, 20):
        replica.commit(batch(number))
    replica.close()
    path = tmp_path / FILE_NAME
    size = path.stat().st_size
    os.truncate(path, int(size * keep if 0 < keep < 1 else size + keep if keep < 0 else keep))
    with pytest.raises(CorruptRecord, match=FILE_NAME):
        Replica.open(tmp_path, owner="test")
    with pytest.raises(CorruptRecord, match=FILE_NAME):
        Journal.open(path)


def test_a_checkpoint_that_was_cut_short_is_made_good(tmp_path: Path) -> None:
    """The process died, or the disk was full, while a page was copied out of the log."""
    data, later = tmp_path / "data", tmp_path / "later"
    replica = Replica.open(data, owner="test")
    begin(replica)
    replica.commit(batch(1))
    later.mkdir()
    for file in data.iterdir():
        if not file.name.endswith(("-shm", ".lock")):
            shutil.copy(file, later)
    replica.close()
    with (later / FILE_NAME).open("ab") as file:
        file.write(b"half a page")
    replica = Replica.open(later, owner="test")
    assert written_batches(replica) == 1
    replica.close()


@pytest.mark.parametrize("size", [1, 20, 600, 50_000])
def test_a_file_that_is_no_database_is_named_and_kept(tmp_path: Path, size: int) -> None:
    path = tmp_path / FILE_NAME
    garbage = (b"garbage!" * (size // 8 + 1))[:size]
    path.write_bytes(garbage)
    with pytest.raises(CorruptRecord, match=FILE_NAME):
        Replica.open(tmp_path, owner="test")
    with pytest.raises(CorruptRecord, match=FILE_NAME):
        Journal.open(path)
    assert path.read_bytes() == garbage


def test_a_creation_that_was_cut_short_begins_again(tmp_path: Path) -> None:
    for leftover in (f"{FILE_NAME}.new", f"{FILE_NAME}.new-journal"):
        (tmp_path / leftover).write_bytes(b"half of it")
    replica = Replica.open(tmp_path, owner="test")
    begin(replica)
    replica.close()
    assert {path.name for path in tmp_path.iterdir()} == {FILE_NAME, "replica.lock"}


def test_a_newer_schema_is_told(tmp_path: Path) -> None:
    Replica.open(tmp_path, owner="test").close()
    path = tmp_path / FILE_NAME
    raw = sqlite3.connect(path)
    raw.execute(f"PRAGMA user_version = {sqlite.SCHEMA_VERSION + 1}")
    raw.close()
    told = f"schema version {sqlite.SCHEMA_VERSION + 1}, this Omium reads {sqlite.SCHEMA_VERSION}"
    with pytest.raises(PlatformError, match=told):
        Replica.open(tmp_path, owner="test")
    with pytest.raises(PlatformError, match=told):
        Journal.open(path)


def test_nothing_has_run_yet(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="nothing has run in this data directory yet"):
        Journal.open(tmp_path / FILE_NAME)
    assert not [*tmp_path.iterdir()]


def test_the_connection_waits_for_the_disk(tmp_path: Path) -> None:
    connection = sqlite.open_writer(tmp_path / "db")

    def pragma(name: str) -> object:
        return connection.execute(f"PRAGMA {name}").fetchone()[0]

    assert pragma("journal_mode") == "wal"
    assert pragma("synchronous") == 2  # FULL
    assert pragma("fullfsync") == 1
    assert pragma("busy_timeout") == sqlite.BUSY_TIMEOUT_S * 1000
    connection.close()


def test_a_reader_cannot_write(tmp_path: Path) -> None:
    sqlite.open_writer(tmp_path / "db").close()
    connection = sqlite.open_reader(tmp_path / "db")
    with pytest.raises(StorageUnwritable), sqlite.translated(tmp_path / "db"):
        connection.execute("DELETE FROM meta")
    connection.close()
