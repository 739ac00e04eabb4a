"""Where the log that is already durable is read from, and one place in memory.

Consensus only reads. Writing is the driver's: it takes what ``Ready`` says, makes it durable,
and then says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from omium.consensus.records import (
    EMPTY_HARD_STATE,
    NO_LIMIT,
    ConfState,
    Entry,
    HardState,
    Snapshot,
    within_bytes,
)
from omium.errors import InvariantBroken, SnapshotUnavailable


class Storage(Protocol):
    """The durable log, as consensus reads it.

    Everything but ``entries`` and ``snapshot`` is asked for often: answer from memory.
    """

    def initial_state(self) -> tuple[HardState, ConfState]:
        """What was saved last, asked for once, when a node starts.

        The members are those after the last entry that was applied.
        """
        ...

    def first_index(self) -> int:
        """The first index that ``entries`` can return, one more than the last compacted."""
        ...

    def last_index(self) -> int:
        """The last index of the log; ``first_index() - 1`` where there are no entries."""
        ...

    def term(self, index: int) -> int | None:
        """The term of the entry ``index``, for ``first_index() - 1 <= index <= last_index()``.

        None where that is not known (any more).
        """
        ...

    def entries(self, low: int, high: int, bytes_max: int) -> Sequence[Entry]:
        """The entries from ``low`` to before ``high``, cut off after ``bytes_max``.

        At least one, however large. Consensus asks for nothing outside of first and last.
        """
        ...

    def snapshot(self) -> Snapshot:
        """A snapshot, to be sent to a follower that is too far behind.

        Its index is at least ``first_index() - 1``, and its members are those of now: one that
        was made before a member joined is not sent to it. Raises ``SnapshotUnavailable`` where
        it is still being made. Either way consensus asks again after the next heartbeat.
        """
        ...


class MemoryStorage:
    """A log in memory, with the writes that a driver needs. Nothing of it is durable.

    The first members of a group start from their ``initial_snapshot``, others from nothing.
    """

    def __init__(self, snapshot: Snapshot | None = None) -> None:
        self.hard_state = EMPTY_HARD_STATE
        self._snapshot = snapshot or Snapshot(index=0, term=0)
        self._conf_state = self._snapshot.conf_state
        # What lies before the first entry: the place and term of the last one compacted.
        self._offset, self._offset_term = self._snapshot.index, self._snapshot.term
        self._entries: list[Entry] = []

    # ---- what consensus reads

    def initial_state(self) -> tuple[HardState, ConfState]:
        return self.hard_state, self._conf_state

    def first_index(self) -> int:
        return self._offset + 1

    def last_index(self) -> int:
        return self._offset + len(self._entries)

    def term(self, index: int) -> int | None:
        if index == self._offset:
            return self._offset_term
        if not self._offset < index <= self.last_index():
            return None
        return self._entries[index - self._offset - 1].term

    def entries(self, low: int, high: int, bytes_max: int = NO_LIMIT) -> Sequence[Entry]:
        if not self._offset < low <= high <= self.last_index() + 1:
            raise InvariantBroken(
                f"entries {low} to {high} were asked for, "
                f"there are {self.first_index()} to {self.last_index()}"
            )
        base = self._offset + 1
        return within_bytes(self._entries, low - base, high - base, bytes_max)

    def snapshot(self) -> Snapshot:
        if self._snapshot.index < self._offset:
            raise SnapshotUnavailable(f"none covers the compacted log up to {self._offset}")
        return self._snapshot

    # ---- what a driver writes

    def set_hard_state(self, hard_state: HardState) -> None:
        """Save term, vote and commit index."""
        self.hard_state = hard_state

    def set_conf_state(self, conf_state: ConfState) -> None:
        """Save the members after a change of them was applied."""
        self._conf_state = conf_state

    def append(self, entries: Sequence[Entry]) -> None:
        """Save ``entries`` and drop what followed the one before them.

        Entries at or below the last compacted index are skipped. Raises ``InvariantBroken``
        where they would leave a gap.
        """
        entries = [entry for entry in entries if entry.index > self._offset]
        if not entries:
            return
        first = entries[0].index
        if first > self.last_index() + 1:
            raise InvariantBroken(f"a gap in the log between {self.last_index()} and {first}")
        del self._entries[first - self._offset - 1 :]
        self._entries.extend(entries)

    def install(self, snapshot: Snapshot) -> None:
        """Start over from ``snapshot``, as a follower that was sent one. An old one is ignored."""
        if snapshot.index <= self._snapshot.index:
            return
        self._snapshot = snapshot
        self._conf_state = snapshot.conf_state
        self._offset, self._offset_term = snapshot.index, snapshot.term
        self._entries = []

    def make_snapshot(self, index: int, data: bytes = b"") -> Snapshot:
        """Take ``data`` for the state after entry ``index``, which must have been applied.

        The members are those that were saved last.
        """
        term = self.term(index)
        if term is None or index < self._snapshot.index:
            raise InvariantBroken(f"no snapshot can be made at index {index}")
        self._snapshot = Snapshot(index=index, term=term, conf_state=self._conf_state, data=data)
        return self._snapshot

    def compact(self, index: int) -> None:
        """Drop the entries up to ``index``, which must have been applied."""
        if index <= self._offset:
            return
        term = self.term(index)
        if term is None:
            raise InvariantBroken(f"the log ends before {index}")
        del self._entries[: index - self._offset]
        self._offset, self._offset_term = index, term
