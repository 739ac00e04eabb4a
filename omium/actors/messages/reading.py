"""What clients read of executions and their journals. Nothing here changes anything.

Owns questions and their pages. Each names its tenant: what belongs to another one is not there.
How an execution looks is in ``views``.
"""

from __future__ import annotations

import msgspec

from omium.actors.messages.base import Message
from omium.actors.messages.calls import Delta
from omium.execution.events import Entry
from omium.storage.journal import ExecutionRow
from omium.types import DEFAULT_TENANT, ExecutionId, Status, TenantId


class GetExecution(Message, frozen=True, kw_only=True, tag="get_execution"):
    """Answer: ``ExecutionView``."""

    execution_id: ExecutionId
    tenant: TenantId = DEFAULT_TENANT


class ListExecutions(Message, frozen=True, kw_only=True, tag="list_executions"):
    """Executions, the newest first; ``before`` is the last id of the page before.

    Answer: ``ExecutionRows``.
    """

    tenant: TenantId = DEFAULT_TENANT
    statuses: tuple[Status, ...] = ()
    workflow: str | None = None
    id_prefix: str | None = None
    labels: dict[str, str] = msgspec.field(default_factory=dict)
    created_from_ms: int | None = None
    created_to_ms: int | None = None
    before: str | None = None
    limit: int = 50


class ExecutionRows(Message, frozen=True, kw_only=True, tag="execution_rows"):
    rows: tuple[ExecutionRow, ...]


class CountExecutions(Message, frozen=True, kw_only=True, tag="count_executions"):
    """How many executions have which status? Answer: ``ExecutionCounts``."""

    tenant: TenantId


class ExecutionCounts(Message, frozen=True, kw_only=True, tag="execution_counts"):
    """A status of which there is none is left out."""

    counts: dict[Status, int]


class ReadJournal(Message, frozen=True, kw_only=True, tag="read_journal"):
    """Read the journal after index ``after``, and ``wait`` until there is something to read.

    With ``through_pauses`` a paused execution is waited for like one at work. ``live_after``
    asks for deltas too: 0 at first, then what the last answer said. With ``until_stopped`` no
    entry is asked for, only to be told once nothing follows. Answer: ``Entries``.
    """

    execution_id: ExecutionId
    after: int
    tenant: TenantId = DEFAULT_TENANT
    limit: int = 100
    wait: bool = True
    through_pauses: bool = False
    live_after: int | None = None
    until_stopped: bool = False


class Entries(Message, frozen=True, kw_only=True, tag="entries"):
    """A page of a journal. ``stopped`` says that nothing follows while nobody resumes it.

    ``deltas`` came before the entries; ``dropped`` of them are gone. ``live`` is what the next
    read is to ask with.
    """

    entries: tuple[Entry, ...]
    stopped: bool
    deltas: tuple[Delta, ...] = ()
    dropped: int = 0
    live: int = 0
