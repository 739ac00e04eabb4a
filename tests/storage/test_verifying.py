"""Damage is found wherever it is, and all of it; replicas that disagree are told apart."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from omium.errors import NotFound
from omium.execution.commands import WriteRecord
from omium.execution.events import Request
from omium.storage.replica import FILE_NAME
from omium.storage.verifying import damage_in_archive, damage_in_replica, disagreements
from omium.types import DEFAULT_TENANT
from tests.storage.test_shipping import archive_in, past_of, replica_in, shipped, work


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    with replica_in(folder) as replica:
        for number in range(3):
            replica.commit(work(number))
        request = Request(key="k", digest="d")
        replica.commit(
            [WriteRecord(tenant=DEFAULT_TENANT, kind="n", key="r", body=1, request=request)]
        )
    return folder


def raw(folder: Path, statement: str) -> None:
    connection = sqlite3.connect(folder / FILE_NAME, isolation_level=None)
    try:
        connection.execute(statement)
    finally:
        connection.close()


def damage(folder: Path) -> list[str]:
    return [str(error) for error in damage_in_replica(folder / FILE_NAME)]


def test_where_nothing_is_wrong_nothing_is_found(source: Path, tmp_path: Path) -> None:
    assert damage(source) == []
    with pytest.raises(NotFound):
        damage(tmp_path)


@pytest.mark.parametrize(
    ("statement", "named"),
    [
        ("UPDATE journal SET crc = 0 WHERE execution = 'exe_ledger' AND idx = 2", "exe_ledger@2"),
        ("DELETE FROM journal WHERE execution = 'exe_ledger' AND idx = 3", "exe_ledger@3"),
        ("DELETE FROM journal WHERE execution = 'exe_000001'", "exe_000001@1"),
        ("UPDATE executions SET status = 'completed' WHERE id = 'exe_000001'", "exe_000001"),
        ("UPDATE log SET term = 9 WHERE idx = 2", "log@2"),
        ("DELETE FROM log WHERE idx = 2", "log@2"),
        ("UPDATE requests SET idx = 7", "request 'k'"),
        ("UPDATE records SET body = x'32'", "n 'r'"),
        ("UPDATE meta SET value = 3 WHERE key = 'applied'", "meta.applied"),
    ],
)
def test_what_is_wrong_is_named(source: Path, statement: str, named: str) -> None:
    raw(source, statement)
    assert [line for line in damage(source) if named in line]


def test_all_of_it_is_found(source: Path) -> None:
    raw(source, "UPDATE journal SET body = x'00' WHERE execution <> 'exe_ledger'")
    raw(source, "UPDATE log SET term = 9")
    assert len(damage(source)) == 3 + len(work(0)) + len(work(1)) + len(work(2)) + 1


def test_replicas_of_one_group_have_one_past(source: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    with replica_in(other) as replica:
        for number in range(2):
            replica.commit(work(number))
    files = [source / FILE_NAME, other / FILE_NAME]
    # The one lags behind: that is no disagreement.
    assert list(disagreements(files)) == []
    raw(other, "UPDATE journal SET crc = crc + 1 WHERE execution = 'exe_ledger' AND idx = 2")
    (found,) = disagreements(files)
    assert "exe_ledger@2" in str(found)


def test_who_has_applied_more_must_know_more(source: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    with replica_in(other) as replica:
        replica.commit(work(0))
    raw(source, "DELETE FROM journal WHERE execution = 'exe_000000'")
    (found,) = disagreements([source / FILE_NAME, other / FILE_NAME])
    assert "exe_000000: " in str(found)


async def test_an_archive_is_read_whole(source: Path, tmp_path: Path) -> None:
    archive = archive_in(tmp_path)
    with replica_in(source) as replica:
        made = await shipped(archive, source)
        await made.copy()
        replica.commit(work(7))
        await made.step()
        replica.commit(work(8))
        await made.step()
    past = await past_of(archive)
    assert [error async for error in damage_in_archive(archive, past, tmp_path)] == []
    names = [segment.key for segment in past.segments[-2:]]
    (tmp_path / "archive" / names[0]).unlink()
    damaged = tmp_path / "archive" / past.copies[0].key / "000000"
    damaged.write_bytes(damaged.read_bytes()[:-1])
    past = await past_of(archive)
    found = [str(error) async for error in damage_in_archive(archive, past, tmp_path)]
    assert len(found) == 2
    assert past.copies[0].key in found[0]
    assert "missing" in found[1]
