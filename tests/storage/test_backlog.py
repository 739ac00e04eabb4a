"""What is kept of a log for the archive: as much as the bounds allow, however it came to be."""

from __future__ import annotations

import sqlite3
from unittest.mock import patch

from hypothesis import given
from hypothesis import strategies as st

from omium.storage import backlog
from omium.storage.backlog import Backlog

ROWS = 9
BYTES = 40


def kept_after(sizes: list[int], shipped: int) -> int:
    """What it comes to when all is counted each time; entry 1 is the first of ``sizes``."""
    after = max(shipped, len(sizes) - ROWS)
    while sum(sizes[after:]) > BYTES:
        after += 1
    return after


STEPS = {
    "append": st.lists(st.integers(0, 12), min_size=1, max_size=4),
    "ship": st.integers(0, 5),
    "trim": st.integers(0, 5),
    "another writer": st.integers(0, 5),
    "roll back": st.none(),
}
# What begins anew comes seldom, so that there is something to be counted on.
OFTEN = ["append", "ship", "append", "ship", "append", "trim", "another writer", "roll back"]


@given(
    st.lists(
        st.sampled_from(OFTEN).flatmap(lambda step: st.tuples(st.just(step), STEPS[step])),
        min_size=5,
        max_size=40,
    )
)
def test_it_is_what_counting_everything_would_give(steps: list[tuple[str, object]]) -> None:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    connection.execute("CREATE TABLE log (idx INTEGER PRIMARY KEY, body BLOB)")
    sizes: list[int] = []
    shipped = 0
    counted = Backlog(connection)
    with patch.object(backlog, "ROWS_MAX", ROWS), patch.object(backlog, "BYTES_MAX", BYTES):
        for step, value in steps:
            if isinstance(value, list):
                for size in value:
                    sizes.append(size)
                    row = (len(sizes), bytes(size))
                    connection.execute("INSERT INTO log VALUES (?, ?)", row)
            elif step == "roll back":
                counted.forget()
            elif step == "ship":
                shipped = min(shipped + int(str(value)), len(sizes))
            elif step == "another writer":
                # Which begins at nothing, and finds out what the archive has.
                shipped = max(shipped - int(str(value)), 0)
            found = counted.kept_after(shipped, len(sizes))
            # Of what was dropped nothing is to be kept, though an archive lacked it.
            (first,) = connection.execute("SELECT coalesce(min(idx), 0) FROM log").fetchone()
            if first:
                assert max(found, first - 1) == max(kept_after(sizes, shipped), first - 1)
            if step == "trim":
                upto = max(found - int(str(value)), 0)
                connection.execute("DELETE FROM log WHERE idx <= ?", (upto,))
    connection.close()
