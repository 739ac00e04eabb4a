"""A disk that keeps what was synced, and of the rest what chance leaves of it.

Owns files as bytes, what of them is durable, and the faults of both. A write is seen by every
later read at once, and survives a crash for certain only when an fsync that came after it has
succeeded. After an fsync that failed, what it was to make durable never will be: Linux marks
such pages clean (A. Rebello and others, "Can Applications Recover from fsync Failures?",
USENIX ATC 2020).
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import dataclass, field

from omium.testing.sim.world import Process

Done = Callable[[OSError | None], None]


@dataclass(frozen=True, kw_only=True)
class DiskFaults:
    """What may go wrong. Probabilities are between 0 and 1.

    Of the writes that a crash finds unsynced, the part ``lost`` is gone, the part ``torn`` is
    there up to some byte, and the rest is there, each by itself: a disk keeps no order.
    """

    fsync_us_min: int = 100
    fsync_us_max: int = 500
    fsync_fails: float = 0.0
    lost: float = 0.5
    torn: float = 0.25
    bytes_max: int | None = None


@dataclass(frozen=True, slots=True, eq=False)
class _Write:
    offset: int
    data: bytes


@dataclass(slots=True)
class _File:
    durable: bytearray = field(default_factory=bytearray)
    seen: bytearray = field(default_factory=bytearray)
    unsynced: list[_Write] = field(default_factory=list[_Write])


class Disk:
    """The disk of one process; ``faults`` may be replaced at any time."""

    def __init__(self, process: Process, faults: DiskFaults | None = None) -> None:
        self.faults = faults or DiskFaults()
        self._process = process
        self._world = process.world
        self._random = process.world.random(f"disk/{process.name}")
        self._files: dict[str, _File] = {}
        process.on_crash.append(self._crash)

    def names(self) -> list[str]:
        """The files there are, by name."""
        return sorted(self._files)

    def read(self, name: str) -> bytes:
        """All of a file. Raises FileNotFoundError."""
        return bytes(self._file(name).seen)

    def append(self, name: str, data: bytes) -> None:
        """Write at the end. Raises OSError as ``write`` does."""
        file = self._files.get(name)
        self.write(name, len(file.seen) if file else 0, data)

    def write(self, name: str, offset: int, data: bytes) -> None:
        """Write into a file, which is created where needed; a gap is filled with zeros.

        Raises OSError (ENOSPC) where the disk would be fuller than ``bytes_max``; then nothing
        is written.
        """
        file = self._files.get(name) or _File()
        grown = max(0, offset + len(data) - len(file.seen))
        limit = self.faults.bytes_max
        if limit is not None and grown and self.used_bytes() + grown > limit:
            raise OSError(errno.ENOSPC, "no space left on the simulated disk", name)
        self._world.note(f"write {self._process.name} {name} {offset}", data)
        self._files[name] = file
        write = _Write(offset, data)
        _put(file.seen, write)
        file.unsynced.append(write)

    def fsync(self, name: str, done: Done) -> None:
        """Make durable what was written to ``name`` before this call; ``done`` is told when.

        ``done`` gets None or the OSError (EIO), some time later; it is not called where the
        process crashes before. Raises FileNotFoundError.
        """
        file = self._file(name)
        covered = list(file.unsynced)
        faults = self.faults
        fails = self._random.random() < faults.fsync_fails
        delay_us = self._random.randint(faults.fsync_us_min, faults.fsync_us_max)
        incarnation = self._process.incarnation
        label = f"fsync {name}" + (" EIO" if fails else "")

        def finish() -> None:
            # The disk works on while its process is paused, and not once it has crashed.
            if not self._process.running or self._process.incarnation != incarnation:
                return
            for write in covered:
                if write in file.unsynced:
                    file.unsynced.remove(write)
                    if not fails:
                        _put(file.durable, write)
            error = OSError(errno.EIO, "the simulated fsync failed", name) if fails else None
            self._process.after(0, label, lambda: done(error))

        self._world.after(delay_us, f"{self._process.name} {label}", finish)

    def remove(self, name: str) -> None:
        """Remove a file, durably and at once. Raises FileNotFoundError."""
        self._file(name)
        self._world.note(f"remove {self._process.name} {name}")
        del self._files[name]

    def used_bytes(self) -> int:
        """How full the disk is, as ``DiskFaults.bytes_max`` counts."""
        return sum(len(file.seen) for file in self._files.values())

    def flip_bit(self, name: str, *, bytes_max: int | None = None) -> None:
        """Let one bit of a durable file rot, chosen by chance among the first ``bytes_max`` bytes.

        An empty one cannot. Raises FileNotFoundError.
        """
        file = self._file(name)
        size = len(file.durable) if bytes_max is None else min(bytes_max, len(file.durable))
        if not size:
            return
        bit = self._random.randrange(size * 8)
        self._world.note(f"flip {self._process.name} {name} {bit}")
        rotten = file.durable[bit // 8] ^ 1 << bit % 8
        if file.seen[bit // 8] == file.durable[bit // 8]:
            file.seen[bit // 8] = rotten
        file.durable[bit // 8] = rotten

    def _file(self, name: str) -> _File:
        if name not in self._files:
            raise FileNotFoundError(errno.ENOENT, "no such file", name)
        return self._files[name]

    def _crash(self) -> None:
        for name in sorted(self._files):
            file = self._files[name]
            for write in file.unsynced:
                fate = self._random.random()
                kept = len(write.data)
                if fate < self.faults.lost:
                    continue
                if fate < self.faults.lost + self.faults.torn:
                    kept = self._random.randrange(kept) if kept else 0
                _put(file.durable, _Write(write.offset, write.data[:kept]))
            file.unsynced.clear()
            file.seen = bytearray(file.durable)
            self._world.note(f"left {self._process.name} {name}", bytes(file.durable))


def _put(content: bytearray, write: _Write) -> None:
    if not write.data:
        return
    if len(content) < write.offset:
        content.extend(bytes(write.offset - len(content)))
    content[write.offset : write.offset + len(write.data)] = write.data
