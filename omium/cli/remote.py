"""Executions of a service, read over HTTP: the same records as those of a data directory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice

import msgspec

from omium.cli.places import ASK_RETRY_S
from omium.cli.records import LAST, LISTED, Records
from omium.client import Client, ExecutionInfo
from omium.errors import NotFound, OmiumError
from omium.execution.events import Entry, from_json
from omium.execution.fold import create, evolve
from omium.execution.records import Payload
from omium.execution.state import ExecutionState
from omium.storage.journal import ExecutionRow
from omium.types import ExecutionId, Json, Status

COMPLETED_MAX = 50


class ServiceRecords(Records):
    """What a service tells of the executions of the key's tenant. Use ``service_records``."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._journals: dict[ExecutionId, list[Entry]] = {}

    def resolve(self, name: str) -> ExecutionId:
        if name == LAST:
            for info in self._client.executions():
                return ExecutionId(info.id)
            raise NotFound("execution", LAST, "nothing has run at this service yet")
        try:
            return ExecutionId(self._client.execution(name).view().id)
        except NotFound:
            found = [info.id for info in islice(self._client.executions(id_prefix=name), 2)]
        if len(found) != 1:
            raise NotFound("execution", name, "more than one begins so" if found else LISTED)
        return ExecutionId(found[0])

    def state(self, execution_id: ExecutionId) -> ExecutionState:
        state = fold(self.entries(execution_id))
        assert state is not None, "an execution without a journal"
        return state

    def entries(self, execution_id: ExecutionId) -> list[Entry]:
        if execution_id not in self._journals:
            journal = self._client.execution(execution_id).journal()
            self._journals[execution_id] = [from_json(shown) for shown in journal]
        return self._journals[execution_id]

    def rows(
        self, *, statuses: Sequence[Status] = (), workflow: str | None = None
    ) -> Iterator[ExecutionRow]:
        for info in self._client.executions(statuses=statuses, workflow=workflow):
            yield _row_of(info)

    def row(self, execution_id: ExecutionId) -> ExecutionRow:
        return _row_of(self._client.execution(execution_id).view())

    def interrupted(self, status: Status) -> bool:
        """Never: the service works on what has not ended."""
        return False

    def value(self, payload: Payload, state: ExecutionState) -> Json:
        if payload.blob is None:
            return payload.inline
        return self._client.execution(state.id).blob(payload.blob.digest)


@contextmanager
def service_records(address: str) -> Iterator[ServiceRecords]:
    """The records of the service at ``address``. Raises what keeps it from being asked."""
    with Client(address, retry_s=ASK_RETRY_S) as client:
        yield ServiceRecords(client)


def fold(entries: Sequence[Entry]) -> ExecutionState | None:
    """The state that entries of a journal, from its first one on, add up to."""
    state: ExecutionState | None = None
    for entry in entries:
        state = folded(state, entry)
    return state


def folded(state: ExecutionState | None, entry: Entry) -> ExecutionState:
    """``state`` after one more entry; None before the first."""
    if state is None:
        return create(entry)
    evolve(state, entry)
    return state


def ids_at(address: str, prefix: str) -> list[tuple[str, str]]:
    """See ``known_ids``: those of a service."""
    try:
        with Client(address, retry_s=0) as client:
            newest = islice(client.executions(id_prefix=prefix), COMPLETED_MAX)
            return [(info.id, f"{info.workflow} {info.status}") for info in newest]
    except OmiumError:
        # A shell that completes a word has no place to show an error in.
        return []


def _row_of(info: ExecutionInfo) -> ExecutionRow:
    return msgspec.convert(msgspec.to_builtins(info), ExecutionRow)
