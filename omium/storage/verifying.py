"""Looking for damage: every checksum of a replica, of blobs and of an archive, whether every blob
that is named is there, and whether replicas of one group agree. Reads beside whoever is writing,
changes nothing, and goes on after what it finds.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from itertools import combinations
from pathlib import Path

import msgspec

from omium.errors import CorruptBlob, CorruptRecord, NotFound, OmiumError
from omium.execution.blobref import BlobRef
from omium.storage.archive import Archive, Past
from omium.storage.blobs import BLOB_BYTES_MAX, blob_key
from omium.storage.catalog import damaged_in_catalog
from omium.storage.journal import Journal
from omium.storage.objects import ObjectStore
from omium.storage.outbox import damaged_in_outbox
from omium.storage.packing import HEADER_BYTES, ref_in, unpack
from omium.storage.raft_store import entry_of, raft_state_in
from omium.storage.sqlite import applied_in, open_reader, translated
from omium.types import ExecutionId, TenantId

PAGE = 500


def damage_in_replica(path: Path) -> Iterator[OmiumError]:
    """Everything in the replica file ``path`` that is not what was written.

    Raises ``NotFound`` where there is none, and ``CorruptRecord`` for a file that cannot be
    opened at all.
    """
    connection = _opened(path)
    try:
        with translated(path):
            # One read transaction: all of it is of one moment.
            connection.execute("BEGIN")
            for (problem,) in connection.execute("PRAGMA integrity_check"):
                if problem != "ok":
                    yield CorruptRecord(str(path), problem)
            try:
                applied_in(connection, path)
            except CorruptRecord as error:
                yield error
            yield from _damage_in_log(connection)
            yield from _damage_in_journals(connection, path)
            yield from damaged_in_catalog(connection)
            yield from damaged_in_outbox(connection)
    finally:
        connection.close()


def _damage_in_log(connection: sqlite3.Connection) -> Iterator[OmiumError]:
    compacted, _ = raft_state_in(connection)
    expected: int | None = compacted.index + 1 if compacted.index else None
    for row in connection.execute("SELECT idx, term, type, body, crc FROM log ORDER BY idx"):
        try:
            entry_of(row, row[0] if expected is None else expected)
        except CorruptRecord as error:
            yield error
        expected = row[0] + 1


def _damage_in_journals(connection: sqlite3.Connection, path: Path) -> Iterator[OmiumError]:
    journal = Journal(connection, path)
    for (execution,) in connection.execute(
        "SELECT id FROM executions UNION SELECT DISTINCT execution FROM journal ORDER BY 1"
    ).fetchall():
        try:
            journal.executions(tenant=None, execution_id=execution)
            if journal.fold(execution) is None:
                yield CorruptRecord(f"{execution}@1", "missing")
        except CorruptRecord as error:
            yield error


class Reach(msgspec.Struct, frozen=True, kw_only=True):
    """How far a replica has come: the last index of the log that it has ``applied``, and the last
    that it holds. What is between is not known to be committed."""

    applied: int
    last: int


def reach_of(path: Path) -> Reach:
    """How far the replica in the file ``path`` is. Raises as ``damage_in_replica``."""
    with closing(_opened(path)) as connection, translated(path):
        # One read transaction: both are of one moment.
        connection.execute("BEGIN")
        applied = applied_in(connection, path)
        (newest,) = connection.execute("SELECT max(idx) FROM log").fetchone()
    return Reach(applied=applied, last=max(newest or 0, applied))


def _opened(path: Path) -> sqlite3.Connection:
    if not path.exists():
        raise NotFound("replica", str(path), "nothing has run in this data directory yet")
    return open_reader(path)


def executions_in(path: Path) -> int:
    """How many executions a replica holds."""
    with closing(Journal.open(path)) as journal:
        return sum(journal.counts().values())


_APPLIED = {
    "executions": "id",
    "labels": "execution",
    "requests": "key",
    "records": "kind || ' ' || key",
    "outbox": "webhook || ' ' || execution",
}
"""What the log gave beside the journals, and by what a row of it is told to people."""


def disagreements(replicas: Mapping[str, Path]) -> Iterator[CorruptRecord]:
    """Where two replicas differ: in the journals and in what is committed of the log as far as both
    go, and in all that was applied where both have applied the same. One group has one past.

    They are told by their names in ``replicas``. Each is read as it is at one moment, so that they
    may be written meanwhile: one that is behind another differs in nothing.
    """
    for one, other in combinations(replicas, 2):
        try:
            yield from _disagreements((one, other), replicas[one], replicas[other])
        except CorruptRecord as error:
            yield CorruptRecord(f"{one} and {other}", f"they cannot be compared: {error.reason}")


def _disagreements(names: tuple[str, str], one: Path, other: Path) -> Iterator[CorruptRecord]:
    connection = open_reader(one)
    try:
        with translated(one):
            connection.execute(
                "ATTACH DATABASE ? AS other", (f"{other.absolute().as_uri()}?mode=ro",)
            )
            connection.execute("BEGIN")
            rows = connection.execute(
                "SELECT mine.execution, min(mine.idx) FROM main.journal AS mine "
                "JOIN other.journal AS theirs USING (execution, idx) "
                "WHERE mine.crc <> theirs.crc GROUP BY mine.execution ORDER BY mine.execution"
            )
            differ = f"{names[0]} and {names[1]} differ"
            for execution, index in rows:
                yield CorruptRecord(f"{execution}@{index}", differ)
            applied = {name: applied_in(connection, one, schema=name) for name in ("main", "other")}
            for (index,) in connection.execute(
                "SELECT mine.idx FROM main.log AS mine JOIN other.log AS theirs USING (idx) "
                "WHERE mine.idx <= ? AND (mine.term, mine.type, mine.body) IS NOT "
                "(theirs.term, theirs.type, theirs.body) ORDER BY mine.idx",
                (min(applied.values()),),
            ):
                yield CorruptRecord(f"log@{index}", differ)
            if applied["main"] == applied["other"]:
                yield from _differing_rows(connection, differ)
            yield from _lacking(connection, applied, names)
    finally:
        connection.close()


def _differing_rows(connection: sqlite3.Connection, differ: str) -> Iterator[CorruptRecord]:
    """Rows that only one of two replicas has, of those that have applied the same."""
    for table, name in _APPLIED.items():
        sides = (("main", "other"), ("other", "main"))
        only = " UNION ".join(
            f"SELECT {name} FROM (SELECT * FROM {mine}.{table} EXCEPT "
            f"SELECT * FROM {theirs}.{table})"
            for mine, theirs in sides
        )
        for (row,) in connection.execute(f"{only} ORDER BY 1"):
            yield CorruptRecord(f"{table}: {row}", differ)


def _lacking(
    connection: sqlite3.Connection, applied: Mapping[str, int], names: tuple[str, str]
) -> Iterator[CorruptRecord]:
    """Executions of which the replica that has applied less knows more."""
    behind, ahead = ("main", "other") if applied["main"] <= applied["other"] else ("other", "main")
    called = dict(zip(("main", "other"), names, strict=True))
    lacks = f"{called[ahead]} has applied more than {called[behind]}, and lacks some of it"
    for (execution,) in connection.execute(
        f"SELECT execution FROM {behind}.journal GROUP BY execution HAVING max(idx) > ("
        f"SELECT coalesce(max(idx), 0) FROM {ahead}.journal AS more "
        f"WHERE more.execution = {behind}.journal.execution)"
    ):
        yield CorruptRecord(execution, lacks)


async def damage_in_blobs(
    objects: ObjectStore, tenants: Sequence[str]
) -> AsyncIterator[tuple[int, OmiumError | None]]:
    """Read every blob of ``tenants``: how many have been read, and what is wrong with that one."""
    read = 0
    for tenant in tenants:
        for key in await objects.keys(f"{tenant}/blobs"):
            body = await objects.read(key, bytes_max=HEADER_BYTES + BLOB_BYTES_MAX)
            read += 1
            if body is None:
                continue  # removed since it was listed
            yield read, await asyncio.to_thread(_damage, key, body)


async def missing_blobs(objects: ObjectStore, path: Path) -> AsyncIterator[NotFound]:
    """The blobs that the journals of the replica in ``path`` name and the store does not hold, each
    once, with the first entry that names it. Executions that cannot be read are passed over: that
    they cannot is told by ``damage_in_replica``."""
    asked: set[str] = set()
    for execution, tenant in await asyncio.to_thread(_executions, path):
        for where, ref in await asyncio.to_thread(_refs, path, execution):
            key = blob_key(ref, tenant=tenant)
            if key in asked:
                continue
            asked.add(key)
            if await objects.size(key) is None:
                yield NotFound("blob", key, f"{where} names it")


def _executions(path: Path) -> list[tuple[ExecutionId, TenantId]]:
    with closing(open_reader(path)) as connection, translated(path):
        return connection.execute("SELECT id, tenant FROM executions ORDER BY id").fetchall()


def _refs(path: Path, execution: ExecutionId) -> list[tuple[str, BlobRef]]:
    found: list[tuple[str, BlobRef]] = []
    with closing(Journal.open(path)) as journal, suppress(CorruptRecord):
        for entry in journal.all_entries(execution):
            found += [(f"{execution}@{entry.index}", ref) for ref in _refs_in(entry.event)]
    return found


def _refs_in(value: object) -> Iterator[BlobRef]:
    """Every reference to a blob in a record, however deep. What users store is none of it."""
    if isinstance(value, BlobRef):
        yield value
    elif isinstance(value, msgspec.Struct):
        for field in msgspec.structs.fields(value):
            yield from _refs_in(getattr(value, field.name))
    elif isinstance(value, tuple | list):
        for item in value:
            yield from _refs_in(item)
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _refs_in(item)


def _damage(key: str, body: bytes) -> OmiumError | None:
    try:
        ref = ref_in(body)
        unpack(body, ref)
    except CorruptBlob as error:
        return CorruptRecord(key, error.reason)
    digest = ref.digest.removeprefix("sha256:")
    if not key.endswith(f"/{digest[:2]}/{digest[2:]}"):
        return CorruptRecord(key, f"it holds {ref.digest}")
    return None


async def damage_in_archive(
    archive: Archive, past: Past, scratch: Path
) -> AsyncIterator[OmiumError]:
    """Read everything of ``past``: what is damaged, and what is missing between its segments."""
    for copy in past.copies:
        try:
            await archive.fetch_copy(copy, scratch / "copy.sqlite")
        except (CorruptRecord, NotFound) as error:
            yield error
    end = past.copies[0].index if past.copies else 0
    for segment in past.segments:
        if segment.first > end + 1:
            yield CorruptRecord(f"log@{end + 1}", f"missing; {segment.key} comes next")
        try:
            await archive.segment(segment)
        except (CorruptRecord, NotFound) as error:
            yield error
        end = max(end, segment.upto, *(c.index for c in past.copies if c.index <= segment.upto))
