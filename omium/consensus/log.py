"""The log of a node: what is durable and what is not yet, as one (paper, section 5.3)."""

from __future__ import annotations

from collections.abc import Sequence

from omium.consensus.records import (
    Entry,
    EntryType,
    Snapshot,
    within_bytes,
)
from omium.consensus.storage import Storage
from omium.consensus.unstable import Unstable
from omium.errors import InvariantBroken

_CONF_CHANGES = (EntryType.CONF_CHANGE, EntryType.CONF_CHANGE_V2)


class RaftLog:
    """The log, and how much of it is committed and applied.

    ``applied <= committed <= last_index``, and both never go back.
    """

    __slots__ = ("_committed_bytes_max", "_storage", "applied", "committed", "unstable")

    def __init__(self, storage: Storage, *, committed_bytes_max: int) -> None:
        self._storage = storage
        self._committed_bytes_max = committed_bytes_max
        self.unstable = Unstable(storage.last_index() + 1)
        # What was compacted was applied before.
        self.committed = self.applied = storage.first_index() - 1

    # ---- what is there

    @property
    def first_index(self) -> int:
        """The first index whose entry is still there."""
        snapshot = self.unstable.snapshot
        return snapshot.index + 1 if snapshot is not None else self._storage.first_index()

    @property
    def last_index(self) -> int:
        """The last index; one before ``first_index`` where the log is empty."""
        unstable = self.unstable
        return unstable.offset + len(unstable.entries) - 1

    @property
    def last_term(self) -> int:
        """The term of the last entry."""
        term = self.term(self.last_index)
        if term is None:
            raise InvariantBroken(f"the term of the last entry, {self.last_index}, is not known")
        return term

    def term(self, index: int) -> int | None:
        """The term of the entry ``index``; None where it is compacted or not there yet.

        That of the last compacted entry is known.
        """
        unstable = self.unstable
        place = index - unstable.offset
        if place >= 0:
            return unstable.entries[place].term if place < len(unstable.entries) else None
        snapshot = unstable.snapshot
        if snapshot is not None:
            return snapshot.term if index == snapshot.index else None
        return self._storage.term(index)

    def matches(self, index: int, term: int) -> bool:
        """Whether the entry ``index`` is there and has ``term``."""
        return self.term(index) == term

    def is_up_to_date(self, last_index: int, last_term: int) -> bool:
        """Whether a log that ends so holds at least what this one does (paper, section 5.4.1)."""
        own = self.last_term
        return last_term > own or (last_term == own and last_index >= self.last_index)

    def slice(self, low: int, high: int, bytes_max: int) -> Sequence[Entry]:
        """The entries from ``low`` to before ``high``, cut off after ``bytes_max``.

        At least one, however large, where ``low < high``.
        """
        if low >= high:
            return []
        unstable, offset = self.unstable, self.unstable.offset
        if low >= offset:
            return within_bytes(unstable.entries, low - offset, high - offset, bytes_max)
        stable_high = min(high, offset)
        stable = self._storage.entries(low, stable_high, bytes_max)
        if high <= offset or len(stable) < stable_high - low:
            return stable
        both = [*stable, *unstable.entries[: high - offset]]
        return within_bytes(both, 0, len(both), bytes_max)

    def entries_from(self, low: int, bytes_max: int) -> Sequence[Entry]:
        """The entries from ``low`` on, cut off after ``bytes_max``; none behind the last."""
        return self.slice(low, self.last_index + 1, bytes_max)

    # ---- appending

    def append(self, entries: Sequence[Entry]) -> int:
        """Put ``entries`` at their place, drop what followed, and return the last index."""
        if entries:
            if entries[0].index <= self.committed:
                raise InvariantBroken(
                    f"entry {entries[0].index} is to be replaced, "
                    f"and everything up to {self.committed} is committed"
                )
            self.unstable.append(entries)
        return self.last_index

    def maybe_append(
        self, previous_index: int, previous_term: int, entries: Sequence[Entry], commit: int
    ) -> int | None:
        """Take over what a leader sent, if the logs agree before it (paper, figure 2).

        Returns the index of the last entry sent, or None where the logs do not agree. What is
        already there is kept, so that an old append takes nothing back.
        """
        if self.term(previous_index) != previous_term:
            return None
        last_new = previous_index + len(entries)
        if entries:
            skip = 0
            # Nearly always everything is new.
            if previous_index != self.last_index:
                skip = self._agreed(entries)
            if skip < len(entries):
                self.append(entries[skip:] if skip else entries)
        self.commit_to(min(commit, last_new))
        return last_new

    def _agreed(self, entries: Sequence[Entry]) -> int:
        """How many of the first of ``entries`` are in the log already."""
        for count, entry in enumerate(entries):
            if self.term(entry.index) != entry.term:
                return count
        return len(entries)

    def last_agreement(self, index: int, term: int) -> tuple[int, int]:
        """The last place at or below ``index`` whose term is at most ``term``.

        Another log that has an entry of ``term`` at ``index`` cannot agree with this one after
        it, so whole terms are skipped at a time (paper, end of section 5.3). Returns the index
        and its term, 0 where the term is no longer known.
        """
        while index > 0:
            own = self.term(index)
            if own is None:
                return index, 0
            if own <= term:
                return index, own
            index -= 1
        return 0, 0

    # ---- committing and applying

    def commit_to(self, index: int) -> None:
        """Everything up to ``index`` is committed. Never takes anything back."""
        if index > self.committed:
            if index > self.last_index:
                raise InvariantBroken(
                    f"index {index} is committed, and the log ends at {self.last_index}: "
                    "entries that were acknowledged are lost"
                )
            self.committed = index

    def maybe_commit(self, index: int, term: int) -> bool:
        """Commit up to ``index``, which a quorum has, if that entry is of ``term``.

        Entries of earlier terms are committed only by one of the leader's own above them
        (paper, section 5.4.2 and figure 8).
        """
        if index <= self.committed or self.term(index) != term:
            return False
        self.commit_to(index)
        return True

    def has_next_committed(self) -> bool:
        """Whether there is something to apply."""
        return self.committed > self.applied and self.unstable.snapshot is None

    def next_committed(self) -> Sequence[Entry]:
        """What is committed and not applied, cut off after the bound for one ``Ready``.

        Nothing while a snapshot waits to be installed: it comes first.
        """
        if not self.has_next_committed():
            return []
        return self.slice(self.applied + 1, self.committed + 1, self._committed_bytes_max)

    def applied_to(self, index: int) -> None:
        """Everything up to ``index`` is applied."""
        if not self.applied <= index <= self.committed:
            raise InvariantBroken(
                f"applied {index} is not between {self.applied} (applied) "
                f"and {self.committed} (committed)"
            )
        self.applied = index

    def has_unapplied_conf_change(self, bytes_max: int) -> bool:
        """Whether a change of members is committed and not yet applied.

        Looks at ``bytes_max`` of entries at a time, so that a long backlog is never held whole.
        """
        low = self.applied + 1
        while low <= self.committed:
            page = self.slice(low, self.committed + 1, bytes_max)
            if any(entry.type in _CONF_CHANGES for entry in page):
                return True
            low += len(page)
        return False

    # ---- snapshots

    def snapshot(self) -> Snapshot:
        """The newest snapshot. Raises ``SnapshotUnavailable``."""
        return self.unstable.snapshot or self._storage.snapshot()

    def restore(self, snapshot: Snapshot) -> None:
        """Start over from ``snapshot``, of which all is committed."""
        self.committed = snapshot.index
        self.unstable.restore(snapshot)
