"""Where a member keeps its log and what came of applying it, and one such place in memory.

``Batch`` is what one ``Ready`` asks of a disk, all of it or nothing. Log and applied state are
written together, so that they cannot disagree.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Generic, Protocol, TypeVar

import msgspec

from omium.consensus.records import ConfState, Entry, EntryType, HardState, Snapshot
from omium.consensus.storage import MemoryStorage, Storage
from omium.errors import InvariantBroken, OmiumError

R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)


class Batch(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be written at once, in this order.

    ``snapshot`` takes the place of log and state; ``entries`` that of whatever the log holds from
    the first one's index on; ``committed`` are applied one after the other. ``conf_state`` are
    the members after the last of these, None where they stay. Where ``must_sync`` is False a
    crash may take the batch back.
    """

    snapshot: Snapshot | None = None
    hard_state: HardState | None = None
    entries: Sequence[Entry] = ()
    committed: Sequence[Entry] = ()
    conf_state: ConfState | None = None
    must_sync: bool = True


class LogStore(Protocol[R_co]):
    """One member's disk. ``R_co`` is what the state machine says to a command."""

    @property
    def storage(self) -> Storage:
        """The log, as consensus reads it. It shows what was written, synced or not."""
        ...

    @property
    def applied(self) -> int:
        """The last index that was applied."""
        ...

    @property
    def halted(self) -> bool:
        """Whether nothing can be written any more, since what the disk holds is unknown."""
        ...

    def write(
        self, batch: Batch, done: Callable[[Sequence[R_co | None] | OmiumError], None]
    ) -> None:
        """Write ``batch``, and tell ``done`` when that is durable (as far as ``must_sync`` asks).

        ``done`` gets one result for each of ``batch.committed``: what the state machine said,
        None for entries that are none of its own. Or it gets the error for which nothing was
        written; the same batch may be tried again unless the store is ``halted``. It may be
        called before ``write`` returns. No second batch is given before it was.
        """
        ...


class Machine(Protocol[R_co]):
    """A deterministic state machine that is small enough to be copied."""

    def apply(self, index: int, command: bytes) -> R_co:
        """Carry out the command that the log has at ``index``."""
        ...

    def save(self) -> bytes:
        """The whole state."""
        ...

    def load(self, data: bytes) -> None:
        """Be what ``save`` gave; with no data, the state of the beginning."""
        ...


class _Snapshots(MemoryStorage):
    """A log whose snapshots are made when they are asked for."""

    def __init__(self, start: Snapshot | None, taken: Callable[[], tuple[int, bytes]]) -> None:
        super().__init__(start)
        self._taken = taken

    def snapshot(self) -> Snapshot:
        return self.make_snapshot(*self._taken())


class MemoryLogStore(Generic[R]):
    """A log and a machine in memory. Nothing of it is durable, and nothing fails.

    ``start`` is the group's ``initial_snapshot`` for its first members, None for others. Of the
    log ``kept`` applied entries are left for members that lag.
    """

    halted = False

    def __init__(
        self, machine: Machine[R], start: Snapshot | None = None, *, kept: int = 1_024
    ) -> None:
        self.machine = machine
        self.applied = start.index if start is not None else 0
        self.storage = _Snapshots(start, lambda: (self.applied, machine.save()))
        self._kept = kept

    def write(self, batch: Batch, done: Callable[[Sequence[R | None] | OmiumError], None]) -> None:
        """See ``LogStore``. Raises ``InvariantBroken`` for a batch that no ``Ready`` asks for."""
        storage = self.storage
        if batch.snapshot is not None and batch.snapshot.index > self.applied:
            storage.install(batch.snapshot)
            self.machine.load(batch.snapshot.data)
            self.applied = batch.snapshot.index
        if batch.hard_state is not None:
            storage.set_hard_state(batch.hard_state)
        storage.append(batch.entries)
        results = [self._apply(entry) for entry in batch.committed]
        if batch.conf_state is not None:
            storage.set_conf_state(batch.conf_state)
        storage.compact(self.applied - self._kept)
        done(results)

    def _apply(self, entry: Entry) -> R | None:
        if entry.index != self.applied + 1:
            raise InvariantBroken(f"entry {entry.index} is to be applied after {self.applied}")
        self.applied = entry.index
        if entry.type is not EntryType.NORMAL or not entry.data:
            return None
        return self.machine.apply(entry.index, entry.data)
