"""Shipping to an archive and rebuilding from it: the past comes back as far as it was shipped."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from omium.clock import SystemClock
from omium.consensus import Batch, Entry, initial_snapshot
from omium.errors import Conflict, CorruptRecord, NotFound
from omium.execution.commands import encode_command
from omium.execution.events import Append
from omium.storage import backlog
from omium.storage import replica as replica_module
from omium.storage.archive import Archive, Past
from omium.storage.group_store import GroupStore
from omium.storage.object_urls import open_object_store
from omium.storage.replica import FILE_NAME, Replica
from omium.storage.restoring import choose, restore
from omium.storage.shipping import Shipment
from omium.testing.log_store_conformance import written
from tests.storage.replica_child import LEDGER, batch, created

ID = "r1"


@contextmanager
def replica_in(folder: Path) -> Iterator[Replica]:
    replica = Replica.open(folder, owner="test")
    try:
        yield replica
    finally:
        replica.close()


def archive_in(folder: Path) -> Archive:
    return Archive(open_object_store(str(folder / "archive")))


def shipment(
    archive: Archive, folder: Path, replica: str = ID, *, copies_kept: int = 2
) -> Shipment:
    return Shipment(
        archive,
        folder / FILE_NAME,
        replica=replica,
        clock=SystemClock(),
        copies_kept=copies_kept,
    )


async def shipped(archive: Archive, folder: Path, replica: str = ID) -> Shipment:
    made = shipment(archive, folder, replica)
    await made.begin()
    while await made.step():
        pass
    return made


async def past_of(archive: Archive, replica: str = ID) -> Past:
    past = await archive.past(replica)
    assert past is not None
    return past


def work(number: int) -> list[Append]:
    """Something to commit, the ledger that it all goes into first."""
    first = [Append(execution_id=LEDGER, events=(created(),))] if number == 0 else []
    return [*first, *batch(number)]


def everything(replica: Replica) -> dict[str, object]:
    rows = replica.journal.executions(tenant=None, limit=1_000)
    return {row.id: (row, list(replica.journal.all_entries(row.id))) for row in rows}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return tmp_path / "source"


async def test_what_was_shipped_comes_back(tmp_path: Path, source: Path) -> None:
    archive = archive_in(tmp_path)
    with replica_in(source) as replica:
        for number in range(5):
            replica.commit(work(number))
        await shipped(archive, source)
        before = everything(replica)
        replica.commit(work(5))  # which is not shipped any more
    told: list[tuple[int, int]] = []
    restored = await restore(
        archive, await choose(archive, None), tmp_path / "there", report=lambda *at: told.append(at)
    )
    with replica_in(tmp_path / "there") as again:
        assert everything(again) == before
        assert again.applied == restored.index == told[-1][0] == told[-1][1]
        # It goes on from there, and is shipped as another replica: its future is another one.
        again.commit(work(5))
        await shipped(archive, tmp_path / "there", "r2")
        after = everything(again)
    with pytest.raises(Conflict, match=r"name one: r2, up to \d+; r1, up to \d+"):
        await choose(archive, None)
    with pytest.raises(NotFound, match="r3"):
        await choose(archive, "r3")
    await restore(archive, await choose(archive, "r2"), tmp_path / "third")
    with replica_in(tmp_path / "third") as third:
        assert everything(third) == after


async def test_any_earlier_point_can_be_had(tmp_path: Path, source: Path) -> None:
    archive = archive_in(tmp_path)
    points: dict[int, dict[str, object]] = {}
    with replica_in(source) as replica:
        made = shipment(archive, source)
        for number in range(4):
            replica.commit(work(number))
            points[replica.applied] = everything(replica)
            if number == 0:
                await made.begin()
            if number == 2:
                await made.copy()
            while await made.step():
                pass
    for index, known in points.items():
        folder = tmp_path / f"at{index}"
        restored = await restore(archive, await past_of(archive), folder, index=index)
        assert restored.index == index
        with replica_in(folder) as again:
            assert everything(again) == known


async def test_a_copy_takes_the_place_of_what_was_trimmed(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replica_module, "LOG_ROWS_KEPT", 4)
    archive = archive_in(tmp_path)
    with replica_in(source) as replica:
        for number in range(8):
            replica.commit(work(number))
        await shipped(archive, source)
        known = everything(replica)
    past = await past_of(archive)
    assert len(past.copies) == 1
    await restore(archive, past, tmp_path / "there")
    with replica_in(tmp_path / "there") as again:
        assert everything(again) == known


@pytest.mark.parametrize(
    ("bound", "most"), [("ROWS_MAX", 16), ("BYTES_MAX", 40_000)], ids=["rows", "bytes"]
)
async def test_the_log_is_kept_until_it_is_shipped_but_not_for_ever(
    source: Path, monkeypatch: pytest.MonkeyPatch, bound: str, most: int
) -> None:
    monkeypatch.setattr(replica_module, "LOG_ROWS_KEPT", 4)
    monkeypatch.setattr(backlog, bound, most)
    counted = {"ROWS_MAX": "count(*)", "BYTES_MAX": "sum(length(body))"}[bound]

    def log(replica: Replica, what: str) -> int:
        return replica.connection.execute(f"SELECT {what} FROM log").fetchone()[0]

    with replica_in(source) as replica:
        replica.shipped = 0
        number = 0
        while replica.applied < 12:
            replica.commit(work(number))
            number += 1
        assert log(replica, "count(*)") == replica.applied
        assert log(replica, counted) < most
        while replica.applied < 100:
            replica.commit(work(number))
            number += 1
        # It is looked at every four rows, each of which has up to 2,500 bytes.
        assert log(replica, counted) <= most + 4 * (1 if bound == "ROWS_MAX" else 2_500)
        assert log(replica, "count(*)") < replica.applied


async def test_what_was_too_much_to_be_kept_is_in_the_archive_as_a_copy(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replica_module, "LOG_ROWS_KEPT", 4)
    monkeypatch.setattr(backlog, "BYTES_MAX", 10_000)
    archive = archive_in(tmp_path)
    with replica_in(source) as replica:
        replica.commit(work(0))
        made = await shipped(archive, source)
        replica.shipped = made.shipped
        # The store is away.
        for number in range(1, 20):
            replica.commit(work(number))
        while await made.step():
            pass
        known = everything(replica)
    past = await past_of(archive)
    assert len(past.copies) == 1
    await restore(archive, past, tmp_path / "there")
    with replica_in(tmp_path / "there") as again:
        assert everything(again) == known


async def test_who_claims_later_is_the_only_writer(tmp_path: Path, source: Path) -> None:
    archive = archive_in(tmp_path)
    with replica_in(source) as replica:
        replica.commit(work(0))
        earlier = await shipped(archive, source)
        replica.commit(work(1))
        later = await shipped(archive, source)
        known, end = everything(replica), replica.applied
        replica.commit(work(2))
        with pytest.raises(Conflict, match="claim 2 took the archive over from claim 1"):
            await earlier.step()
        assert earlier.shipped < later.shipped
    # What it put all the same does not count, though it would follow.
    past = await past_of(archive)
    assert past.end == end
    await restore(archive, past, tmp_path / "there")
    with replica_in(tmp_path / "there") as again:
        assert everything(again) == known


async def test_of_many_that_claim_at_once_each_gets_its_own_number(tmp_path: Path) -> None:
    archives = [archive_in(tmp_path) for _ in range(8)]
    claims = await asyncio.gather(
        *(archive.claim(ID, number) for number, archive in enumerate(archives))
    )
    assert sorted(claim.number for claim in claims) == list(range(1, 9))


async def test_a_replica_that_was_put_back_does_not_bury_what_it_lacks(
    tmp_path: Path, source: Path
) -> None:
    archive = archive_in(tmp_path)
    with replica_in(source) as replica:
        for number in range(3):
            replica.commit(work(number))
        await shipped(archive, source)
        end = replica.applied
    with replica_in(tmp_path / "older") as older:
        older.commit(work(0))
        with pytest.raises(Conflict, match="it was put back to an earlier state"):
            await shipment(archive, tmp_path / "older").begin()
    assert (await past_of(archive)).end == end


async def test_damage_is_named_and_an_earlier_point_still_comes_back(
    tmp_path: Path, source: Path
) -> None:
    archive = archive_in(tmp_path)
    with replica_in(source) as replica:
        replica.commit(work(0))
        made = await shipped(archive, source)
        good = replica.applied
        replica.commit(work(1))
        await made.step()
    past = await past_of(archive)
    damaged = tmp_path / "archive" / past.segments[-1].key
    content = bytearray(damaged.read_bytes())
    content[-1] ^= 1
    damaged.write_bytes(content)
    with pytest.raises(CorruptRecord, match=past.segments[-1].key):
        await restore(archive, past, tmp_path / "there")
    assert list((tmp_path / "there").iterdir()) == []
    assert (await restore(archive, past, tmp_path / "there", index=good)).index == good


async def test_nothing_is_overwritten(tmp_path: Path, source: Path) -> None:
    archive = archive_in(tmp_path)
    with replica_in(source) as replica:
        replica.commit(work(0))
        await shipped(archive, source)
    with pytest.raises(Conflict, match="it is not overwritten"):
        await restore(archive, await past_of(archive), source)


@pytest.mark.parametrize("kept", [1, 3])
async def test_old_copies_go_and_what_only_they_need(
    tmp_path: Path, source: Path, kept: int
) -> None:
    archive = archive_in(tmp_path)
    with replica_in(source) as replica:
        made = shipment(archive, source, copies_kept=kept)
        await made.begin()
        for number in range(5):
            replica.commit(work(number))
            while await made.step():
                pass
            await made.copy()
        known = everything(replica)
    past = await past_of(archive)
    assert len(past.copies) == kept
    assert all(segment.last > past.copies[0].index for segment in past.segments)
    parts = list((tmp_path / "archive" / "_archive").rglob("copies/*/000000"))
    assert len(parts) == kept
    await restore(archive, past, tmp_path / "there")
    with replica_in(tmp_path / "there") as again:
        assert everything(again) == known


async def test_what_deposed_writers_left_goes_and_what_is_counted_stays(
    tmp_path: Path, source: Path
) -> None:
    archive = archive_in(tmp_path)
    with replica_in(source) as replica:
        replica.commit(work(0))
        await shipped(archive, source)
        idle = shipment(archive, source)
        await idle.begin()
        later = await shipped(archive, source)
        replica.commit(work(1))
        with pytest.raises(Conflict):
            await idle.step()
        while await later.step():
            pass
        await later.copy()
        replica.commit(work(2))
        while await later.step():
            pass
        known = everything(replica)
    written = {path.parts[-3] for path in (tmp_path / "archive").rglob("segments/*")}
    assert written == {"0000000001", "0000000003"}
    for index in (None, (await past_of(archive)).segments[0].last):
        folder = tmp_path / f"at{index}"
        await restore(archive, await past_of(archive), folder, index=index)
        if index is None:
            with replica_in(folder) as again:
                assert everything(again) == known


def test_copies_that_a_kill_left_half_made_are_removed(tmp_path: Path, source: Path) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    names = [f"shipping-{dead.pid}-a", "shipping-abcdefgh", f"shipping-{os.getpid()}-b"]
    with replica_in(source) as replica:
        replica.commit(work(0))
        for name in names:
            (source / name).mkdir()
            (source / name / FILE_NAME).write_bytes(b"half")
        asyncio.run(shipped(archive_in(tmp_path), source))
    # Another copy of this very process is under way.
    assert [path.name for path in source.glob("shipping-*")] == names[2:]


async def test_a_copy_that_was_cut_short_is_no_part_of_the_next(
    tmp_path: Path, source: Path
) -> None:
    archive = archive_in(tmp_path)
    with replica_in(source) as replica:
        replica.commit(work(0))
        made = shipment(archive, source)
        await made.begin()
        cut_short = tmp_path / "archive" / "_archive" / ID / "0000000001" / "copies"
        first = cut_short / f"{replica.applied:020}" / "000000"
        first.parent.mkdir(parents=True)
        first.write_bytes(b"of a copy with other bytes")
        await made.copy()
        known = everything(replica)
    await restore(archive, await past_of(archive), tmp_path / "there")
    with replica_in(tmp_path / "there") as again:
        assert everything(again) == known


async def test_a_member_of_a_group_comes_back_as_one_that_is_alone(
    tmp_path: Path, source: Path
) -> None:
    archive = archive_in(tmp_path)
    store = GroupStore.open(
        source, owner="test", group="g", first_id=1, start=initial_snapshot([1]), new_id=lambda: 9
    )
    try:
        index = store.applied
        # As a leader begins its term: with an entry that says nothing.
        data = [b"", *(encode_command(command) for command in work(0))]
        entries = [
            Entry(term=1, index=index + place, data=one) for place, one in enumerate(data, 1)
        ]
        written(store, Batch(entries=tuple(entries), committed=tuple(entries), must_sync=True))
        await shipped(archive, source)
        known, end = everything(store.replica), store.applied
    finally:
        store.close()
    await restore(archive, await past_of(archive), tmp_path / "there")
    with replica_in(tmp_path / "there") as again:
        assert everything(again) == known
        assert again.applied == end
        assert not again.in_group
        again.commit(work(1))


@pytest.fixture
async def on_s3(bucket: str, s3_server: object) -> AsyncIterator[Archive]:
    from omium.testing.seaweedfs import S3Server

    assert isinstance(s3_server, S3Server)
    yield Archive(open_object_store(f"s3://{bucket}/shipping", s3=s3_server.options()))


@pytest.mark.s3
async def test_by_way_of_s3(tmp_path: Path, source: Path, on_s3: Archive) -> None:
    with replica_in(source) as replica:
        replica.commit(work(0))
        made = await shipped(on_s3, source)
        await made.copy()
        replica.commit(work(1))
        await made.step()
        known = everything(replica)
        claims = await asyncio.gather(*(on_s3.claim(ID, n) for n in range(4)))
        assert len({claim.number for claim in claims}) == 4
    await restore(on_s3, await past_of(on_s3), tmp_path / "there")
    with replica_in(tmp_path / "there") as again:
        assert everything(again) == known
        assert len(list(again.journal.all_entries(LEDGER))) == 5
