"""The status machine as a table for readers, drawn from ``TRANSITIONS``.

``python -m tests.execution.diagram`` prints it, for the documentation too.
"""

from __future__ import annotations

import sys
from typing import get_args

from omium.execution.events import Event
from omium.execution.transitions import TRANSITIONS
from omium.types import Status

_HEAD = """\
The status of an execution after an event (down) that comes in a status (across).
A dot keeps the status; an empty place means that the event is refused.

"""
_BEGIN = "(none)"


def transitions_drawn() -> str:
    """One row for each event in the order of ``events.Event``, one column for each status."""
    statuses: list[Status | None] = [None, *get_args(Status)]
    rows = [["", *(status or _BEGIN for status in statuses)]]
    for event in get_args(Event):
        row = [type_name(event)]
        for status in statuses:
            after = TRANSITIONS.get((status, event))
            row.append("" if after is None else "." if after == status else after)
        rows.append(row)
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = (
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )
    return _HEAD + "\n".join(lines) + "\n"


def type_name(event: type[Event]) -> str:
    return str(event.__struct_config__.tag)


if __name__ == "__main__":
    sys.stdout.write(transitions_drawn())
