"""What is known of executions: in a data directory, read beside whoever may be writing it, or
at a service. Starts nothing and changes nothing.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import msgspec

from omium.actors.shards.journals import Journals
from omium.cli.places import Place
from omium.config import Settings
from omium.errors import Conflict, NotFound, OmiumError
from omium.execution.events import Entry
from omium.execution.records import Payload
from omium.execution.state import ExecutionState
from omium.runtime.endpoint import is_owned
from omium.storage.journal import PAGE_ROWS_MAX, ExecutionRow
from omium.types import ExecutionId, Json, Status

REPLICA_NAME = "replica.sqlite"
LAST = "last"
AT_WORK: tuple[Status, ...] = ("queued", "running")
LISTED = "`omium ps` lists what there is"


class Records(ABC):
    """The executions of one place. Use ``opened_at``."""

    @abstractmethod
    def resolve(self, name: str) -> ExecutionId:
        """The execution that ``name`` means: its id, the beginning of it, or ``last``.

        Raises ``NotFound``.
        """

    @abstractmethod
    def state(self, execution_id: ExecutionId) -> ExecutionState:
        """The state that the journal of an execution adds up to. Raises ``NotFound``."""

    @abstractmethod
    def entries(self, execution_id: ExecutionId) -> list[Entry]:
        """The whole journal of an execution."""

    @abstractmethod
    def rows(
        self, *, statuses: Sequence[Status] = (), workflow: str | None = None
    ) -> Iterator[ExecutionRow]:
        """Executions, the newest first."""

    @abstractmethod
    def row(self, execution_id: ExecutionId) -> ExecutionRow:
        """One execution as it is in a list. Raises ``NotFound``."""

    @abstractmethod
    def interrupted(self, status: Status) -> bool:
        """Whether an execution of that status is worked on by nobody."""

    @abstractmethod
    def value(self, payload: Payload, state: ExecutionState) -> Json:
        """The value of a payload in the journal of ``state``, from the blob store where it lies
        there. Raises ``CorruptBlob``, ``NotFound`` or ``BlobStoreError``."""

    def shown_status(self, status: Status) -> str:
        """The status for people: ``interrupted`` for what nobody works on."""
        return "interrupted" if self.interrupted(status) else status

    def output(self, state: ExecutionState) -> Json:
        """The result of a completed execution: the output of its last agent, or the outputs of
        its last agents by name. Raises ``Conflict`` when it has not completed."""
        if state.status != "completed":
            raise Conflict(f"{state.id} is {self.shown_status(state.status)}")
        outputs = {
            name: self.value(output, state)
            for name in state.result
            if (output := state.agents[name].output) is not None
        }
        return outputs[state.result[0]] if len(state.result) == 1 else outputs

    def row_json(self, row: ExecutionRow) -> dict[str, Any]:
        """A row of the list of executions for machines."""
        return {**msgspec.to_builtins(row), "interrupted": self.interrupted(row.status)}


class DirectoryRecords(Records):
    """What a data directory holds. Use ``opened``."""

    def __init__(self, settings: Settings, journals: Journals) -> None:
        self._settings = settings
        self.journals = journals
        self._owned = is_owned(settings.data_dir)

    def resolve(self, name: str) -> ExecutionId:
        if name != LAST:
            return self.journals.find(name)
        rows = self.journals.executions(limit=1)
        if not rows:
            raise NotFound("execution", LAST, "nothing has run in this data directory yet")
        return rows[0].id

    def state(self, execution_id: ExecutionId) -> ExecutionState:
        state = self.journals.of(execution_id).fold(execution_id)
        if state is None:
            raise NotFound("execution", execution_id, LISTED)
        return state

    def entries(self, execution_id: ExecutionId) -> list[Entry]:
        return list(self.journals.of(execution_id).all_entries(execution_id))

    def rows(
        self, *, statuses: Sequence[Status] = (), workflow: str | None = None
    ) -> Iterator[ExecutionRow]:
        before: str | None = None
        while True:
            page = self.journals.executions(
                statuses=statuses, workflow=workflow, before=before, limit=PAGE_ROWS_MAX
            )
            yield from page
            if len(page) < PAGE_ROWS_MAX:
                return
            before = page[-1].id

    def row(self, execution_id: ExecutionId) -> ExecutionRow:
        rows = self.journals.executions(execution_id=execution_id, tenant=None, limit=1)
        if not rows:
            raise NotFound("execution", execution_id, LISTED)
        return rows[0]

    def interrupted(self, status: Status) -> bool:
        return status in AT_WORK and not self._owned

    def value(self, payload: Payload, state: ExecutionState) -> Json:
        if payload.blob is None:
            return payload.inline
        # Behind an import that takes a second, and seldom needed.
        from omium.serve.composition import s3_options
        from omium.storage.blobs import open_blob_store

        blobs = open_blob_store(self._settings.blobs, s3=s3_options(self._settings))
        return asyncio.run(blobs.get_json(payload.blob, tenant=state.tenant))


@contextmanager
def opened(settings: Settings) -> Iterator[DirectoryRecords]:
    """The records in the data directory of ``settings``. Raises ``NotFound`` for an empty one."""
    journals = Journals.open(settings.data_dir)
    try:
        yield DirectoryRecords(settings, journals)
    finally:
        journals.close()


@contextmanager
def opened_if_any(settings: Settings) -> Iterator[DirectoryRecords | None]:
    """Like ``opened``, with None for a data directory in which nothing has run yet."""
    if not (settings.data_dir / REPLICA_NAME).exists():
        yield None
        return
    with opened(settings) as records:
        yield records


@contextmanager
def opened_at(place: Place) -> Iterator[Records]:
    """The records of a place. Raises ``NotFound`` for an empty data directory."""
    if place.address is None:
        with opened(place.settings) as records:
            yield records
        return
    # Behind an import that only those pay for who ask a service.
    from omium.cli.remote import service_records

    with service_records(place.address) as records:
        yield records


def known_ids(settings: Settings, prefix: str, limit: int = 50) -> list[tuple[str, str]]:
    """Ids that begin with ``prefix``, the newest first, each with a few words about it, for
    shells to complete. Nothing where nothing can be read."""
    try:
        with opened_if_any(settings) as records:
            if records is None:
                return []
            rows = records.journals.executions(id_prefix=prefix, limit=limit)
            return [(r.id, f"{r.workflow} {records.shown_status(r.status)}") for r in rows]
    except OmiumError:
        # A shell that completes a word has no place to show an error in.
        return []
