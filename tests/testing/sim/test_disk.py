"""What survives on a disk, and each of its faults."""

from __future__ import annotations

import errno

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omium.testing.sim import Disk, DiskFaults, World

KEEPS_ALL = DiskFaults(lost=0.0, torn=0.0)
LOSES_ALL = DiskFaults(lost=1.0)
TEARS_ALL = DiskFaults(lost=0.0, torn=1.0)


class Stage:
    def __init__(self, faults: DiskFaults | None = None, *, seed: int = 1) -> None:
        self.world = World(seed)
        self.process = self.world.process("a")
        self.disk = Disk(self.process, faults)
        self.synced: list[OSError | None] = []

    def fsync(self, wait_us: int = 1_000) -> None:
        self.disk.fsync("f", self.synced.append)
        self.world.run(until_us=self.world.now_us + wait_us)

    def crash(self) -> bytes:
        self.process.crash()
        self.process.restart()
        return self.disk.read("f")


def test_a_write_is_read_at_once_and_durable_after_fsync() -> None:
    stage = Stage(LOSES_ALL)
    stage.disk.append("f", b"one ")
    stage.fsync()
    stage.disk.append("f", b"two")
    assert stage.disk.read("f") == b"one two"
    assert stage.synced == [None]
    assert stage.crash() == b"one "
    assert stage.disk.names() == ["f"]


def test_writes_lie_where_they_were_written() -> None:
    stage = Stage()
    stage.disk.write("f", 4, b"late")
    stage.disk.write("f", 0, b"a")
    stage.disk.write("f", 5, b"A")
    assert stage.disk.read("f") == b"a\0\0\0lAte"


def test_an_fsync_covers_only_what_was_written_before_it() -> None:
    stage = Stage(LOSES_ALL)
    stage.disk.append("f", b"before")
    stage.disk.fsync("f", stage.synced.append)
    stage.disk.append("f", b" after")
    stage.world.run(until_us=1_000)
    assert stage.synced == [None]
    assert stage.crash() == b"before"


def test_a_crash_before_the_end_of_an_fsync_tells_nobody() -> None:
    stage = Stage(LOSES_ALL)
    stage.disk.append("f", b"x")
    stage.fsync(wait_us=1)
    assert stage.crash() == b""
    stage.world.run(until_us=10_000)
    assert (stage.synced, stage.disk.read("f")) == ([], b"")


def test_unsynced_writes_may_all_survive() -> None:
    stage = Stage(KEEPS_ALL)
    stage.disk.append("f", b"x")
    assert stage.crash() == b"x"


def test_an_unsynced_write_may_be_torn() -> None:
    left = set[bytes]()
    for seed in range(50):
        stage = Stage(TEARS_ALL, seed=seed)
        stage.disk.append("f", b"abcd")
        left.add(stage.crash())
    assert left == {b"", b"a", b"ab", b"abc"}


def test_a_later_write_may_survive_an_earlier_one() -> None:
    left = set[bytes]()
    for seed in range(50):
        stage = Stage(DiskFaults(lost=0.5, torn=0.0), seed=seed)
        stage.disk.append("f", b"1")
        stage.disk.append("f", b"2")
        left.add(stage.crash())
    assert left == {b"", b"1", b"\x002", b"12"}


@given(
    seed=st.integers(0, 2**32),
    writes=st.lists(st.tuples(st.binary(min_size=1, max_size=8), st.booleans()), max_size=20),
)
def test_what_was_acknowledged_is_there_after_any_crash(
    seed: int, writes: list[tuple[bytes, bool]]
) -> None:
    stage = Stage(DiskFaults(fsync_fails=0.0), seed=seed)
    stage.disk.append("f", b"start")
    acknowledged = b""
    for data, sync in writes:
        stage.disk.append("f", data)
        if sync:
            stage.fsync()
            acknowledged = stage.disk.read("f")
    assert stage.crash()[: len(acknowledged)] == acknowledged


def test_a_failed_fsync_makes_nothing_durable_and_a_second_one_does_not_either() -> None:
    stage = Stage(DiskFaults(fsync_fails=1.0))
    stage.disk.append("f", b"x")
    stage.fsync()
    stage.disk.faults = KEEPS_ALL
    stage.fsync()
    assert stage.synced[0] is not None
    assert stage.synced[0].errno == errno.EIO
    assert stage.synced[1] is None
    assert stage.disk.read("f") == b"x"
    assert stage.crash() == b""


def test_a_slow_disk_is_slow() -> None:
    stage = Stage(DiskFaults(fsync_us_min=50_000, fsync_us_max=60_000))
    stage.disk.append("f", b"x")
    stage.fsync(wait_us=49_999)
    assert stage.synced == []
    stage.world.run(until_us=60_000)
    assert stage.synced == [None]


def test_a_full_disk_takes_nothing_more_and_keeps_what_it_has() -> None:
    stage = Stage(DiskFaults(bytes_max=8, lost=1.0))
    stage.disk.append("f", b"123456")
    for name in ("f", "g"):
        with pytest.raises(OSError, match="no space left") as caught:
            stage.disk.append(name, b"789")
        assert caught.value.errno == errno.ENOSPC
    stage.disk.write("f", 0, b"654321")
    assert (stage.disk.names(), stage.disk.read("f")) == (["f"], b"654321")


def test_one_bit_rots() -> None:
    stage = Stage()
    stage.disk.append("f", bytes(16))
    stage.disk.flip_bit("f")
    assert stage.disk.read("f") == bytes(16), "only what is durable rots"
    stage.fsync()
    stage.disk.flip_bit("f")
    rotten = stage.disk.read("f")
    assert int.from_bytes(rotten).bit_count() == 1
    assert stage.crash() == rotten


def test_the_disk_works_on_while_its_process_is_paused() -> None:
    stage = Stage(LOSES_ALL)
    stage.disk.append("f", b"x")
    stage.disk.fsync("f", stage.synced.append)
    stage.process.pause()
    stage.world.run(until_us=1_000)
    assert stage.synced == []
    assert stage.crash() == b"x"


def test_a_file_that_is_not_there_is_not_found() -> None:
    stage = Stage()
    for action in (stage.disk.read, stage.disk.flip_bit):
        with pytest.raises(FileNotFoundError):
            action("g")
    with pytest.raises(FileNotFoundError):
        stage.disk.fsync("g", stage.synced.append)
