"""Threads of checkpoints: what a graph framework's checkpointer keeps, in an object store.

Owns the records, their keys and the order in which objects are written: whatever a record
names is stored before the record. Values are opaque bytes here; what they mean, and which
checkpoints may go, is for the checkpointer to know.

Keys, below ``tenant/threads/THREAD`` (THREAD and NS are digests, since names may be long)::

    NS/c/CHECKPOINT             a checkpoint
    NS/w/CHECKPOINT/ORDER-ID    writes of one task, pending at that checkpoint
    v/DIGEST                    a part of a large value, shared by the thread's records

A large value is cut into parts of one size behind its first bytes. A list that only grows keeps
all but its last parts, and so a growing state is not stored anew in each checkpoint.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol, TypeVar

import msgspec
from msgspec.structs import replace

from omium.clock import Clock, SystemClock
from omium.errors import CorruptBlob, InputError
from omium.execution.blobref import BlobRef
from omium.storage.blobs import BLOB_BYTES_MAX
from omium.storage.objects import ObjectStore
from omium.storage.packing import COMPRESSION_LEVEL, HEADER_BYTES, pack, ref_in, unpack

INLINE_BYTES_MAX = 32 * 1024
"""Larger values are cut into parts."""

HEAD_BYTES = 256
"""Stays in the record: the head of a list says how long it is, and changes as it grows."""

PART_BYTES = 16 * 1024
NAME_BYTES_MAX = 200
PARTS_REMEMBERED_MAX = 4_096
"""Parts known to be stored, so that they are not offered again."""

REQUESTS_MAX = 16
"""Requests under way at a time for one record."""

_PLAIN = re.compile(r"[A-Za-z0-9_-]+")


class Value(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Serialised: ``kind`` is the serializer's tag. ``data`` is all of it, or its beginning
    when ``parts`` names the rest; ``size`` is the whole in bytes."""

    kind: str
    data: bytes
    size: int
    parts: tuple[str, ...] = ()


class Write(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a task wrote to a channel. A task has one write for each ``slot``: a negative one
    may be written again, any other keeps what was written first."""

    task: str
    slot: int
    channel: str
    value: Value
    path: str = ""


class History(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What checkpoints that are gone had contributed to a channel: a value to start from, if
    there was one, and the writes since, oldest first."""

    writes: tuple[Write, ...] = ()
    seed: Value | None = None


class CheckpointRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A checkpoint of namespace ``ns`` of a thread. ``values`` are those of its channels;
    ``checkpoint`` is the rest of it."""

    thread: str
    ns: str
    id: str
    parent: str | None
    checkpoint: Value
    metadata: Value
    values: dict[str, Value]
    history: dict[str, History] = {}


class WritesRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Writes of tasks that ran on a checkpoint. ``order`` tells which record came later."""

    thread: str
    ns: str
    checkpoint: str
    writes: tuple[Write, ...]
    order: int = 0


class CheckpointName(msgspec.Struct, frozen=True):
    """Where a checkpoint lies: ``folder`` is that of its namespace. For the store that gave it."""

    folder: str
    id: str


class ThreadStore(Protocol):
    """Where a checkpointer's records lie. A write that has returned is durable."""

    @property
    def ordered(self) -> bool:
        """Whether no record is ever on disk without those that were handed over before it. Else
        a caller has to wait for these first."""
        ...

    async def put_checkpoint(self, record: CheckpointRecord) -> None:
        """Store a checkpoint, in place of one of the same id."""
        ...

    async def put_writes(self, record: WritesRecord) -> None:
        """Store writes beside those that are there. Sets the order."""
        ...

    async def names(self, thread: str | None = None, ns: str | None = None) -> list[CheckpointName]:
        """The checkpoints of a namespace, of a thread, or all, in any order."""
        ...

    async def name(self, thread: str, ns: str, checkpoint: str) -> CheckpointName:
        """The name that a checkpoint has, or would have."""
        ...

    async def checkpoint(self, name: CheckpointName) -> CheckpointRecord | None: ...

    async def writes(self, name: CheckpointName) -> list[WritesRecord]:
        """The writes that are pending at a checkpoint, in order."""
        ...

    async def remove(self, thread: str, names: Iterable[CheckpointName]) -> None:
        """Remove checkpoints of a thread with their writes, and what only they had used.

        Nobody may write to the thread meanwhile.
        """
        ...

    async def remove_thread(self, thread: str) -> None: ...


class MemoryThreads:
    """A ``ThreadStore`` in memory. ``checkpoints`` and ``pending`` are all that there is."""

    ordered = False

    def __init__(self) -> None:
        self.checkpoints: dict[CheckpointName, CheckpointRecord] = {}
        self.pending: dict[CheckpointName, list[WritesRecord]] = {}

    def add(self, record: CheckpointRecord | WritesRecord) -> None:
        """Put a record, as the methods below do."""
        if isinstance(record, CheckpointRecord):
            self.checkpoints[_plain_name(record.thread, record.ns, record.id)] = record
            return
        name = _plain_name(record.thread, record.ns, record.checkpoint)
        at = self.pending.setdefault(name, [])
        at.append(replace(record, order=len(at)))

    async def put_checkpoint(self, record: CheckpointRecord) -> None:
        self.add(record)

    async def put_writes(self, record: WritesRecord) -> None:
        self.add(record)

    async def names(self, thread: str | None = None, ns: str | None = None) -> list[CheckpointName]:
        return [
            name
            for name, record in list(self.checkpoints.items())
            if thread in (None, record.thread) and ns in (None, record.ns)
        ]

    async def name(self, thread: str, ns: str, checkpoint: str) -> CheckpointName:
        return _plain_name(thread, ns, checkpoint)

    async def checkpoint(self, name: CheckpointName) -> CheckpointRecord | None:
        return self.checkpoints.get(name)

    async def writes(self, name: CheckpointName) -> list[WritesRecord]:
        return list(self.pending.get(name, ()))

    async def remove(self, thread: str, names: Iterable[CheckpointName]) -> None:
        for name in names:
            self.checkpoints.pop(name, None)
            self.pending.pop(name, None)

    async def remove_thread(self, thread: str) -> None:
        await self.remove(thread, await self.names(thread))


def _plain_name(thread: str, ns: str, checkpoint: str) -> CheckpointName:
    return CheckpointName(f"{len(thread)} {thread} {ns}", checkpoint)


_Record = TypeVar("_Record", CheckpointRecord, WritesRecord)


@dataclass(frozen=True, slots=True)
class Packed:
    """A record as objects: first ``parts``, by key, which it names, then itself."""

    parts: dict[str, bytes]
    key: str
    body: bytes


class ObjectThreads:
    """A ``ThreadStore`` in an object store. Methods raise what the object store raises,
    ``InputError`` for an id that is too long, and ``CorruptBlob`` for damaged records."""

    ordered = False

    def __init__(self, objects: ObjectStore, *, tenant: str, clock: Clock | None = None) -> None:
        self._objects = objects
        self._root = f"{tenant}/threads"
        self._clock = clock or SystemClock()
        self._order = 0
        self._stored: dict[str, None] = {}

    async def put_checkpoint(self, record: CheckpointRecord) -> None:
        await self._store(self._packed_checkpoint(record))

    async def put_writes(self, record: WritesRecord) -> None:
        await self._store(self._packed_writes(record))

    async def _store(self, packed: Packed) -> None:
        """Store the objects of a record, in an order that never leaves it without its parts."""
        await _gathered([self._put_part(key, part) for key, part in packed.parts.items()])
        await self._objects.replace(packed.key, packed.body)

    def _packed_checkpoint(self, record: CheckpointRecord) -> Packed:
        values, parts = self._parted(record.thread, record.values)
        folder = self._folder(record.thread, record.ns)
        key = f"{folder}/c/{_file_name(record.id)}"
        return Packed(parts, key, _packed(replace(record, values=values)))

    def _packed_writes(self, record: WritesRecord) -> Packed:
        # Later than anything seen, on whatever machine it was written, and whatever its clock.
        self._order = max(self._order + 1, self._clock.now_ms())
        values, parts = self._parted(
            record.thread, {str(n): write.value for n, write in enumerate(record.writes)}
        )
        writes = tuple(
            replace(write, value=values[str(n)]) for n, write in enumerate(record.writes)
        )
        folder = self._folder(record.thread, record.ns)
        name = f"{self._order:016d}-{secrets.token_hex(6)}"
        key = f"{folder}/w/{_file_name(record.checkpoint)}/{name}"
        return Packed(parts, key, _packed(replace(record, writes=writes, order=self._order)))

    async def names(self, thread: str | None = None, ns: str | None = None) -> list[CheckpointName]:
        folder = self._root
        if thread is not None:
            folder = self._thread(thread) if ns is None else f"{self._folder(thread, ns)}/c"
        found: list[CheckpointName] = []
        for key in await self._objects.keys(folder):
            namespace, _, name = key.rpartition("/c/")
            if namespace and "/" not in name:
                found.append(CheckpointName(namespace, _named_by(name)))
        return found

    async def name(self, thread: str, ns: str, checkpoint: str) -> CheckpointName:
        return CheckpointName(self._folder(thread, ns), checkpoint)

    async def checkpoint(self, name: CheckpointName) -> CheckpointRecord | None:
        record = await self._get(f"{name.folder}/c/{_file_name(name.id)}", CheckpointRecord)
        if record is None:
            return None
        return replace(record, values=await self._whole(record.thread, record.values))

    async def writes(self, name: CheckpointName) -> list[WritesRecord]:
        keys = sorted(await self._objects.keys(f"{name.folder}/w/{_file_name(name.id)}"))
        records = await _gathered([self._get(key, WritesRecord) for key in keys])
        found = [await self._whole_writes(record) for record in records if record is not None]
        self._order = max([self._order, *(record.order for record in found)])
        return found

    async def remove(self, thread: str, names: Iterable[CheckpointName]) -> None:
        for name in names:
            # The checkpoint goes last: what is left of a removal cut short is removed again.
            writes = await self._objects.keys(f"{name.folder}/w/{_file_name(name.id)}")
            await _gathered([self._objects.remove(key) for key in writes])
            await self._objects.remove(f"{name.folder}/c/{_file_name(name.id)}")
        await self._remove_unused_parts(thread)

    async def remove_thread(self, thread: str) -> None:
        keys = await self._objects.keys(self._thread(thread))
        # Parts last, since records name them.
        for wanted in (False, True):
            parts = [key for key in keys if ("/v/" in key) is wanted]
            await _gathered([self._objects.remove(key) for key in parts])
        self._stored.clear()

    async def _remove_unused_parts(self, thread: str) -> None:
        folder = self._thread(thread)
        used: set[str] = set()
        parts: list[str] = []
        for key in await self._objects.keys(folder):
            if key.startswith(f"{folder}/v/"):
                parts.append(key)
            elif "/c/" in key:
                record = await self._get(key, CheckpointRecord)
                values = record.values.values() if record is not None else ()
                used.update(part for value in values for part in value.parts)
            else:
                pending = await self._get(key, WritesRecord)
                writes = pending.writes if pending is not None else ()
                used.update(part for write in writes for part in write.value.parts)
        unused = [key for key in parts if key.rpartition("/")[2] not in used]
        await _gathered([self._objects.remove(key) for key in unused])
        self._stored.clear()

    # ------------------------------------------------------------------ keys

    def _thread(self, thread: str) -> str:
        return f"{self._root}/{_name_digest(thread)}"

    def _folder(self, thread: str, ns: str) -> str:
        return f"{self._thread(thread)}/{_name_digest(ns) if ns else 'root'}"

    # ------------------------------------------------------------------ objects

    async def _get(self, key: str, kind: type[_Record]) -> _Record | None:
        body = await self._objects.read(key, bytes_max=BLOB_BYTES_MAX)
        if body is None:
            return None
        try:
            return msgspec.msgpack.decode(unpack(body, ref_in(body)), type=kind)
        except msgspec.DecodeError as error:
            raise CorruptBlob(key, f"is no {kind.__name__}: {error}") from error

    # ------------------------------------------------------------------ large values

    def _parted(
        self, thread: str, values: Mapping[str, Value]
    ) -> tuple[dict[str, Value], dict[str, bytes]]:
        """The values as records keep them, and by key the parts of large ones that may not be
        stored yet."""
        folder = self._thread(thread)
        new: dict[str, bytes] = {}
        parted: dict[str, Value] = {}
        for name, value in values.items():
            if value.size <= INLINE_BYTES_MAX:
                parted[name] = value
                continue
            cut = range(HEAD_BYTES, value.size, PART_BYTES)
            parts = [value.data[start : start + PART_BYTES] for start in cut]
            digests = tuple(_digest(part) for part in parts)
            parted[name] = replace(value, data=value.data[:HEAD_BYTES], parts=digests)
            for digest, part in zip(digests, parts, strict=True):
                key = f"{folder}/v/{digest}"
                if key not in self._stored:
                    new[key] = part
        return parted, new

    async def _put_part(self, key: str, part: bytes) -> None:
        _, body = pack(part, COMPRESSION_LEVEL)
        taken = not await self._objects.put_new(key, body)
        # No writer leaves half of one behind, but a disk may.
        if taken and await self._objects.size(key) != len(body):
            await self._objects.replace(key, body)
        self._remember((key,))

    def _remember(self, keys: Iterable[str]) -> None:
        """These parts are stored."""
        if len(self._stored) >= PARTS_REMEMBERED_MAX:
            self._stored.clear()
        self._stored.update(dict.fromkeys(keys))

    async def _whole(self, thread: str, values: Mapping[str, Value]) -> dict[str, Value]:
        """The inverse of ``_parted``."""
        folder = self._thread(thread)
        wanted = {part for value in values.values() for part in value.parts}
        read = await _gathered([self._part(f"{folder}/v/{part}") for part in wanted])
        parts = dict(zip(wanted, read, strict=True))
        return {name: _joined(value, parts) for name, value in values.items()}

    async def _whole_writes(self, record: WritesRecord) -> WritesRecord:
        if not any(write.value.parts for write in record.writes):
            return record
        values = await self._whole(
            record.thread, {str(n): write.value for n, write in enumerate(record.writes)}
        )
        writes = (replace(write, value=values[str(n)]) for n, write in enumerate(record.writes))
        return replace(record, writes=tuple(writes))

    async def _part(self, key: str) -> bytes:
        body = await self._objects.read(key, bytes_max=HEADER_BYTES + PART_BYTES)
        if body is None:
            raise CorruptBlob(key, "is gone, though a record names it")
        ref = ref_in(body)
        content = unpack(body, BlobRef(digest=ref.digest, size=ref.size))
        if _digest(content) != key.rpartition("/")[2]:
            raise CorruptBlob(key, "holds another part")
        return content


def _packed(record: CheckpointRecord | WritesRecord) -> bytes:
    _, body = pack(msgspec.msgpack.encode(record), COMPRESSION_LEVEL)
    return body


def _joined(value: Value, parts: Mapping[str, bytes]) -> Value:
    if not value.parts:
        return value
    data = b"".join((value.data, *(parts[part] for part in value.parts)))
    if len(data) != value.size:
        raise CorruptBlob("", f"a value of {value.size} bytes has parts of {len(data)}")
    return replace(value, data=data, parts=())


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@lru_cache(maxsize=1_024)
def _name_digest(name: str) -> str:
    return _digest(name.encode())


def _file_name(identifier: str) -> str:
    """A checkpoint's id as part of a key: itself, unless a key cannot hold it."""
    name = identifier
    if _PLAIN.fullmatch(identifier) is None:
        name = "=" + urlsafe_b64encode(identifier.encode("utf-8", "surrogatepass")).decode()
    if len(name) > NAME_BYTES_MAX:
        raise InputError(f"checkpoint id {identifier!r}: it takes over {NAME_BYTES_MAX} bytes")
    return name


def _named_by(file_name: str) -> str:
    """The inverse of ``_file_name``."""
    if not file_name.startswith("="):
        return file_name
    return urlsafe_b64decode(file_name[1:]).decode("utf-8", "surrogatepass")


async def _gathered(work: Sequence[Any]) -> list[Any]:
    """The results of coroutines, so many of them under way at a time."""
    results: list[Any] = []
    for start in range(0, len(work), REQUESTS_MAX):
        results += await asyncio.gather(*work[start : start + REQUESTS_MAX])
    return results
