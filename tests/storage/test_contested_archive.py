"""Several who ship to one archive at once, on a store that fails before and after it has done what
it was asked for: only one history counts, and what was told to be shipped stays in it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, TypeAlias

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from omium.clock import SystemClock
from omium.consensus import Entry
from omium.errors import BlobStoreError, Conflict
from omium.storage import shipping
from omium.storage.archive import Archive
from omium.storage.object_urls import open_object_store
from omium.storage.objects import ObjectStore
from omium.storage.shipping import Shipment
from omium.testing.seaweedfs import S3Server
from tests.storage.faulty_bucket import Fault, faulty_bucket

ID = "g"
LEADERS = 2
TERMS = 3
STEPS = 3
SEGMENT_ENTRIES = 3
FAULTS_MAX = 20
WAIT_S = 120.0

When: TypeAlias = Literal["", "before", "after"]


class Log:
    """What a group has committed: all members hold it, so all that ship read the same."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self.entries: list[Entry] = []
        self.grow()

    def grow(self) -> None:
        for _ in range(self._rng.randrange(1, 2 * SEGMENT_ENTRIES)):
            index = len(self.entries) + 1
            self.entries.append(Entry(term=1, index=index, data=b"entry %d" % index))

    def read(self, _: Path, after: int) -> tuple[int, list[Entry]]:
        return len(self.entries), self.entries[after : after + SEGMENT_ENTRIES]


class Contested:
    """An object store of which each operation waits for its turn, and may fail: before anything was
    done, or after it was."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self.waiting: list[asyncio.Future[When]] = []
        self.changed = asyncio.Event()

    def __getattr__(self, name: str) -> Callable[..., Any]:
        async def operate(*args: Any, **options: Any) -> Any:
            turn: asyncio.Future[When] = asyncio.get_running_loop().create_future()
            self.waiting.append(turn)
            self.changed.set()
            fails = await turn
            if fails == "before":
                raise BlobStoreError("503 SlowDown")
            result = await getattr(self._store, name)(*args, **options)
            if fails == "after":
                raise BlobStoreError("timed out")
            return result

        return operate


class Leader:
    """Ships whenever it leads, which others may come to do meanwhile; ``told`` is the last index of
    which it said that it is shipped. ``reader`` is the same archive for those who only look."""

    def __init__(self, archive: Archive, reader: Archive, log: Log) -> None:
        self._archive = archive
        self._reader = reader
        self._log = log
        self.told = 0

    async def lead(self, terms: int) -> None:
        for _ in range(terms):
            made = Shipment(self._archive, Path("x"), replica=ID, clock=SystemClock())
            self._log.grow()
            try:
                await _mended(made.begin)
                for _ in range(STEPS):
                    await _mended(made.step)
                    # From this moment on it is in the history that counts.
                    past = await self._reader.past(ID)
                    assert made.shipped <= (past.end if past is not None else 0)
                    self.told = max(self.told, made.shipped)
                    self._log.grow()
            except Conflict:
                continue


async def _mended(work: Callable[[], Any]) -> None:
    """Do it again until the store has not failed, as the shipper does."""
    while True:
        try:
            await work()
        except BlobStoreError:
            continue
        return


async def history_in(archive: Archive) -> list[Entry]:
    """What a restore would carry out."""
    past = await archive.past(ID)
    way = past.way_to() if past is not None else None
    entries: list[Entry] = []
    for segment in way.steps if way is not None else ():
        entries += [e for e in await archive.segment(segment) if e.index > len(entries)]
    assert way is None or len(entries) == way.end
    return entries


@pytest.fixture
def without_disk(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.setattr(shipping, "sweep", lambda _: None)
    return monkeypatch


@given(seed=st.integers(0, 2**32))
@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_one_history_counts_whoever_writes_when(
    without_disk: pytest.MonkeyPatch, seed: int
) -> None:
    asyncio.run(_contest(without_disk, random.Random(seed)))


async def _contest(patch: pytest.MonkeyPatch, rng: random.Random) -> None:
    store, log = open_object_store("memory://"), Log(rng)
    patch.setattr(shipping, "_read", log.read)
    contested = Contested(store)
    archive: Any = Archive(contested)  # pyright: ignore[reportArgumentType]
    leaders = [Leader(archive, Archive(store), log) for _ in range(LEADERS)]
    tasks = [asyncio.create_task(leader.lead(TERMS)) for leader in leaders]
    for task in tasks:
        task.add_done_callback(lambda _: contested.changed.set())
    faults = FAULTS_MAX
    while live := [task for task in tasks if not task.done()]:
        if len(contested.waiting) < len(live):
            # Somebody is still on his way to his next operation.
            contested.changed.clear()
            await contested.changed.wait()
            continue
        turn = contested.waiting.pop(rng.randrange(len(contested.waiting)))
        fails: When = rng.choice(("", "", "before", "after")) if faults else ""
        faults -= fails != ""
        turn.set_result(fails)
    for task in tasks:
        task.result()
    told = max(leader.told for leader in leaders)
    await _one_history(Archive(store), log, told)


async def _one_history(archive: Archive, log: Log, told: int) -> None:
    history = await history_in(archive)
    assert history == log.entries[: len(history)]
    assert told <= len(history)
    # The next one goes on from there, and ends with all there is.
    last = Shipment(archive, Path("x"), replica=ID, clock=SystemClock())
    await last.begin()
    while await last.step():
        pass
    assert await history_in(archive) == log.entries


@pytest.mark.s3
@pytest.mark.parametrize("seed", [1, 2])
async def test_one_history_counts_on_a_bucket_that_fails(
    s3_server: S3Server, bucket: str, without_disk: pytest.MonkeyPatch, seed: int
) -> None:
    rng = random.Random(seed)
    kinds: tuple[Fault, ...] = ("none", "none", "slow_down", "slow", "lost_answer", "cut")
    faults: list[Fault] = [rng.choice(kinds) for _ in range(6 * FAULTS_MAX)]
    log = Log(rng)
    without_disk.setattr(shipping, "_read", log.read)
    url, options = f"s3://{bucket}/contested/{seed}", s3_server.options(retries_max=1)
    async with faulty_bucket(s3_server.endpoint, faults) as (endpoint, proxy):
        through = replace(options, endpoint=endpoint)
        # Each has its own connections, as processes have.
        archives = [Archive(open_object_store(url, s3=through)) for _ in range(LEADERS)]
        reader = Archive(open_object_store(url, s3=options))
        leaders = [Leader(archive, reader, log) for archive in archives]
        async with asyncio.timeout(WAIT_S):
            await asyncio.gather(*(leader.lead(TERMS) for leader in leaders))
        assert {kind for kind in kinds if proxy.done.get(kind)} == set(kinds)
    told = max(leader.told for leader in leaders)
    await _one_history(reader, log, told)
