"""The row of an execution in the list of all: what it shows of a state, and how it is written.

``Journal`` reads them.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable

from omium.errors import CorruptRecord
from omium.execution.people import pause_of
from omium.execution.state import ExecutionState
from omium.storage.journal import COLUMNS, ExecutionRow, column_values, row_checksum
from omium.types import ExecutionId

_PLACED = (
    f"INSERT OR REPLACE INTO executions ({', '.join(COLUMNS)}, crc) "
    f"VALUES ({', '.join('?' * len(COLUMNS))}, ?)"
)

# Two indexes are of these columns. Most events leave them as they are, and then neither index is
# written.
_INDEXED = ("id", "tenant", "status")
_OTHERS = tuple(place for place, column in enumerate(COLUMNS) if column not in _INDEXED)
_UPDATED = (
    f"UPDATE executions SET {', '.join(f'{COLUMNS[place]} = ?' for place in _OTHERS)}, crc = ? "
    "WHERE id = ?"
)


def write_rows(
    connection: sqlite3.Connection, states: Iterable[tuple[ExecutionState, bool]]
) -> None:
    """Write the row of each state, which comes with whether its row has that status already.

    Inside an open transaction. Raises ``CorruptRecord`` where such a row is missing.
    """
    placed: list[tuple[object, ...]] = []
    updated: list[tuple[object, ...]] = []
    for state, has_status in states:
        row = row_of(state)
        values, crc = column_values(row), row_checksum(row)
        if has_status:
            updated.append((*[values[place] for place in _OTHERS], crc, row.id))
        else:
            placed.append((*values, crc))
    if placed:
        connection.executemany(_PLACED, placed)
    if updated:
        found = connection.executemany(_UPDATED, updated).rowcount
        if found != len(updated):
            missing = f"{len(updated) - found} of {len(updated)} rows are missing"
            raise CorruptRecord("executions", missing)


def row_of(state: ExecutionState) -> ExecutionRow:
    """What the list of executions shows of a state."""
    detail = ""
    if state.failure is not None:
        detail = state.failure.message
    elif state.pause is not None:
        detail = state.pause.detail
    elif state.status in ("queued", "running") and (asked := pause_of(state)) is not None:
        detail = asked.detail
    totals = state.totals
    return ExecutionRow(
        id=ExecutionId(state.id),
        tenant=state.tenant,
        workflow=state.workflow,
        version=state.version,
        status=state.status,
        created_ms=state.created_ms,
        updated_ms=state.updated_ms,
        last_index=state.index,
        origin=f"{state.origin.execution_id}@{state.origin.index}" if state.origin else None,
        detail=detail[:500],
        agents_done=sum(agent.is_done for agent in state.agents.values()),
        agents_total=len(state.agents),
        llm_calls=totals.llm_calls,
        tool_calls=totals.tool_calls,
        checkpoints=totals.checkpoints,
        prompt_tokens=totals.prompt_tokens,
        completion_tokens=totals.completion_tokens,
        cost_micros=totals.cost_micros,
        labels=state.labels,
    )
