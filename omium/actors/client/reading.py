"""What a client reads of executions: as they stand, as they go on, and what came of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import TypeAlias

import msgspec

from omium.actors import messages as m
from omium.actors.client.bound import Bound
from omium.actors.payloads import value_of
from omium.errors import (
    DeadlineExceeded,
    ExecutionCancelled,
    ExecutionFailed,
    ExecutionPaused,
)
from omium.execution.blobref import BlobRef
from omium.execution.events import Entry
from omium.execution.records import Payload
from omium.storage.journal import ExecutionRow
from omium.types import ExecutionId, Json, Status

WAIT_DEADLINE_S = 90.0
"""For one coordinator, which answers after 30 s at most, and to find one: it may be restarted."""

PAGE_ENTRIES_MAX = 100


class Lagged(msgspec.Struct, frozen=True, kw_only=True):
    """So many deltas are gone that one who reads more quickly would have seen."""

    dropped: int


class Quiet(msgspec.Struct, frozen=True):
    """Nothing has happened for a while: a moment to see whether the reader is still there."""


News: TypeAlias = "Entry | m.Delta | Lagged | Quiet"
"""What comes of following an execution."""


class Reading(Bound):
    """Requests that change nothing."""

    async def view(self, execution_id: ExecutionId) -> m.ExecutionView:
        """An execution as it stands. Raises ``NotFound``."""
        return await self._link.call(self._get(execution_id))

    def _get(self, execution_id: ExecutionId) -> m.GetExecution:
        return m.GetExecution(execution_id=execution_id, tenant=self._tenant)

    async def executions(
        self,
        *,
        statuses: Sequence[Status] = (),
        workflow: str | None = None,
        id_prefix: str | None = None,
        labels: Mapping[str, str] | None = None,
        created_from_ms: int | None = None,
        created_to_ms: int | None = None,
        before: str | None = None,
        limit: int = 50,
    ) -> list[ExecutionRow]:
        """Executions, the newest first. ``before`` is the last id of the page before."""
        page = await self._link.call(
            m.ListExecutions(
                tenant=self._tenant,
                statuses=tuple(statuses),
                workflow=workflow,
                id_prefix=id_prefix,
                labels=dict(labels or {}),
                created_from_ms=created_from_ms,
                created_to_ms=created_to_ms,
                before=before,
                limit=limit,
            )
        )
        return list(page.rows)

    async def counts(self) -> dict[Status, int]:
        """How many executions have which status; one of which there is none is left out."""
        return (await self._link.call(m.CountExecutions(tenant=self._tenant))).counts

    async def entries(
        self, execution_id: ExecutionId, *, after: int = 0, limit: int = PAGE_ENTRIES_MAX
    ) -> list[Entry]:
        """At most ``limit`` (and 100) journal entries after an index, as they are now."""
        page = await self._link.call(
            m.ReadJournal(
                execution_id=execution_id,
                after=after,
                tenant=self._tenant,
                limit=limit,
                wait=False,
            )
        )
        return list(page.entries)

    async def follow(
        self, execution_id: ExecutionId, after: int = 0, *, live: bool = False
    ) -> AsyncIterator[News]:
        """What happens to an execution after journal index ``after``, until it has ended.

        Each entry comes once and in order, also after a restart of the coordinator, and a pause
        is waited through. With ``live``, pieces of answers come before the entries that
        supersede them; those may be lost. A ``Quiet`` comes when nothing happens for 30 s.
        """
        live_after = 0 if live else None
        while True:
            page = await self._link.call(
                m.ReadJournal(
                    execution_id=execution_id,
                    after=after,
                    tenant=self._tenant,
                    through_pauses=True,
                    live_after=live_after,
                ),
                deadline_s=WAIT_DEADLINE_S,
                patient=True,
            )
            if page.dropped:
                yield Lagged(dropped=page.dropped)
            for delta in page.deltas:
                yield delta
            for entry in page.entries:
                after = entry.index
                yield entry
            if page.stopped:
                return
            if not page.entries and not page.deltas:
                yield Quiet()
            live_after = page.live if live else None

    async def events(self, execution_id: ExecutionId, after: int = 0) -> AsyncIterator[Entry]:
        """The journal after index ``after``, as it is and as it grows, each entry once.

        Ends when the execution has completed, failed, was cancelled or is paused. Goes on by
        itself after a restart of the coordinator.
        """
        while True:
            page = await self._link.call(
                m.ReadJournal(execution_id=execution_id, after=after, tenant=self._tenant),
                deadline_s=WAIT_DEADLINE_S,
                patient=True,
            )
            for entry in page.entries:
                after = entry.index
                yield entry
            if page.stopped:
                return

    async def result(self, execution_id: ExecutionId, *, timeout_s: float | None = None) -> Json:
        """Wait for the end, and return the output of the last agent, or of the last agents by
        name. Raises ``ExecutionFailed``, ``ExecutionPaused``, ``ExecutionCancelled`` or
        ``DeadlineExceeded``.

        Coordinators may come and go meanwhile, as often as they do. Raises ``Unavailable`` when
        for 90 s there is none that holds what it is asked, or one does not answer for so long; a
        retry makes sense. Raises ``ProtocolError`` for an answer of a later version than this
        client's, which a retry does not change."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._stopped(execution_id)
                view: m.ExecutionView = await self._link.call(
                    self._get(execution_id), deadline_s=WAIT_DEADLINE_S, patient=True
                )
        except TimeoutError as error:
            raise DeadlineExceeded(f"execution {execution_id}", timeout_s or 0) from error
        match view.status:
            case "failed":
                failure = view.failure
                raise ExecutionFailed(
                    execution_id,
                    failure.message if failure is not None else "",
                    failure.kind if failure is not None else "internal",
                )
            case "paused":
                raise ExecutionPaused(execution_id, view.row.detail)
            case "cancelled":
                raise ExecutionCancelled(execution_id, "cancelled")
            case _:
                return await self.output_of(view)

    async def _stopped(self, execution_id: ExecutionId) -> None:
        """Wait until an execution has ended or is paused, without reading what it does."""
        request = m.ReadJournal(
            execution_id=execution_id, after=0, tenant=self._tenant, until_stopped=True
        )
        stopped = False
        while not stopped:
            page = await self._link.call(request, deadline_s=WAIT_DEADLINE_S, patient=True)
            stopped = page.stopped

    async def output_of(self, view: m.ExecutionView) -> Json:
        """The result of a completed execution."""
        outputs = {
            agent.name: await self.value(agent.output)
            for agent in view.agents
            if agent.name in view.result and agent.output is not None
        }
        return outputs[view.result[0]] if len(view.result) == 1 else outputs

    async def value(self, payload: Payload) -> Json:
        """The JSON value of a payload, from the blob store where it lies there."""
        return await value_of(payload, self._blobs, self._tenant)

    async def blob(self, reference: BlobRef) -> Json:
        """The JSON value of a blob of this tenant's. Raises ``NotFound`` and ``CorruptBlob``."""
        return await self._blobs.get_json(reference, tenant=self._tenant)
