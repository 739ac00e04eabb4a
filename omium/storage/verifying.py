"""Looking for damage: every checksum of a replica, of blobs and of an archive, and whether
replicas of one group agree. Reads beside whoever is writing, changes nothing, and goes on after
what it finds.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import closing
from itertools import combinations
from pathlib import Path

from omium.errors import CorruptBlob, CorruptRecord, NotFound, OmiumError
from omium.storage.archive import Archive, Past
from omium.storage.blobs import BLOB_BYTES_MAX, HEADER_BYTES, ObjectStore, ref_in, unpack
from omium.storage.catalog import damaged_in_catalog
from omium.storage.journal import Journal
from omium.storage.outbox import damaged_in_outbox
from omium.storage.raft_store import entry_of, raft_state_in
from omium.storage.sqlite import applied_in, open_reader, translated

PAGE = 500


def damage_in_replica(path: Path) -> Iterator[OmiumError]:
    """Everything in the replica file ``path`` that is not what was written.

    Raises ``NotFound`` where there is none, and ``CorruptRecord`` for a file that cannot be
    opened at all.
    """
    if not path.exists():
        raise NotFound("replica", str(path), "nothing has run in this data directory yet")
    connection = open_reader(path)
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


def executions_in(path: Path) -> int:
    """How many executions a replica holds."""
    with closing(Journal.open(path)) as journal:
        return sum(journal.counts().values())


def disagreements(paths: Sequence[Path]) -> Iterator[CorruptRecord]:
    """Where the journals of two replicas differ, as far as both go: one group has one past."""
    for one, other in combinations(paths, 2):
        yield from _disagreements(one, other)


def _disagreements(one: Path, other: Path) -> Iterator[CorruptRecord]:
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
            for execution, index in rows:
                yield CorruptRecord(f"{execution}@{index}", f"{one} and {other} differ")
            yield from _lacking(connection, one, other)
    finally:
        connection.close()


def _lacking(connection: sqlite3.Connection, one: Path, other: Path) -> Iterator[CorruptRecord]:
    """Executions of which the replica that has applied less knows more."""
    applied = {
        name: connection.execute(f"SELECT value FROM {name}.meta WHERE key = 'applied'").fetchone()[
            0
        ]
        for name in ("main", "other")
    }
    behind, ahead = ("main", "other") if applied["main"] <= applied["other"] else ("other", "main")
    names = {"main": one, "other": other}
    for (execution,) in connection.execute(
        f"SELECT execution FROM {behind}.journal GROUP BY execution HAVING max(idx) > ("
        f"SELECT coalesce(max(idx), 0) FROM {ahead}.journal AS more "
        f"WHERE more.execution = {behind}.journal.execution)"
    ):
        yield CorruptRecord(
            execution, f"{names[ahead]} has applied more than {names[behind]}, and lacks some of it"
        )


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
