"""A member's log and state on a simulated disk: what the laws of a store are, and no more.

One file holds a whole state and, behind it, one frame for each batch. Now and then a new file
begins with the state of then, and the old one is removed when the new one is durable. A frame
carries a checksum and how much of the file was durable before it, so that a frame that is bad
can be told: it was never acknowledged (torn, or lost in a power cut), or it is rotten.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

import msgspec

from omium.consensus import (
    Batch,
    ConfState,
    Entry,
    HardState,
    Machine,
    MemoryLogStore,
    Snapshot,
    Storage,
)
from omium.errors import CorruptRecord, OmiumError, PlatformError, StorageFull
from omium.testing.sim.disk import Disk

R = TypeVar("R")

_MAGIC = b"\xf5OMF"
_HEAD_BYTES = len(_MAGIC) + 8


class _State(msgspec.Struct, frozen=True, kw_only=True, array_like=True, tag=0):
    """Everything: what a file begins with."""

    hard_state: HardState
    conf_state: ConfState
    compacted: int
    compacted_term: int
    entries: Sequence[Entry]
    applied: int
    machine: bytes


class _Written(msgspec.Struct, frozen=True, kw_only=True, array_like=True, tag=1):
    """One batch; everything before byte ``durable`` was durable before it was written."""

    durable: int
    batch: Batch


_encode = msgspec.msgpack.Encoder().encode
_decoder: msgspec.msgpack.Decoder[_State | _Written] = msgspec.msgpack.Decoder(_State | _Written)


class DiskLog(Generic[R]):
    """Implements ``omium.consensus.LogStore``. See the module's docstring.

    ``file_bytes_max`` is the size from which on a new file is begun.
    """

    def __init__(
        self,
        disk: Disk,
        machine: Machine[R],
        start: Snapshot | None,
        *,
        kept: int,
        file_bytes_max: int = 4_096,
    ) -> None:
        """Read the disk, or begin with ``start`` where it is empty. Raises ``CorruptRecord``.

        ``begin`` must follow before anything is written.
        """
        self.halted = False
        self.guarded_bytes = 0
        """How much of the file's beginning is known, by what is behind it, to be durable."""
        self._disk = disk
        self._machine = machine
        self._kept = kept
        self._file_bytes_max = file_bytes_max
        self._durable = 0
        names = disk.names()
        self._name = names[-1] if names else _name(0)
        self._memory = self._recovered(start)

    # ---- what is there

    @property
    def storage(self) -> Storage:
        return self._memory.storage

    @property
    def applied(self) -> int:
        return self._memory.applied

    @property
    def name(self) -> str:
        """The file that is written."""
        return self._name

    def _recovered(self, start: Snapshot | None) -> MemoryLogStore[R]:
        first = MemoryLogStore(self._machine, start, kept=self._kept)
        names = self._disk.names()
        for name in reversed(names):
            frames = self._frames(name)
            if frames and isinstance(frames[0], _State):
                memory = self._from(frames[0])
                for frame in frames[1:]:
                    if isinstance(frame, _Written):
                        memory.write(frame.batch, _ignore)
                return memory
        # Of several the oldest was durable; of one alone a power cut may have left anything.
        if len(names) > 1:
            raise CorruptRecord(names[0], "its beginning is not what was written")
        return first

    def _from(self, state: _State) -> MemoryLogStore[R]:
        before = Snapshot(
            index=state.compacted, term=state.compacted_term, conf_state=state.conf_state
        )
        memory = MemoryLogStore(self._machine, before, kept=self._kept)
        memory.storage.append(state.entries)
        memory.storage.set_hard_state(state.hard_state)
        memory.applied = state.applied
        self._machine.load(state.machine)
        return memory

    def _frames(self, name: str) -> list[_State | _Written]:
        """The frames that count. Raises ``CorruptRecord`` where a later one is missing."""
        data = self._disk.read(name)
        frames: list[_State | _Written] = []
        place = 0
        while (found := _frame_at(data, place)) is not None:
            frames.append(found[0])
            place = found[1]
        # Behind a frame that was torn there may be others that were not: a disk keeps no order.
        behind = data.find(_MAGIC, place + 1)
        while behind >= 0:
            later = _frame_at(data, behind)
            if later is not None and isinstance(later[0], _Written) and later[0].durable > place:
                raise CorruptRecord(f"{name}@{place}", "it was durable and is not what was written")
            behind = data.find(_MAGIC, behind + 1)
        return frames

    # ---- writing

    def begin(self, done: Callable[[OmiumError | None], None]) -> None:
        """Write everything anew, and tell ``done`` when it is durable.

        After a failed fsync the cache may show what the disk never got.
        """
        try:
            self._disk.append(self._next_name(), self._whole())
        except OSError as error:
            self._drop_next()
            done(StorageFull(str(error)))
            return
        self._sync_next(done)

    def write(self, batch: Batch, done: Callable[[Sequence[R | None] | OmiumError], None]) -> None:
        """See ``LogStore``."""

        def carry_out() -> None:
            self._memory.write(batch, done)

        def written(error: OmiumError | None) -> None:
            if error is not None:
                done(error)
            else:
                carry_out()

        frame = self._frame(_Written(durable=self._durable, batch=batch))
        if batch.must_sync and self._size() > self._file_bytes_max:
            try:
                self._disk.append(
                    self._next_name(), self._whole() + self._frame(_Written(durable=0, batch=batch))
                )
            except OSError:
                # There may be room for the frame alone.
                self._drop_next()
            else:
                self._sync_next(written)
                return
        try:
            self._disk.append(self._name, frame)
        except OSError as error:
            done(StorageFull(str(error)))
            return
        if not batch.must_sync:
            carry_out()
            return
        size, guarded = self._size(), self._durable

        def synced(error: OSError | None) -> None:
            if error is None:
                self._durable, self.guarded_bytes = size, guarded
            written(self._failed(error))

        self._disk.fsync(self._name, synced)

    def _sync_next(self, done: Callable[[OmiumError | None], None]) -> None:
        name = self._next_name()
        size = len(self._disk.read(name))

        def synced(error: OSError | None) -> None:
            if error is None:
                for old in self._disk.names():
                    if old != name:
                        self._disk.remove(old)
                self._name, self._durable, self.guarded_bytes = name, size, 0
            done(self._failed(error))

        self._disk.fsync(name, synced)

    def _failed(self, error: OSError | None) -> OmiumError | None:
        if error is None:
            return None
        self.halted = True
        return PlatformError(f"what the disk holds is not known: {error}")

    def _drop_next(self) -> None:
        if self._next_name() in self._disk.names():
            self._disk.remove(self._next_name())

    def _next_name(self) -> str:
        return _name(int(self._name.removeprefix("log-")) + 1)

    def _size(self) -> int:
        return len(self._disk.read(self._name)) if self._name in self._disk.names() else 0

    def _whole(self) -> bytes:
        storage = self._memory.storage
        hard_state, conf_state = storage.initial_state()
        first = storage.first_index()
        return self._frame(
            _State(
                hard_state=hard_state,
                conf_state=conf_state,
                compacted=first - 1,
                compacted_term=storage.term(first - 1) or 0,
                entries=storage.entries(first, storage.last_index() + 1),
                applied=self._memory.applied,
                machine=self._machine.save(),
            )
        )

    def _frame(self, record: _State | _Written) -> bytes:
        body = _encode(record)
        return (
            _MAGIC + len(body).to_bytes(4, "little") + zlib.crc32(body).to_bytes(4, "little") + body
        )


def _name(number: int) -> str:
    return f"log-{number:06}"


def _ignore(result: object) -> None:
    return


def _frame_at(data: bytes, place: int) -> tuple[_State | _Written, int] | None:
    """The frame at ``place`` and where it ends; None where there is none that is whole."""
    if data[place : place + len(_MAGIC)] != _MAGIC:
        return None
    start = place + _HEAD_BYTES
    size = int.from_bytes(data[place + 4 : place + 8], "little")
    body = data[start : start + size]
    crc = int.from_bytes(data[place + 8 : start], "little")
    if len(body) != size or zlib.crc32(body) != crc:
        return None
    try:
        return _decoder.decode(body), start + size
    except msgspec.DecodeError:
        return None
