"""Reading a data directory without starting anything, beside whoever may be writing it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgspec

from omium.config import Settings
from omium.errors import Conflict, NotFound, OmiumError
from omium.execution.records import Payload
from omium.execution.state import ExecutionState
from omium.runtime.endpoint import is_owned
from omium.storage.journal import ExecutionRow, Journal
from omium.types import ExecutionId, Json, Status, TenantId

REPLICA_NAME = "replica.sqlite"
LAST = "last"
AT_WORK: tuple[Status, ...] = ("queued", "running")


class Records:
    """What a data directory holds. Use ``opened``."""

    def __init__(self, settings: Settings, journal: Journal) -> None:
        self._settings = settings
        self.journal = journal
        self._owned = is_owned(settings.data_dir)

    def resolve(self, name: str) -> ExecutionId:
        """The execution that ``name`` means: its id, the beginning of it, or ``last``.

        Raises ``NotFound``.
        """
        if name != LAST:
            return self.journal.find(name)
        rows = self.journal.executions(limit=1)
        if not rows:
            raise NotFound("execution", LAST, "nothing has run in this data directory yet")
        return rows[0].id

    def state(self, execution_id: ExecutionId) -> ExecutionState:
        """The state that the journal of an execution adds up to. Raises ``NotFound``."""
        state = self.journal.fold(execution_id)
        if state is None:
            raise NotFound("execution", execution_id, "`omium ps` lists what there is")
        return state

    def interrupted(self, status: Status) -> bool:
        """Whether an execution of that status is worked on by nobody."""
        return status in AT_WORK and not self._owned

    def shown_status(self, status: Status) -> str:
        """The status for people: ``interrupted`` for what nobody works on."""
        return "interrupted" if self.interrupted(status) else status

    def value(self, payload: Payload, tenant: TenantId) -> Json:
        """The value of a payload, from the blob store where it lies there.

        Raises ``CorruptBlob``, ``NotFound`` or ``BlobStoreError``.
        """
        if payload.blob is None:
            return payload.inline
        # Behind an import that takes a second, and seldom needed.
        from omium.serve.composition import s3_options
        from omium.storage.blobs import open_blob_store

        blobs = open_blob_store(self._settings.blobs, s3=s3_options(self._settings))
        return asyncio.run(blobs.get_json(payload.blob, tenant=tenant))

    def output(self, state: ExecutionState) -> Json:
        """The result of a completed execution: the output of its last agent, or the outputs of
        its last agents by name. Raises ``Conflict`` when it has not completed."""
        if state.status != "completed":
            raise Conflict(f"{state.id} is {self.shown_status(state.status)}")
        outputs = {
            name: self.value(output, state.tenant)
            for name in state.result
            if (output := state.agents[name].output) is not None
        }
        return outputs[state.result[0]] if len(state.result) == 1 else outputs

    def row_json(self, row: ExecutionRow) -> dict[str, Any]:
        """A row of the list of executions for machines."""
        return {**msgspec.to_builtins(row), "interrupted": self.interrupted(row.status)}


@contextmanager
def opened(settings: Settings) -> Iterator[Records]:
    """The records in the data directory of ``settings``. Raises ``NotFound`` for an empty one."""
    journal = Journal.open(settings.data_dir / REPLICA_NAME)
    try:
        yield Records(settings, journal)
    finally:
        journal.close()


@contextmanager
def opened_if_any(settings: Settings) -> Iterator[Records | None]:
    """Like ``opened``, with None for a data directory in which nothing has run yet."""
    if not (settings.data_dir / REPLICA_NAME).exists():
        yield None
        return
    with opened(settings) as records:
        yield records


def execution_id_of(settings: Settings, name: str) -> ExecutionId:
    """See ``Records.resolve``. Raises ``NotFound``."""
    with opened(settings) as records:
        return records.resolve(name)


def known_ids(settings: Settings, prefix: str, limit: int = 50) -> list[tuple[str, str]]:
    """Ids that begin with ``prefix``, the newest first, each with a few words about it, for
    shells to complete. Nothing where nothing can be read."""
    try:
        with opened_if_any(settings) as records:
            rows = records.journal.executions(limit=limit) if records is not None else []
            return [
                (row.id, f"{row.workflow} {records.shown_status(row.status)}")
                for row in rows
                if records is not None and row.id.startswith(prefix)
            ]
    except OmiumError:
        # A shell that completes a word has no place to show an error in.
        return []
