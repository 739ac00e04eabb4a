"""The end of the log that is not yet known to be durable."""

from __future__ import annotations

from collections.abc import Sequence

from omium.consensus.records import Entry, Snapshot


class Unstable:
    """Entries, and at most one snapshot, that the driver has still to write.

    ``entries[i]`` has the index ``offset + i``. ``offset`` may be at or below the last index of
    the storage: then the entries there are void and will be overwritten.
    """

    __slots__ = ("entries", "offset", "snapshot")

    def __init__(self, offset: int) -> None:
        self.offset = offset
        self.entries: list[Entry] = []
        self.snapshot: Snapshot | None = None

    @property
    def last_index(self) -> int:
        """The last index of the whole log: what is durable ends where this begins."""
        return self.offset + len(self.entries) - 1

    def append(self, entries: Sequence[Entry]) -> None:
        """Put ``entries`` at their place, and drop what was there and behind it."""
        first = entries[0].index
        if first <= self.offset:
            self.offset = first
            self.entries = list(entries)
            return
        if first <= self.last_index:
            del self.entries[first - self.offset :]
        self.entries.extend(entries)

    def stable_to(self, index: int, term: int) -> None:
        """Forget the entries up to ``index``: they are durable.

        Unless what is here now is another entry than the one of ``term`` that was written: a
        new leader has replaced it in the meantime, and it has to be written again.
        """
        count = index - self.offset + 1
        if 0 < count <= len(self.entries) and self.entries[count - 1].term == term:
            del self.entries[:count]
            self.offset += count

    def stable_snapshot_to(self, index: int) -> None:
        """Forget the snapshot of ``index``: it is installed."""
        if self.snapshot is not None and self.snapshot.index == index:
            self.snapshot = None

    def restore(self, snapshot: Snapshot) -> None:
        """Start over from ``snapshot``."""
        self.offset = snapshot.index + 1
        self.entries = []
        self.snapshot = snapshot
