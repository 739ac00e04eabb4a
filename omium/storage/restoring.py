"""Rebuilding a replica from an archive.

The state comes from a copy of the database and from the entries that follow it, which are
carried out anew by the very code that carried them out before. Nothing is overwritten: the
database appears in its place whole, or not at all.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec

from omium.consensus import Entry, EntryType
from omium.errors import Conflict, CorruptRecord, InvariantBroken, NotFound
from omium.execution.commands import decode_command
from omium.storage.archive import Archive, Past, Way
from omium.storage.replica import FILE_NAME, Replica
from omium.storage.sqlite import translated
from omium.types import Status

_DRAFT = "restoring"


class Restored(msgspec.Struct, frozen=True, kw_only=True):
    """What came of it: the ``replica`` and the last index of its log, entries carried out after
    the copy, and how many executions are in each status."""

    replica: str
    index: int
    copy_index: int
    replayed: int
    executions: dict[Status, int]


async def choose(archive: Archive, replica: str | None) -> Past:
    """What there is of ``replica``, or of the only one. Raises ``NotFound`` and ``Conflict``."""
    pasts = await archive.pasts()
    if not pasts:
        raise NotFound("archive", "there", "nothing was ever shipped or backed up to it")
    if replica is not None:
        for past in pasts:
            if past.claim.replica == replica:
                return past
    elif len(pasts) == 1:
        return pasts[0]
    listed = "; ".join(f"{past.claim.replica}, up to {past.end}" for past in pasts)
    if replica is not None:
        raise NotFound("history", replica, f"there are {listed}")
    raise Conflict(f"the archive holds the histories of several replicas, name one: {listed}")


async def restore(
    archive: Archive,
    past: Past,
    directory: Path,
    *,
    index: int | None = None,
    report: Callable[[int, int], None] | None = None,
    before: Callable[[Path], Awaitable[None]] | None = None,
) -> Restored:
    """Rebuild the replica of ``past`` in ``directory``, up to ``index`` or as far as can be.

    ``before`` is called with the whole file before it is in its place: for what must be there
    first, such as the blobs that it names. ``report`` is told how many entries were carried out,
    and of how many. Raises ``Conflict`` where there is a replica already, ``CorruptRecord`` where
    the archive is damaged.
    """
    target = directory / FILE_NAME
    if await asyncio.to_thread(target.exists):
        raise Conflict(f"there is a replica in {directory} already: it is not overwritten")
    way = past.way_to(index)
    if way.start is None and not way.steps:
        raise NotFound("entry", str(index or 1), "the archive begins later")
    draft = directory / _DRAFT
    with translated(directory):
        await asyncio.to_thread(shutil.rmtree, draft, ignore_errors=True)
        await asyncio.to_thread(draft.mkdir, parents=True, mode=0o700)
    try:
        restored = await _rebuild(archive, past, way, draft, report)
        if before is not None:
            await before(draft / FILE_NAME)
        with translated(directory):
            await asyncio.to_thread(_put_in_place, draft / FILE_NAME, target)
    finally:
        await asyncio.to_thread(shutil.rmtree, draft, ignore_errors=True)
    return restored


async def _rebuild(
    archive: Archive,
    past: Past,
    way: Way,
    draft: Path,
    report: Callable[[int, int], None] | None,
) -> Restored:
    copy_index = way.start.index if way.start is not None else 0
    if way.start is not None:
        await archive.fetch_copy(way.start, draft / FILE_NAME)
        await asyncio.to_thread(_make_ones_own, draft / FILE_NAME)
    replica = Replica.open(draft, owner="omium restore")
    try:
        if replica.applied != copy_index:
            raise CorruptRecord(str(way.start), f"it is of index {replica.applied}")
        for step in way.steps:
            entries = [e for e in await archive.segment(step) if e.index > replica.applied]
            await asyncio.to_thread(_carry_out, replica, entries)
            if report is not None:
                report(replica.applied - copy_index, way.end - copy_index)
        if replica.applied != way.end:
            raise InvariantBroken(f"restored to {replica.applied} instead of {way.end}")
        return Restored(
            replica=past.claim.replica,
            index=replica.applied,
            copy_index=copy_index,
            replayed=replica.applied - copy_index,
            executions=replica.journal.counts(),
        )
    finally:
        replica.close()


def _make_ones_own(path: Path) -> None:
    """Make a copy of a member's database that of a replica which is alone, and whose log begins
    after what it has applied."""
    with translated(path):
        connection = sqlite3.connect(path, isolation_level=None)
        try:
            problems = [row[0] for row in connection.execute("PRAGMA quick_check")]
            if problems != ["ok"]:
                raise CorruptRecord(str(path), "; ".join(problems[:3]))
            connection.executescript("BEGIN; DELETE FROM log; DELETE FROM raft; COMMIT;")
        finally:
            connection.close()


def _carry_out(replica: Replica, entries: list[Entry]) -> None:
    if not entries:
        return
    if entries[0].index != replica.applied + 1:
        raise CorruptRecord(f"log@{replica.applied + 1}", "missing in the archive")
    commands = [
        decode_command(entry.data, f"log@{entry.index}")
        for entry in entries
        if entry.type is EntryType.NORMAL and entry.data
    ]
    # Synced once, at the end: until then there is nothing that could be lost.
    with replica.transaction(sync=False):
        replica.carry_out(commands, entries[-1].index)


def _put_in_place(source: Path, target: Path) -> None:
    with source.open("rb+") as file:
        os.fsync(file.fileno())
    source.replace(target)
    directory = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
