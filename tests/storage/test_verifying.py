"""Damage is found wherever it is, and all of it; replicas that disagree are told apart."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from omium.errors import NotFound
from omium.execution.blobref import BlobRef
from omium.execution.commands import WriteRecord
from omium.execution.events import Append, Request, Signalled
from omium.execution.records import Payload
from omium.storage.blobs import BlobStore, blob_key
from omium.storage.object_urls import open_object_store
from omium.storage.replica import FILE_NAME
from omium.storage.verifying import (
    Reach,
    damage_in_archive,
    damage_in_blobs,
    damage_in_replica,
    disagreements,
    missing_blobs,
    reach_of,
)
from omium.types import DEFAULT_TENANT
from tests.storage.replica_child import LEDGER
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
    files = {"one": source / FILE_NAME, "two": other / FILE_NAME}
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
    (found,) = disagreements({"one": source / FILE_NAME, "two": other / FILE_NAME})
    assert str(found).endswith("exe_000000: one has applied more than two, and lacks some of it")


@pytest.mark.parametrize(
    ("statement", "named"),
    [
        ("UPDATE log SET body = x'00' WHERE idx = 2", "log@2"),
        (
            "UPDATE executions SET detail = 'other' WHERE id = 'exe_000001'",
            "executions: exe_000001",
        ),
        ("DELETE FROM executions WHERE id = 'exe_000001'", "executions: exe_000001"),
        ("INSERT INTO labels VALUES ('default', 'a', 'b', 'exe_000001')", "labels: exe_000001"),
        ("UPDATE requests SET digest = 'other'", "requests: k"),
        ("UPDATE records SET body = x'32'", "records: n r"),
        ("DELETE FROM records", "records: n r"),
    ],
)
def test_what_one_of_two_replicas_has_otherwise_is_named(
    source: Path, tmp_path: Path, statement: str, named: str
) -> None:
    other = tmp_path / "other"
    shutil.copytree(source, other)
    files = {"one": source / FILE_NAME, "two": other / FILE_NAME}
    assert list(disagreements(files)) == []
    raw(other, statement)
    (found,) = disagreements(files)
    assert str(found) == f"corrupt record {named}: one and two differ"


def test_one_that_cannot_be_read_is_told_and_the_others_are_compared(
    source: Path, tmp_path: Path
) -> None:
    folders = {"one": source, "two": tmp_path / "two", "three": tmp_path / "three"}
    for name in ("two", "three"):
        shutil.copytree(source, folders[name])
    raw(folders["two"], "UPDATE meta SET crc = 0")
    raw(folders["three"], "UPDATE log SET body = x'00' WHERE idx = 2")
    replicas = {name: folder / FILE_NAME for name, folder in folders.items()}
    found = [str(error) for error in disagreements(replicas)]
    assert [line.partition(": ")[0] for line in found] == [
        "corrupt record one and two",
        "corrupt record log@2",
        "corrupt record two and three",
    ]


def test_how_far_a_replica_is(source: Path, tmp_path: Path) -> None:
    with replica_in(source) as replica:
        applied = replica.applied
    assert reach_of(source / FILE_NAME) == Reach(applied=applied, last=applied)
    # As a member's that holds what it has not been told to be committed.
    raw(source, "UPDATE log SET idx = idx + 2 WHERE idx = (SELECT max(idx) FROM log)")
    assert reach_of(source / FILE_NAME) == Reach(applied=applied, last=applied + 2)
    with pytest.raises(NotFound):
        reach_of(tmp_path / FILE_NAME)


PLACES = {
    "log": ("SELECT idx FROM log", "idx = ?", "log@{}"),
    "journal": (
        "SELECT idx FROM journal WHERE execution = 'exe_ledger'",
        "idx = ?",
        "exe_ledger@{}",
    ),
    "records": ("SELECT key FROM records", "key = ?", "n '{}'"),
}
"""Where a bit may flip: the rows, which one it is, and by what it is to be told."""


@given(table=st.sampled_from(sorted(PLACES)), row=st.integers(0), bit=st.integers(0))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_bit_that_flips_in_one_replica_is_found_and_told_where(
    source: Path, tmp_path_factory: pytest.TempPathFactory, table: str, row: int, bit: int
) -> None:
    other = tmp_path_factory.mktemp("flipped") / "other"
    shutil.copytree(source, other)
    rows, which, name = PLACES[table]
    connection = sqlite3.connect(other / FILE_NAME, isolation_level=None)
    keys = connection.execute(rows).fetchall()
    (key,) = keys[row % len(keys)]
    where = f"{which} AND execution = 'exe_ledger'" if table == "journal" else which
    (body,) = connection.execute(f"SELECT body FROM {table} WHERE {where}", (key,)).fetchone()
    flipped = bytearray(body)
    flipped[bit // 8 % len(body)] ^= 1 << bit % 8
    connection.execute(f"UPDATE {table} SET body = ? WHERE {where}", (bytes(flipped), key))
    connection.close()
    assert [line for line in damage(other) if name.format(key) in line]
    assert damage(source) == []


async def test_blobs_are_read_and_those_that_are_missing_are_named(tmp_path: Path) -> None:
    store = open_object_store(str(tmp_path / "blobs"))
    blobs = BlobStore(store)
    kept = await blobs.put_json("kept", tenant=DEFAULT_TENANT)
    damaged = await blobs.put_json("damaged", tenant=DEFAULT_TENANT)
    lost = BlobRef(digest="sha256:" + "0" * 64, size=3)
    folder = tmp_path / "source"
    with replica_in(folder) as replica:
        replica.commit(work(0))
        for ref in (kept, damaged, lost, lost):
            signalled = Signalled(name="s", payload=Payload(blob=ref))
            replica.commit([Append(execution_id=LEDGER, events=(signalled,))])
    found = [error async for error in missing_blobs(store, folder / FILE_NAME)]
    (index,) = {error.hint for error in found}
    assert [error.name for error in found] == [f"{DEFAULT_TENANT}/blobs/00/{'0' * 62}"]
    assert index.startswith(f"{LEDGER}@")
    assert [e async for _, e in damage_in_blobs(store, [DEFAULT_TENANT]) if e is not None] == []
    key = blob_key(damaged, tenant=DEFAULT_TENANT)
    file = tmp_path / "blobs" / key
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    (error,) = [e async for _, e in damage_in_blobs(store, [DEFAULT_TENANT]) if e is not None]
    assert key in str(error)


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
