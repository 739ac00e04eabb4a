"""Shipping: bring what a replica has committed into an archive, in order, beside its writer.
And blobs from one store into another.

Entries of the log are read as they lie in the database, so nothing has to be told to ship. Where
some were trimmed before they could be shipped, a copy of the database takes their place. Decides
nothing about when; see ``omium.actors.shipper``.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from omium.clock import Clock
from omium.consensus import Entry
from omium.errors import Conflict, InvariantBroken
from omium.storage.archive import Archive, Base, Claim
from omium.storage.blobs import BLOB_BYTES_MAX
from omium.storage.objects import ObjectStore
from omium.storage.packing import HEADER_BYTES, ref_in, unpack
from omium.storage.private_file import kept
from omium.storage.raft_store import entry_of, identity_in
from omium.storage.sqlite import applied_in, copied, open_reader, translated

SEGMENT_ENTRIES_MAX = 2_048
SEGMENT_BYTES_MAX = 4 * 1024 * 1024
COPY_AFTER_BYTES = 64 * 1024 * 1024
"""A copy is due once the segments since the last one are larger than this, and than that copy:
so copies at most double what is shipped, and rebuilding never takes long."""

ID_NAME = "archive-id"
_SCRATCH = "shipping-"


def lasting_id(path: Path, clock: Clock) -> str:
    """By what name the replica in the file ``path`` goes in archives: its group's, or one that
    is made once and stays with its directory."""
    with closing(open_reader(path)) as connection:
        identity = identity_in(connection)
    if identity is not None:
        return identity.group
    return kept(path.with_name(ID_NAME), lambda: clock.new_id("rep").encode()).decode()


class Shipment:
    """One writer's shipping of the replica in the file ``path``. ``replica`` is its lasting id.

    Every method raises ``BlobStoreError`` and what else the archive and SQLite raise; ``step``
    may then be called again. ``begin`` and ``step`` raise ``Conflict`` for good.
    """

    def __init__(
        self, archive: Archive, path: Path, *, replica: str, clock: Clock, copies_kept: int = 2
    ) -> None:
        """Of the copies in the archive the newest ``copies_kept`` stay, and what follows them."""
        self._archive = archive
        self._copies_kept = copies_kept
        self._path = path
        self._replica = replica
        self._clock = clock
        self._claim: Claim | None = None
        self._since_copy = 0
        self._copy_bytes = 0
        self._copied = False
        self.shipped = 0
        """The last index that the archive holds."""

    async def begin(self) -> None:
        """Claim the archive, and find out where to go on.

        Raises ``Conflict`` where it holds more of this replica than the replica itself, which
        was then put back to an earlier state: shipping would bury what is missing.
        """
        await asyncio.to_thread(sweep, self._path)
        claim = await self._archive.claim(self._replica, self._clock.now_ms())
        past = await self._archive.past(self._replica)
        end = past.end if past is not None else 0
        applied, _ = await asyncio.to_thread(_read, self._path, end)
        if end > applied:
            raise Conflict(
                f"the archive holds {end} entries of this data directory, which has {applied}: "
                "it was put back to an earlier state; `omium restore` brings the later one"
            )
        base = Base(parent=past.claim.number, upto=end) if past is not None else Base()
        await self._archive.set_base(claim, base)
        self._claim, self.shipped = claim, end
        self._copied = past is not None and bool(past.copies)

    async def step(self) -> bool:
        """Ship the next entries, or a copy where one is due. Whether anything was left to ship."""
        if self._claim is None:
            raise InvariantBroken("nothing is shipped before the archive was claimed")
        applied, entries = await asyncio.to_thread(_read, self._path, self.shipped)
        if applied <= self.shipped:
            return False
        if not entries or entries[0].index != self.shipped + 1:
            await self.copy()
            return True
        self._since_copy += await self._archive.put_segment(self._claim, entries)
        await self._check_claim(self._claim)
        self.shipped = entries[-1].index
        if self._since_copy > max(COPY_AFTER_BYTES, self._copy_bytes):
            await self.copy()
        return True

    async def copy(self) -> None:
        """Ship a copy of the whole database, and remove what it makes needless."""
        claim = self._claim
        if claim is None:
            raise InvariantBroken("nothing is shipped before the archive was claimed")
        with _scratch(self._path) as file:
            index = await asyncio.to_thread(_copy, self._path, file)
            self._copy_bytes = await self._archive.put_copy(
                claim, index, file, self._clock.now_ms()
            )
        await self._check_claim(claim)
        self.shipped = max(self.shipped, index)
        self._since_copy = 0
        past = await self._archive.past(self._replica)
        if past is not None:
            await self._archive.prune(past, self._copies_kept)
            await self._archive.tidy(claim, past)

    async def _check_claim(self, claim: Claim) -> None:
        """Only now it counts: who claims later than this has seen what was put."""
        newest = await self._archive.newest(claim.replica)
        if newest != claim.number:
            raise Conflict(f"claim {newest} took the archive over from claim {claim.number}")


def _read(path: Path, after: int) -> tuple[int, list[Entry]]:
    """The last index that was applied, and the next entries up to there that the log holds."""
    connection = open_reader(path)
    try:
        with translated(path):
            # One read transaction: both are of one moment.
            connection.execute("BEGIN")
            applied = applied_in(connection, path)
            rows = connection.execute(
                "SELECT idx, term, type, body, crc FROM log WHERE idx > ? AND idx <= ? "
                "ORDER BY idx LIMIT ?",
                (after, applied, SEGMENT_ENTRIES_MAX),
            )
            entries: list[Entry] = []
            size = 0
            for row in rows:
                entry = entry_of(row, entries[-1].index + 1 if entries else row[0])
                size += len(entry.data)
                entries.append(entry)
                if size >= SEGMENT_BYTES_MAX:
                    break
    finally:
        connection.close()
    return applied, entries


def _copy(source: Path, target: Path) -> int:
    with copied(source, target) as copy:
        return applied_in(copy, target)


@contextmanager
def _scratch(path: Path) -> Iterator[Path]:
    """A folder beside the database, where there is room for another of its size. Its name tells
    whose it is."""
    prefix = f"{_SCRATCH}{os.getpid()}-"
    with (
        translated(path.parent),
        tempfile.TemporaryDirectory(prefix=prefix, dir=path.parent) as directory,
    ):
        yield Path(directory) / path.name


def sweep(path: Path) -> None:
    """Remove the copies of the database ``path`` that a killed process left half made beside it."""
    with translated(path.parent):
        for folder in path.parent.glob(f"{_SCRATCH}*"):
            owner = folder.name.removeprefix(_SCRATCH).partition("-")[0]
            if not (owner.isdecimal() and _is_alive(int(owner))):
                shutil.rmtree(folder, ignore_errors=True)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


async def copy_blobs(
    source: ObjectStore, target: ObjectStore, tenants: Sequence[str]
) -> AsyncIterator[int]:
    """Copy the blobs of ``tenants`` that ``target`` lacks: after each, the bytes that it took.

    Each is read whole and checked. Raises ``CorruptBlob`` for a damaged one.
    """
    for tenant in tenants:
        there = {*await target.keys(f"{tenant}/blobs")}
        for key in await source.keys(f"{tenant}/blobs"):
            body = None
            if key not in there:
                body = await source.read(key, bytes_max=HEADER_BYTES + BLOB_BYTES_MAX)
            if body is not None:
                await asyncio.to_thread(unpack, body, ref_in(body))
                await target.put_new(key, body)
                yield len(body)


def tenants_in(path: Path) -> list[str]:
    """Whose executions a replica holds."""
    with closing(open_reader(path)) as connection, translated(path):
        rows = connection.execute("SELECT DISTINCT tenant FROM executions ORDER BY 1")
        return [tenant for (tenant,) in rows]
