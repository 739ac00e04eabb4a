"""The disks of a group's seats, verified and backed up: also of those that are behind, away or
damaged, and while they are written."""

from __future__ import annotations

import asyncio
import json
import shutil
import sqlite3
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from omium.actors.group.damage import MARK_NAME
from omium.actors.group.opening import claim_group, record_formed, seat_folder
from omium.actors.shards.opening import claim_shard, shard_folder
from omium.cli.records import REPLICA_NAME
from omium.testing.group import InProcessGroup
from tests.cli.conftest import Omium, workflow_of

SEATS = (1, 2, 3)
Work = Callable[["Group"], Coroutine[Any, Any, None]]


class Group(InProcessGroup):
    """A group whose disks are where a data directory has them."""

    def folder(self, seat: int) -> Path:
        return seat_folder(self._directory, seat)

    async def wrote(self, name: str) -> None:
        """Run an execution with a label and write a record, on all disks that are there."""
        execution = await self.client.submit(
            workflow_of("counting", "count"), {"to": 1}, labels={"of": name}
        )
        await self.client.result(execution, timeout_s=20)
        await self.client.put_record("n", name, name)
        await self.agreed()

    async def _stop_coordinators(self) -> None:
        # The leader last: the others would elect one more, and some of them have applied that.
        leader = await self.leader()
        for seat in sorted(self.seats, key=lambda seat: seat == leader):
            await self.stop_seat(seat)
        await super()._stop_coordinators()


def made(data: Path, work: Work) -> None:
    """A data directory of a group, in which ``work`` was done."""

    async def run() -> None:
        async with Group(data) as group:
            await work(group)

    data.mkdir(parents=True, exist_ok=True)
    claim_group(data, len(SEATS), "tested")
    asyncio.run(run())
    record_formed(data)


async def alike(group: Group) -> None:
    await group.wrote("a")


def left_behind(seat: int) -> Work:
    """What is done last is done without that seat."""

    async def work(group: Group) -> None:
        await group.wrote("a")
        await group.stop_seat(seat)
        await group.leader()
        await group.wrote("b")

    return work


def raw(data: Path, seat: int, statement: str) -> list[Any]:
    connection = sqlite3.connect(seat_folder(data, seat) / REPLICA_NAME, isolation_level=None)
    try:
        return connection.execute(statement).fetchall()
    finally:
        connection.close()


def applied(data: Path, seat: int) -> int:
    return raw(data, seat, "SELECT value FROM meta WHERE key = 'applied'")[0][0]


def test_each_seat_is_read_and_one_that_is_behind_is_no_damage(
    omium: Omium, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    made(data, left_behind(2))
    told = omium("verify", "--data-dir", data)
    assert told.exit_code == 0, told.stdout
    end, behind = applied(data, 1), applied(data, 1) - applied(data, 2)
    lines = told.stdout.splitlines()
    assert lines[0] == f"seat 1: applied up to entry {end}"
    assert lines[1].startswith(f"seat 2: applied up to entry {end - behind}")
    assert lines[1].endswith(f"; {behind} behind")
    assert lines[2] == f"seat 3: applied up to entry {end}"
    assert lines[3:] == ["OK: no damage; 3 of 3 seats read and compared"]

    machines = json.loads(omium("verify", "--data-dir", data, "--json").stdout)
    assert (machines["replicas"], machines["damage"]) == (3, [])
    assert [(s["shard"], s["seat"], s["applied"]) for s in machines["seats"]] == [
        (0, seat, applied(data, seat)) for seat in SEATS
    ]
    assert all(s["last"] >= s["applied"] and s["trouble"] == "" for s in machines["seats"])


def test_seats_that_disagree_are_named(omium: Omium, tmp_path: Path) -> None:
    data = tmp_path / "data"
    made(data, alike)
    raw(data, 3, "UPDATE labels SET value = 'other'")
    found = omium("verify", "--data-dir", data)
    assert found.exit_code == 7
    one, two = [line for line in found.stdout.splitlines() if "differ" in line]
    assert one.startswith("corrupt record labels: ex_")
    assert one.endswith(": seat 1 and seat 3 differ")
    assert two.endswith(": seat 2 and seat 3 differ")
    damage = json.loads(omium("verify", "--data-dir", data, "--json").stdout)["damage"]
    assert damage == [one, two]


def test_what_is_damaged_in_one_seat_is_told_with_its_number(omium: Omium, tmp_path: Path) -> None:
    data = tmp_path / "data"
    made(data, alike)
    raw(data, 2, "UPDATE records SET body = x'32'")
    (seat_folder(data, 3) / REPLICA_NAME).write_text("no database of ours " * 1_000)
    found = omium("verify", "--data-dir", data)
    assert found.exit_code == 7
    assert "seat 3: damaged\n" in found.stdout
    assert "seat 2: corrupt record n 'a': " in found.stdout
    assert "seat 3: corrupt record " in found.stdout
    assert "records: n a: seat 1 and seat 2 differ" in found.stdout


def test_a_seat_without_a_disk_here_is_told(omium: Omium, tmp_path: Path) -> None:
    data = tmp_path / "data"
    made(data, alike)
    shutil.rmtree(seat_folder(data, 2))
    told = omium("verify", "--data-dir", data)
    assert told.exit_code == 0, told.stdout
    assert "seat 2: no disk here\n" in told.stdout
    assert told.stdout.endswith("OK: no damage; 2 of 3 seats read and compared\n")
    claim_group(data, 3, "tested", ("10.0.0.1", "10.0.0.2", "10.0.0.3"))
    told = omium("verify", "--data-dir", data)
    assert "seat 2: no disk here; it belongs to node 10.0.0.2\n" in told.stdout
    # On another node, where nothing is but its own seat.
    shutil.move(seat_folder(data, 3), seat_folder(tmp_path / "there", 3))
    there = omium("verify", "--data-dir", tmp_path / "there")
    assert there.exit_code == 0, there.stderr
    assert there.stdout.splitlines()[0] == "seat 1: no disk here"
    assert "seat 3: applied up to entry" in there.stdout
    assert omium("verify", "--data-dir", tmp_path / "none").exit_code == 2


def test_a_seat_that_is_condemned_counts_as_damaged(omium: Omium, tmp_path: Path) -> None:
    data = tmp_path / "data"
    made(data, alike)
    (seat_folder(data, 1) / MARK_NAME).write_text("log@2")
    found = omium("verify", "--data-dir", data)
    assert found.exit_code == 7
    assert "seat 1: damaged\n" in found.stdout
    assert "it was found damaged, and is to be put aside" in found.stdout
    kept = omium("backup", tmp_path / "archive", "--data-dir", data)
    assert kept.exit_code == 0, kept.stderr
    assert "from the disk of seat 2" in kept.stdout


async def test_seats_are_compared_while_they_are_written(omium: Omium, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    claim_group(data, len(SEATS), "tested")
    async with Group(data) as group:
        ended = asyncio.Event()

        async def write() -> int:
            number = 0
            while not ended.is_set():
                await group.client.put_record("n", f"{number % 7}", number)
                number += 1
            return number

        writing = asyncio.create_task(write())
        for _ in range(5):
            told = await asyncio.to_thread(omium, "verify", "--data-dir", data)
            assert told.exit_code == 0, told.stdout
            assert told.stdout.endswith("OK: no damage; 3 of 3 seats read and compared\n")
        ended.set()
        assert await writing > 0


def test_the_seats_of_every_shard_are_compared(omium: Omium, tmp_path: Path) -> None:
    data = tmp_path / "data"
    for shard in range(2):
        claim_shard(shard_folder(data, shard), shard, 2)
        made(shard_folder(data, shard), alike if shard == 0 else left_behind(1))
    told = omium("verify", "--data-dir", data, "--json")
    seats = json.loads(told.stdout)["seats"]
    assert [(s["shard"], s["seat"]) for s in seats] == [(n, s) for n in range(2) for s in SEATS]
    kept = json.loads(omium("backup", tmp_path / "a", "--data-dir", data, "--json").stdout)
    assert [part["seat"] for part in kept["shards"]] == [1, 2]
    raw(shard_folder(data, 1), 3, "UPDATE labels SET value = 'other'")
    found = omium("verify", "--data-dir", data)
    assert found.exit_code == 7
    assert "shard 1, seat 2 and shard 1, seat 3 differ" in found.stdout
    assert "shard 0, seat 1: applied up to entry" in found.stdout


def test_the_seat_that_is_furthest_is_backed_up(omium: Omium, tmp_path: Path) -> None:
    data, archive = tmp_path / "data", tmp_path / "archive"
    made(data, left_behind(1))
    assert applied(data, 1) < applied(data, 2)
    kept = omium("backup", archive, "--data-dir", data)
    assert kept.exit_code == 0, kept.stderr
    assert f"up to entry {applied(data, 2)}, from the disk of seat 2: 2 executions" in kept.stdout
    told = json.loads(omium("backup", archive, "--data-dir", data, "--json").stdout)
    assert (told["seat"], told["index"], told["executions"]) == (2, applied(data, 2), 2)
    back = omium("restore", "--from", archive, "--data-dir", tmp_path / "there")
    assert back.exit_code == 0, back.stderr
    assert raw(tmp_path / "there", 1, "SELECT key FROM records ORDER BY key") == [("a",), ("b",)]


@pytest.mark.parametrize("lost", ["damaged", "gone"])
def test_a_first_seat_that_cannot_be_read_is_passed_over(
    omium: Omium, tmp_path: Path, lost: str
) -> None:
    data = tmp_path / "data"
    made(data, alike)
    (data / REPLICA_NAME).unlink()
    if lost == "damaged":
        (data / REPLICA_NAME).write_text("no database of ours " * 1_000)
    kept = omium("backup", tmp_path / "archive", "--data-dir", data)
    assert kept.exit_code == 0, kept.stderr
    assert "from the disk of seat 2" in kept.stdout
    assert "seat 1 is not read: " in kept.stderr
    for seat in (2, 3):
        (seat_folder(data, seat) / REPLICA_NAME).write_text("no database of ours " * 1_000)
    none = omium("backup", tmp_path / "archive", "--data-dir", data)
    assert none.exit_code == 7
    assert REPLICA_NAME in none.stderr
