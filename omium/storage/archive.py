"""An archive: the past of replicas in an object store, from which a lost one can be rebuilt.

Owns the names and forms of what lies there, and who may write. Whoever writes for a replica
makes a claim first; a claim is put once, under the next number, so that of two writers one is
later. What an earlier one adds after that does not count::

    _archive/replicas/REPLICA                    that there is something of it
    _archive/REPLICA/claims/0000000007           who writes
    _archive/REPLICA/claims/0000000007.base      which claim it continues, and up to where
    _archive/REPLICA/0000000007/segments/FIRST-LAST  entries of the log that were applied
    _archive/REPLICA/0000000007/copies/INDEX/PART    a copy of the database
    _archive/REPLICA/0000000007/copies/INDEX/whole   that all its parts are there

Objects have the packed form of blobs: damage is found when they are read. See docs/adr/0024.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TypeVar

import msgspec

from omium.consensus import Entry, EntryType
from omium.errors import CorruptBlob, CorruptRecord, InputError, NotFound
from omium.storage.blobs import BLOB_BYTES_MAX
from omium.storage.objects import ObjectStore
from omium.storage.packing import COMPRESSION_LEVEL, pack, ref_in, unpack
from omium.storage.sqlite import translated

FOLDER = "_archive"
"""No tenant's name begins so: blobs and an archive may share a store."""

PART_BYTES = 32 * 1024 * 1024
_OBJECT_BYTES_MAX = BLOB_BYTES_MAX
_REPLICA = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}")
_CLAIM = re.compile(r".*/claims/(\d{10})(\.base)?")
_SEGMENT = re.compile(r".*/segments/(\d{20})-(\d{20})")
_COPY = re.compile(r".*/copies/(\d{20})/whole")

T = TypeVar("T")


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """The right to write for ``replica``, until there is a claim of higher number."""

    replica: str
    number: int
    at_ms: int

    @property
    def key(self) -> str:
        return f"{FOLDER}/{self.replica}/claims/{self.number:010}"

    @property
    def folder(self) -> str:
        """Where what it writes lies."""
        return f"{FOLDER}/{self.replica}/{self.number:010}"


class Base(msgspec.Struct, frozen=True, kw_only=True):
    """What a claim continues: of the claim ``parent`` all up to index ``upto``. 0 is nothing."""

    parent: int = 0
    upto: int = 0


class SegmentName(msgspec.Struct, frozen=True, kw_only=True):
    """A segment; of its entries ``first`` to ``last`` those up to ``upto`` count."""

    folder: str
    first: int
    last: int
    upto: int

    @property
    def key(self) -> str:
        return f"{self.folder}/segments/{self.first:020}-{self.last:020}"


class CopyName(msgspec.Struct, frozen=True, kw_only=True):
    """A copy of a replica's database, as it was once the entry ``index`` had been applied."""

    folder: str
    index: int

    @property
    def key(self) -> str:
        """The folder of its parts."""
        return f"{self.folder}/copies/{self.index:020}"


class Whole(msgspec.Struct, frozen=True, kw_only=True):
    """What a copy consists of, written when all of it is there."""

    parts: int
    size: int
    at_ms: int


class Past(msgspec.Struct, frozen=True, kw_only=True):
    """What an archive holds of one replica: copies, the newest last, and segments, by index.
    ``claim`` is the newest under which anything could be written."""

    claim: Claim
    copies: tuple[CopyName, ...]
    segments: tuple[SegmentName, ...]

    def way_to(self, index: int | None = None) -> Way:
        """How to get as far as possible, but not past ``index``."""
        limit = index if index is not None else _NO_LIMIT
        start = max((c for c in self.copies if c.index <= limit), key=_index, default=None)
        end = start.index if start is not None else 0
        steps: list[SegmentName] = []
        for segment in self.segments:
            upto = min(segment.upto, limit)
            if segment.first <= end + 1 and upto > end:
                steps.append(msgspec.structs.replace(segment, upto=upto))
                end = upto
        return Way(start=start, steps=tuple(steps), end=end)

    @property
    def end(self) -> int:
        """The last index that can be reached."""
        return self.way_to().end


class Way(msgspec.Struct, frozen=True, kw_only=True):
    """From a copy, or from nothing, over segments to the state after the entry ``end``."""

    start: CopyName | None
    steps: tuple[SegmentName, ...]
    end: int


_NO_LIMIT = 2**62


class Archive:
    """See the module's docstring.

    All raise ``BlobStoreError``, ``StorageFull`` or ``StorageUnwritable`` where the store fails,
    and ``CorruptRecord`` for what is there and is not what was written.
    """

    def __init__(self, objects: ObjectStore) -> None:
        self._objects = objects

    # ------------------------------------------------------------------ who writes

    async def claim(self, replica: str, at_ms: int) -> Claim:
        """Become the writer. Nobody who claimed earlier is, from here on. Raises ``InputError``
        for a name that is none."""
        if _REPLICA.fullmatch(replica) is None:
            raise InputError(f"replica {replica!r}: expected up to 63 of A-Z, a-z, 0-9, _ and -")
        await self._objects.put_new(f"{FOLDER}/replicas/{replica}", b"")
        claim = Claim(replica=replica, number=await self.newest(replica) + 1, at_ms=at_ms)
        while not await self._objects.put_new(claim.key, msgspec.json.encode(claim)):
            claim = msgspec.structs.replace(claim, number=claim.number + 1)
        return claim

    async def newest(self, replica: str) -> int:
        """The number of the newest claim, 0 where there is none."""
        return max((number for number, _ in await self._claims(replica)), default=0)

    async def set_base(self, claim: Claim, base: Base) -> None:
        """Say what ``claim`` continues. What it writes counts from here on."""
        await self._objects.put_new(f"{claim.key}.base", msgspec.json.encode(base))

    async def _claims(self, replica: str) -> list[tuple[int, bool]]:
        """The number of each claim, and of each base."""
        keys = await self._objects.keys(f"{FOLDER}/{replica}/claims")
        found = map(_CLAIM.fullmatch, keys)
        return [(int(match[1]), match[2] is not None) for match in found if match is not None]

    # ------------------------------------------------------------------ writing

    async def put_segment(self, claim: Claim, entries: Sequence[Entry]) -> int:
        """Add entries that follow one another; returns the bytes that were stored."""
        rows = [(int(entry.type), entry.term, entry.data) for entry in entries]
        body = msgspec.msgpack.encode(rows)
        first, last = entries[0].index, entries[-1].index
        name = SegmentName(folder=claim.folder, first=first, last=last, upto=last)
        _, packed = await asyncio.to_thread(pack, body, COMPRESSION_LEVEL)
        await self._objects.put_new(name.key, packed)
        return len(packed)

    async def put_copy(self, claim: Claim, index: int, file: Path, at_ms: int) -> int:
        """Add the copy of a database in ``file``; returns the bytes that were stored."""
        name = CopyName(folder=claim.folder, index=index)
        size, stored, parts = 0, 0, 0
        with translated(file), await asyncio.to_thread(file.open, "rb") as source:
            while block := await asyncio.to_thread(source.read, PART_BYTES):
                _, packed = await asyncio.to_thread(pack, block, COMPRESSION_LEVEL)
                # A copy that was begun before and not finished may have been of other bytes.
                await self._objects.replace(f"{name.key}/{parts:06}", packed)
                stored += len(packed)
                size += len(block)
                parts += 1
        whole = Whole(parts=parts, size=size, at_ms=at_ms)
        await self._objects.replace(f"{name.key}/whole", msgspec.json.encode(whole))
        return stored

    async def tidy(self, claim: Claim, past: Past) -> None:
        """Remove what those wrote whose claims came before ``claim``, the newest, and of whom
        nothing is counted: ``past`` is all that is."""
        counted = {one.folder for one in (*past.copies, *past.segments)}
        for number in {number for number, _ in await self._claims(claim.replica)}:
            older = msgspec.structs.replace(claim, number=number)
            if number < claim.number and older.folder not in counted:
                # Its claim stays, and what it continues: later ones may go on from it.
                for key in await self._objects.keys(older.folder):
                    await self._objects.remove(key)

    async def prune(self, past: Past, copies_kept: int) -> None:
        """Remove the copies of ``past`` but the newest ``copies_kept``, and the segments that
        only older ones need."""
        if len(past.copies) <= copies_kept:
            return
        old, kept = past.copies[:-copies_kept], past.copies[-copies_kept:]
        for copy in old:
            # Not whole before it is in pieces.
            await self._objects.remove(f"{copy.key}/whole")
            for key in await self._objects.keys(copy.key):
                await self._objects.remove(key)
        for segment in past.segments:
            if segment.last <= kept[0].index:
                await self._objects.remove(segment.key)

    # ------------------------------------------------------------------ reading

    async def pasts(self) -> list[Past]:
        """What there is of each replica, the one that claimed last first."""
        keys = await self._objects.keys(f"{FOLDER}/replicas")
        found = [await self.past(key.rpartition("/")[2]) for key in keys]
        pasts = [past for past in found if past is not None]
        return sorted(pasts, key=lambda past: past.claim.at_ms, reverse=True)

    async def past(self, replica: str) -> Past | None:
        """What there is of ``replica``; None where there is nothing."""
        number = max((n for n, is_base in await self._claims(replica) if is_base), default=0)
        newest = Claim(replica=replica, number=number, at_ms=0)
        if number:
            newest = await self._read_json(newest.key, Claim)
        claim, limit = newest, _NO_LIMIT
        copies: list[CopyName] = []
        segments: list[SegmentName] = []
        while claim.number:
            keys = await self._objects.keys(claim.folder)
            copies += [copy for copy in _copies(claim, keys) if copy.index <= limit]
            segments += [
                msgspec.structs.replace(segment, upto=min(segment.last, limit))
                for segment in _segments(claim, keys)
                if segment.first <= limit
            ]
            base = await self._read_json(f"{claim.key}.base", Base)
            if base.parent >= claim.number:
                raise CorruptRecord(claim.key, f"it continues claim {base.parent}")
            claim = msgspec.structs.replace(claim, number=base.parent)
            limit = min(limit, base.upto)
        if not copies and not segments:
            return None
        return Past(
            claim=newest,
            copies=tuple(sorted(copies, key=_index)),
            segments=tuple(sorted(segments, key=lambda s: (s.first, s.upto))),
        )

    async def segment(self, name: SegmentName) -> list[Entry]:
        """The entries of a segment that count."""
        body = await self._read_packed(name.key)
        try:
            rows = msgspec.msgpack.decode(body, type=list[tuple[int, int, bytes]])
            entries = [
                Entry(index=index, term=term, type=EntryType(kind), data=data)
                for index, (kind, term, data) in enumerate(rows, name.first)
            ]
        except (msgspec.DecodeError, ValueError) as error:
            raise CorruptRecord(name.key, str(error)) from error
        if len(entries) != name.last - name.first + 1:
            raise CorruptRecord(name.key, f"it holds {len(entries)} entries")
        return [entry for entry in entries if entry.index <= name.upto]

    async def fetch_copy(self, name: CopyName, target: Path) -> Whole:
        """Write a copy of the database to ``target``."""
        whole, size = await self._read_json(f"{name.key}/whole", Whole), 0
        with translated(target), await asyncio.to_thread(target.open, "wb") as file:
            for part in range(whole.parts):
                body = await self._read_packed(f"{name.key}/{part:06}")
                await asyncio.to_thread(file.write, body)
                size += len(body)
        if size != whole.size:
            raise CorruptRecord(name.key, f"{size} bytes instead of {whole.size}")
        return whole

    async def _read_packed(self, key: str) -> bytes:
        packed = await self._read(key)
        try:
            return await asyncio.to_thread(unpack, packed, ref_in(packed))
        except CorruptBlob as error:
            raise CorruptRecord(key, str(error)) from error

    async def _read_json(self, key: str, kind: type[T]) -> T:
        try:
            return msgspec.json.decode(await self._read(key), type=kind)
        except msgspec.DecodeError as error:
            raise CorruptRecord(key, str(error)) from error

    async def _read(self, key: str) -> bytes:
        body = await self._objects.read(key, bytes_max=_OBJECT_BYTES_MAX)
        if body is None:
            raise NotFound("object", key, "the archive names it and does not hold it")
        return body


def _index(copy: CopyName) -> int:
    return copy.index


def _copies(claim: Claim, keys: Iterable[str]) -> list[CopyName]:
    found = map(_COPY.fullmatch, keys)
    return [CopyName(folder=claim.folder, index=int(m[1])) for m in found if m is not None]


def _segments(claim: Claim, keys: Iterable[str]) -> list[SegmentName]:
    found = map(_SEGMENT.fullmatch, keys)
    return [
        SegmentName(folder=claim.folder, first=int(m[1]), last=int(m[2]), upto=int(m[2]))
        for m in found
        if m is not None
    ]
