"""How much of a replica's log waits for the archive, and from where on there is too much of it.

Counts, and drops nothing. Every row is measured when it comes and when it goes, and never again: a
log is asked about with each write while the archive is away.
"""

from __future__ import annotations

import sqlite3

ROWS_MAX = 65_536
"""Applied log rows kept until they are in the archive. More are not: a copy of the database then
takes their place there."""

BYTES_MAX = 256 * 1024 * 1024
"""The same in bytes of entries: four times what is shipped before a copy is due in any case."""


class Backlog:
    """See the module's docstring. What it is asked rests on the log of ``connection``, of which
    nothing may be dropped meanwhile after what it answers."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self.forget()

    def forget(self) -> None:
        """Count anew: the log is another one than it was, or was not asked about for a while."""
        self._shipped = self._after = self._upto = self._bytes = 0

    def kept_after(self, shipped: int, applied: int) -> int:
        """After which index the log is to be kept for the archive, which holds it up to
        ``shipped``: from there to ``applied`` are at most ``ROWS_MAX`` rows and ``BYTES_MAX``
        bytes."""
        if shipped < self._shipped:
            self.forget()
        self._shipped = shipped
        after = max(self._after, shipped, applied - ROWS_MAX)
        if after >= self._upto:
            self._bytes = self._measured(after, applied)
        else:
            self._bytes += self._measured(self._upto, applied) - self._measured(self._after, after)
        self._after, self._upto = after, max(after, applied)
        if self._bytes > BYTES_MAX:
            self._shorten()
        return self._after

    def _measured(self, after: int, upto: int) -> int:
        (size,) = self._connection.execute(
            "SELECT coalesce(sum(length(body)), 0) FROM log WHERE idx > ? AND idx <= ?",
            (after, upto),
        ).fetchone()
        return size

    def _shorten(self) -> None:
        for index, size in self._connection.execute(
            "SELECT idx, length(body) FROM log WHERE idx > ? AND idx <= ? ORDER BY idx",
            (self._after, self._upto),
        ):
            self._after = index
            self._bytes -= size
            if self._bytes <= BYTES_MAX:
                return
