"""Durability with real processes: what was acknowledged is there after SIGKILL."""

from __future__ import annotations

import random
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from omium.errors import CorruptRecord, DataDirectoryBusy
from omium.storage.journal import PAGE_ROWS_MAX, Journal
from omium.storage.replica import FILE_NAME, Replica
from tests.storage.replica_child import LEDGER, SOME, batch, written_batches

KILLS = 20
ROOT = Path(__file__).parents[2]


@contextmanager
def child(
    directory: Path, mode: str, *, under: tuple[str, ...] = ()
) -> Iterator[subprocess.Popen[str]]:
    """A process of ``replica_child``, killed and reaped at the end."""
    command = [*under, sys.executable, "-m", "tests.storage.replica_child", str(directory), mode]
    process = subprocess.Popen(
        command, cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def told(process: subprocess.Popen[str]) -> int:
    """The next number that the child acknowledges."""
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line, f"the child ended with {process.wait()}"
    return int(line)


@pytest.mark.timeout(180)
def test_what_was_acknowledged_survives_kill(tmp_path: Path) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")  # noqa: T201 - shown when the test fails
    chance = random.Random(seed)
    acknowledged = 0
    for kill in range(KILLS):
        with child(tmp_path, "loop") as process:
            acknowledged = told(process)
            for _ in range(chance.randrange(60)):
                acknowledged = told(process)
            # Somewhere inside the commits that follow.
            time.sleep(chance.random() * 0.01)
            process.kill()
            assert process.stdout is not None
            rest = process.stdout.read()
            # A number that was cut off was not told.
            whole = [int(line) for line in rest.splitlines(keepends=True) if line.endswith("\n")]
            acknowledged = max([acknowledged, *whole])
        replica = Replica.open(tmp_path, owner="test")
        try:
            found = written_batches(replica)
            assert acknowledged <= found <= acknowledged + 1, f"kill {kill}"
            assert replica.commit(batch(found + 1))
        finally:
            replica.close()
    assert acknowledged > KILLS


def test_a_commit_is_synced_before_it_is_told(tmp_path: Path) -> None:
    strace = shutil.which("strace")
    if strace is None or subprocess.run([strace, "-qq", "true"], capture_output=True).returncode:
        pytest.skip("strace is missing, or may not trace here")
    trace = tmp_path / "trace"
    watch = (strace, "-f", "-y", "-qq", "-e", "trace=write,fdatasync,fsync", "-o", str(trace))
    with child(tmp_path / "data", "some", under=watch) as process:
        assert [told(process) for _ in range(SOME + 1)] == [*range(SOME + 1)]
        assert process.wait() == 0
    lines = trace.read_text().splitlines()
    tellings = [at for at, line in enumerate(lines) if re.search(r'write\(1<.*"\d+\\n"', line)]
    assert len(tellings) == SOME + 1
    before = 0
    for at in tellings:
        synced = re.compile(rf"f(data)?sync\(\d+<.*{FILE_NAME}-wal>\) += 0")
        assert any(synced.search(line) for line in lines[before:at]), lines[before : at + 1]
        before = at + 1


def test_a_data_directory_has_one_owner(tmp_path: Path) -> None:
    with child(tmp_path, "hold") as process:
        told(process)
        with pytest.raises(DataDirectoryBusy, match=f"child {process.pid}") as caught:
            Replica.open(tmp_path, owner="test")
        assert caught.value.path == str(tmp_path)
        process.kill()
        process.wait()
        replica = Replica.open(tmp_path, owner="test")
        with pytest.raises(DataDirectoryBusy, match="in use by test;"):
            Replica.open(tmp_path, owner="another")
        replica.close()
    Replica.open(tmp_path, owner="another").close()


def test_a_failed_opening_leaves_the_directory_free(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_bytes(b"no database")
    for _ in range(2):
        with pytest.raises(CorruptRecord):
            Replica.open(tmp_path, owner="test")
    (tmp_path / FILE_NAME).unlink()
    Replica.open(tmp_path, owner="test").close()


def test_reading_beside_a_writer(tmp_path: Path) -> None:
    """Each read is of one moment: no entry is missing, and no list says more than the journal."""
    with child(tmp_path, "loop") as process:
        told(process)
        journal = Journal.open(tmp_path / FILE_NAME)
        try:
            seen = 0
            while seen < 400:
                state = journal.fold(LEDGER)
                assert state is not None
                assert state.index >= seen
                seen = state.index
                listed = {row.id: row.last_index for row in journal.executions(limit=PAGE_ROWS_MAX)}
                assert listed[LEDGER] >= seen
                assert len(journal.entries(LEDGER)) >= min(listed[LEDGER], PAGE_ROWS_MAX)
        finally:
            journal.close()
