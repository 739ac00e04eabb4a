"""A damaged disk of one member is made up for by the others; damaged disks of a majority halt."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from pathlib import Path

import pytest

from omium.actors.group.damage import ASIDE_NAME, KEPT_MAX, MARK_NAME, condemn, put_aside
from omium.actors.group.opening import claim_group, open_store, record_formed, seat_folder
from omium.actors.group.talk import seat_of
from omium.clock import ManualClock
from omium.errors import CorruptRecord
from omium.storage.group_store import GroupStore
from omium.storage.replica import FILE_NAME
from omium.testing.group import InProcessGroup
from tests.actors.test_group import WAIT_S, contents, group, submitted, until

PAGE_BYTES = 4_096
PUTS = 20
REFUSED = CorruptRecord("row", "its checksum does not match")


def spoil(folder: Path) -> None:
    """Write over the middle of every page but the first of a seat's file, which nobody has open."""
    with (folder / FILE_NAME).open("r+b") as file:
        for start in range(PAGE_BYTES, os.fstat(file.fileno()).st_size, PAGE_BYTES):
            file.seek(start + PAGE_BYTES // 2)
            file.write(b"\x5a" * (PAGE_BYTES // 2))


async def filled(runtime: InProcessGroup) -> None:
    for number in range(PUTS):
        await runtime.client.put_record("n", f"{number:02d}", "x" * 1_000)
    await runtime.agreed()


async def is_voter(runtime: InProcessGroup, seat: int) -> bool:
    if seat not in runtime.seats:
        return False
    leader = await runtime.leader()
    voters = runtime.status(leader).membership.voters
    return runtime.seats[seat].store.id in voters


async def test_a_damaged_disk_is_put_aside_and_made_up_for(tmp_path: Path) -> None:
    async with group(tmp_path) as runtime:
        await filled(runtime)
        leader = await runtime.leader()
        lame = next(seat for seat in (1, 2, 3) if seat != leader)
        await runtime.stop_seat(lame)
        spoil(runtime.folder(lame))
        spoiled = (runtime.folder(lame) / FILE_NAME).read_bytes()
        seat = await runtime.start_seat(lame)
        # A newcomer: what the file had promised may not be taken for its own.
        assert seat.store.id != lame
        assert seat_of(seat.store.id) == lame
        await until(lambda: is_voter(runtime, lame))
        await runtime.client.put_record("n", "after", 1)
        await runtime.agreed()
        one, two, three = (contents(runtime, number) for number in (1, 2, 3))
        assert one == two == three
        (kept,) = (runtime.folder(lame) / ASIDE_NAME).iterdir()
        assert (kept / FILE_NAME).read_bytes() == spoiled
        assert not (runtime.folder(lame) / MARK_NAME).exists()


async def test_a_leader_that_reads_damage_gives_way_to_one_that_has_it_whole(
    tmp_path: Path,
) -> None:
    async with group(tmp_path) as runtime:
        execution = await submitted(runtime.client)
        await runtime.client.result(execution, timeout_s=WAIT_S)
        await runtime.agreed()
        leader = await runtime.leader()
        connection = sqlite3.connect(runtime.folder(leader) / FILE_NAME)
        with connection:
            connection.execute("UPDATE journal SET body = zeroblob(8) WHERE idx = 2")
        connection.close()
        async with asyncio.timeout(WAIT_S):
            found = [entry.index async for entry in runtime.client.events(execution)]
        # Nobody was told of the damage, or served it.
        assert found == list(range(1, len(found) + 1))
        assert await runtime.leader() != leader
        await until(lambda: is_voter(runtime, leader))
        assert runtime.seats[leader].store.id != leader
        await runtime.agreed()
        one, two, three = (contents(runtime, number) for number in (1, 2, 3))
        assert one == two == three


async def test_a_damaged_majority_halts(tmp_path: Path) -> None:
    async with group(tmp_path) as runtime:
        await filled(runtime)
        leader = await runtime.leader()
        others = [seat for seat in (1, 2, 3) if seat != leader]
        for seat in others:
            await runtime.stop_seat(seat)
            spoil(runtime.folder(seat))
        for seat in others:
            await runtime.start_seat(seat)
        writing = asyncio.ensure_future(runtime.client.put_record("n", "after", 1))
        reading = asyncio.ensure_future(runtime.client.record("n", "00"))
        done, _ = await asyncio.wait([writing, reading], timeout=1.5)
        assert not done
        writing.cancel()
        reading.cancel()
        # Nobody took the newcomers in, who know of nothing.
        assert all(runtime.seats[seat].member.applied == 0 for seat in others)
        assert all((runtime.folder(seat) / ASIDE_NAME).exists() for seat in others)


async def test_an_error_that_is_no_damage_condemns_no_disk(tmp_path: Path) -> None:
    async with group(tmp_path) as runtime:
        await filled(runtime)
        await runtime.stop_seat(2)
        assert not condemn(runtime.folder(2), REFUSED)
        assert not put_aside(runtime.folder(2), "1")
        seat = await runtime.start_seat(2)
        assert seat.store.id == 2


def test_a_condemned_file_is_put_aside_whole_though_a_crash_comes_between(tmp_path: Path) -> None:
    for name in (FILE_NAME, f"{FILE_NAME}-wal", f"{FILE_NAME}-shm"):
        (tmp_path / name).write_text(name)
    assert condemn(tmp_path, REFUSED)
    aside = tmp_path / ASIDE_NAME / "7"
    aside.mkdir(parents=True)
    (tmp_path / f"{FILE_NAME}-wal").rename(aside / f"{FILE_NAME}-wal")
    assert put_aside(tmp_path, "7")
    assert sorted(path.name for path in aside.iterdir()) == [
        FILE_NAME,
        f"{FILE_NAME}-shm",
        f"{FILE_NAME}-wal",
    ]
    assert [path.name for path in tmp_path.iterdir()] == [ASIDE_NAME]


def test_only_so_many_damaged_files_are_kept(tmp_path: Path) -> None:
    for number in range(KEPT_MAX + 2):
        (tmp_path / FILE_NAME).write_text("no database")
        assert condemn(tmp_path, REFUSED)
        assert put_aside(tmp_path, f"{number}")
    names = sorted(path.name for path in (tmp_path / ASIDE_NAME).iterdir())
    assert names == [f"{number}" for number in range(2, KEPT_MAX + 2)]


def opened(data_dir: Path, seat: int) -> GroupStore:
    """As a process opens it that was first started while the group was to be formed."""
    return open_store(data_dir, seat, group="g", forming=True, owner="x", clock=ManualClock())


def test_while_a_group_is_formed_its_first_disk_is_nobody_elses(tmp_path: Path) -> None:
    claim_group(tmp_path, 3, "g")
    for seat in (1, 3):
        seat_folder(tmp_path, seat).mkdir(parents=True, exist_ok=True)
        (seat_folder(tmp_path, seat) / FILE_NAME).write_text("no database of ours " * 1_000)
    with pytest.raises(CorruptRecord):
        opened(tmp_path, 1)
    assert not (tmp_path / ASIDE_NAME).exists()
    # The others hold nothing that the first does not.
    newcomer = opened(tmp_path, 3)
    assert newcomer.id != 3
    newcomer.close()
    record_formed(tmp_path)
    for _ in range(2):
        # And it never forms a group of its own any more.
        later = opened(tmp_path, 1)
        assert later.id != 1
        assert later.storage.initial_state()[1].voters == ()
        later.close()
