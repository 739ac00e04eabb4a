"""A member's log on the simulated disk: the laws of every store, and what this disk does to it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import msgspec
import pytest

from omium.consensus import Batch, Entry, HardState, LogStore, Snapshot, Storage
from omium.errors import CorruptRecord, OmiumError, PlatformError, StorageFull
from omium.testing.log_store_conformance import KEPT, START, LogStoreBackend, LogStoreConformance
from omium.testing.sim import Disk, DiskFaults, World
from omium.testing.sim.log_store import DiskLog

KEEPS_ALL = DiskFaults(lost=0.0, torn=0.0)
LOSES_ALL = DiskFaults(lost=1.0)


class Sum:
    """A machine that knows the order of what it was told."""

    def __init__(self) -> None:
        self.seen: list[bytes] = []

    def apply(self, index: int, command: bytes) -> int:
        self.seen.append(command)
        return index

    def save(self) -> bytes:
        return msgspec.msgpack.encode(self.seen)

    def load(self, data: bytes) -> None:
        self.seen = msgspec.msgpack.decode(data, type=list[bytes]) if data else []


class Stage:
    """One disk, and the store that is open on it. Waits until the disk has done what it is to."""

    def __init__(self, name: str = "a", *, world: World | None = None) -> None:
        self.world = world or World(1)
        self.process = self.world.process(name)
        self.disk = Disk(self.process, LOSES_ALL)
        self.machine = Sum()
        self.store: DiskLog[int]

    halted = property(lambda self: self.store.halted)
    applied = property(lambda self: self.store.applied)

    @property
    def storage(self) -> Storage:
        return self.store.storage

    def open(self, start: Snapshot | None = START, *, file_bytes_max: int = 400) -> None:
        """Come up from the disk. Raises what ``begin`` says."""
        self.machine = Sum()
        self.store = DiskLog(
            self.disk, self.machine, start, kept=KEPT, file_bytes_max=file_bytes_max
        )
        self._wait(self.store.begin)

    def write(
        self, batch: Batch, done: Callable[[Sequence[int | None] | OmiumError], None]
    ) -> None:
        self.store.write(batch, done)
        self.wait()

    def written(self, batch: Batch) -> None:
        self._wait(lambda done: self.store.write(batch, done))

    def _wait(self, begin: Callable[[Callable[[Any], None]], None]) -> None:
        told: list[Any] = []
        begin(told.append)
        self.wait()
        (result,) = told
        if isinstance(result, OmiumError):
            raise result

    def wait(self) -> None:
        self.world.run(until_us=self.world.now_us + 1_000)

    def lose_power(self) -> None:
        self.process.crash()
        self.process.restart()

    @property
    def log(self) -> list[int]:
        storage = self.storage
        return list(range(storage.first_index(), storage.last_index() + 1))


class InSimulation(LogStoreBackend):
    def __init__(self) -> None:
        self._world = World(1)
        self._stages: dict[str, Stage] = {}

    def open(self, name: str, start: Snapshot | None = START) -> LogStore[Any]:
        if name in self._stages:
            self._stages[name].lose_power()
        else:
            self._stages[name] = Stage(name, world=self._world)
        stage = self._stages[name]
        # What is not synced is not to be lost here: the laws are of what a restart finds.
        stage.disk.faults = KEEPS_ALL
        stage.open(start)
        return cast("LogStore[Any]", stage)

    def command(self, number: int) -> bytes:
        return b"%d" % number

    def state(self, store: LogStore[Any]) -> object:
        return list(cast("Stage", store).machine.seen)

    def ship(self, source: LogStore[Any], target: LogStore[Any]) -> Snapshot:
        return source.storage.snapshot()


class TestSimulated(LogStoreConformance):
    @pytest.fixture
    def backend(self) -> LogStoreBackend:
        return InSimulation()


def entries(first: int, last: int) -> list[Entry]:
    return [Entry(term=1, index=index, data=b"%d" % index) for index in range(first, last + 1)]


def test_what_was_told_is_there_after_a_power_cut_and_the_rest_is_not() -> None:
    stage = Stage()
    stage.open()
    stage.written(Batch(hard_state=HardState(term=3, vote=2), entries=entries(2, 4)))
    stage.store.write(Batch(entries=entries(5, 6)), lambda _: None)
    stage.lose_power()
    stage.open()
    assert stage.storage.initial_state()[0] == HardState(term=3, vote=2)
    assert stage.log == [2, 3, 4]


@pytest.mark.parametrize("seed", range(20))
def test_a_torn_batch_is_all_or_nothing(seed: int) -> None:
    stage = Stage(world=World(seed))
    stage.open()
    stage.written(Batch(entries=entries(2, 4)))
    stage.disk.faults = DiskFaults(lost=0.3, torn=0.5)
    stage.store.write(Batch(committed=entries(2, 3), must_sync=False), lambda _: None)
    stage.store.write(Batch(entries=entries(5, 9)), lambda _: None)
    stage.lose_power()
    stage.open()
    assert stage.log in ([2, 3, 4], [2, 3, 4, 5, 6, 7, 8, 9])
    assert stage.applied in (1, 3)


@pytest.mark.parametrize("seed", range(20))
def test_a_bit_that_flips_is_found(seed: int) -> None:
    stage = Stage(world=World(seed))
    stage.open(file_bytes_max=100_000)
    for first in range(2, 20, 3):
        stage.written(Batch(entries=entries(first, first + 2)))
    stage.disk.flip_bit(stage.store.name, bytes_max=stage.store.guarded_bytes)
    stage.lose_power()
    with pytest.raises(CorruptRecord):
        stage.open()


def test_a_full_disk_writes_nothing_and_goes_on_when_there_is_room() -> None:
    stage = Stage()
    stage.open(file_bytes_max=100_000)
    stage.disk.faults = DiskFaults(bytes_max=stage.disk.used_bytes() + 10, lost=1.0)
    with pytest.raises(StorageFull):
        stage.written(Batch(entries=entries(2, 4)))
    assert (stage.log, stage.halted) == ([], False)
    stage.disk.faults = LOSES_ALL
    stage.written(Batch(entries=entries(2, 4)))
    stage.lose_power()
    stage.open()
    assert stage.log == [2, 3, 4]


def test_a_failed_fsync_halts_and_what_the_cache_shows_is_written_anew() -> None:
    stage = Stage()
    stage.open()
    stage.disk.faults = DiskFaults(fsync_fails=1.0, lost=1.0)
    with pytest.raises(PlatformError):
        stage.written(Batch(entries=entries(2, 4)))
    assert stage.halted
    stage.disk.faults = LOSES_ALL
    # Killed, not cut off: the cache shows what the disk does not have.
    stage.process.kill()
    stage.process.restart()
    stage.open()
    assert stage.log == [2, 3, 4]
    stage.written(Batch(entries=entries(5, 5)))
    stage.lose_power()
    stage.open()
    assert stage.log == [2, 3, 4, 5]


def test_a_new_file_takes_the_place_of_one_that_has_grown() -> None:
    stage = Stage()
    stage.open()
    for index in range(2, 60):
        stage.written(Batch(entries=entries(index, index), committed=entries(index, index)))
        assert len(stage.disk.names()) == 1
    assert stage.store.name > "log-000003"
    stage.lose_power()
    stage.open()
    assert stage.applied == 59
    assert stage.machine.seen == [b"%d" % index for index in range(2, 60)]
