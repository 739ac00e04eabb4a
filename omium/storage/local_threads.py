"""Threads of checkpoints on a local disk: the objects of a record in one commit.

Owns the choice of store for a URL, and how a record and the parts that it names become durable
together. The records, their keys and their form are those of ``storage.threads``.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from omium.clock import Clock
from omium.storage.object_urls import local_directory, open_object_store
from omium.storage.objects import S3Options
from omium.storage.packing import COMPRESSION_LEVEL, pack
from omium.storage.sqlite_objects import Change, SqliteObjects
from omium.storage.threads import (
    CheckpointName,
    CheckpointRecord,
    ObjectThreads,
    Packed,
    WritesRecord,
)


def open_threads(url: str, *, tenant: str, s3: S3Options | None = None) -> ObjectThreads:
    """The threads of a tenant at ``url``, as ``object_urls.open_object_store`` takes it and with
    what that raises."""
    directory = local_directory(url)
    if directory is not None:
        return LocalThreads(directory, tenant=tenant)
    return ObjectThreads(open_object_store(url, s3=s3), tenant=tenant)


class LocalThreads(ObjectThreads):
    """A ``ThreadStore`` in one file of a directory, which several processes may share.

    A checkpoint is one commit, and takes along the writes that were handed over shortly before
    it: these wait ``LINGER_S`` for one. ``put_checkpoint_now`` and ``put_writes_now`` do the same
    for threads, and block.
    """

    ordered = True

    def __init__(self, directory: Path, *, tenant: str, clock: Clock | None = None) -> None:
        """Raises ``StorageUnwritable`` or ``StorageFull`` when the directory cannot be made."""
        self._file = SqliteObjects(directory)
        super().__init__(self._file, tenant=tenant, clock=clock)

    async def put_checkpoint(self, record: CheckpointRecord) -> None:
        packed = self._packed_checkpoint(record)
        await self._file.awrite(_changes(packed))
        self._remember(packed.parts)

    async def put_writes(self, record: WritesRecord) -> None:
        packed = self._packed_writes(record)
        await self._file.awrite(_changes(packed), linger=True)
        self._remember(packed.parts)

    def put_checkpoint_now(self, record: CheckpointRecord) -> None:
        packed = self._packed_checkpoint(record)
        self._file.write(_changes(packed))
        self._remember(packed.parts)

    def put_writes_now(self, record: WritesRecord) -> None:
        packed = self._packed_writes(record)
        self._file.write(_changes(packed), linger=True)
        self._remember(packed.parts)

    async def remove(self, thread: str, names: Iterable[CheckpointName]) -> None:
        await super().remove(thread, names)
        await self._file.shrink()

    async def remove_thread(self, thread: str) -> None:
        await super().remove_thread(thread)
        await self._file.shrink()


def _changes(packed: Packed) -> list[Change]:
    changes = [
        Change(key, pack(part, COMPRESSION_LEVEL)[1], new=True)
        for key, part in packed.parts.items()
    ]
    return [*changes, Change(packed.key, packed.body)]
