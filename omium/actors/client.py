"""A client of a coordinator: what drivers, the command line and the HTTP API talk through."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, TypeAlias

import msgspec

from omium.actors import messages as m
from omium.actors.link import Address, Link
from omium.actors.payloads import Blobs, payload_of, value_of
from omium.actors.plan import plan_of
from omium.actors.transport import Answer, Codec, Connection
from omium.clock import Clock
from omium.definitions import Workflow, validate_inputs
from omium.errors import (
    DeadlineExceeded,
    ExecutionCancelled,
    ExecutionFailed,
    ExecutionPaused,
    InputError,
    OmiumError,
    ProtocolError,
)
from omium.execution.blobref import BlobRef
from omium.execution.events import Created, Entry, Request
from omium.execution.records import CodeRef, Decision, Payload
from omium.storage.catalog import StoredRecord
from omium.storage.code_bundle import Bundle
from omium.storage.journal import ExecutionRow
from omium.types import DEFAULT_TENANT, ExecutionId, Json, Status, TenantId

READ_DEADLINE_S = 90.0
"""A read waits for 30 s at most, and a coordinator may be restarted meanwhile."""

PAGE_ENTRIES_MAX = 100
DRAIN_MARGIN_S = 10.0


class Lagged(msgspec.Struct, frozen=True, kw_only=True):
    """So many deltas are gone that one who reads more quickly would have seen."""

    dropped: int


class Quiet(msgspec.Struct, frozen=True):
    """Nothing has happened for a while: a moment to see whether the reader is still there."""


News: TypeAlias = "Entry | m.Delta | Lagged | Quiet"
"""What comes of following an execution."""


class Client:
    """Talks to one coordinator for one tenant. Every method may be repeated after an error.

    ``request``, where a method takes it, is the caller's own name for what is asked: the same
    name has the effect of one request for ever, and raises ``RequestConflict`` when it was
    used for something else.
    """

    def __init__(
        self,
        coordinator: Address | Sequence[Address],
        secret: bytes,
        *,
        blobs: Blobs,
        clock: Clock,
        tenant: TenantId = DEFAULT_TENANT,
    ) -> None:
        self._clock = clock
        self._blobs = blobs
        self._tenant = tenant
        self._link = Link(coordinator, Codec(m.Messages), secret, handler=_no_requests)

    def for_tenant(self, tenant: TenantId) -> Client:
        """The same client for another tenant. It lives as long as this one."""
        other = copy.copy(self)
        other._tenant = tenant
        return other

    @property
    def tenant(self) -> TenantId:
        return self._tenant

    def open(self) -> None:
        self._link.open()

    async def close(self) -> None:
        await self._link.close()

    # ------------------------------------------------------------------ executions

    def new_execution_id(self) -> ExecutionId:
        """An id that nobody has yet. Later ones sort after earlier ones."""
        return ExecutionId(self._clock.new_id("ex"))

    async def submit(
        self,
        workflow: Workflow,
        inputs: dict[str, Json],
        *,
        model: str = "",
        import_paths: tuple[str, ...] = (),
        code: CodeRef | None = None,
        execution_id: ExecutionId | None = None,
        labels: Mapping[str, str] | None = None,
        request: Request | None = None,
    ) -> ExecutionId:
        """Create an execution; returns its id once that is durable. Raises ``InputError``.

        With ``code`` it runs on that for ever, whatever becomes of ``import_paths``.
        """
        valid = validate_inputs(workflow, inputs)
        execution_id = execution_id or self.new_execution_id()
        created = Created(
            tenant=self._tenant,
            workflow=workflow.name,
            version=workflow.version,
            digest=workflow.digest,
            definition=Payload(inline=workflow.to_data()),
            inputs=Payload(inline=valid),
            plan=plan_of(workflow),
            model=model,
            import_paths=import_paths,
            code=code,
            labels=dict(labels or {}),
        )
        written = await self._link.call(
            m.Submit(execution_id=execution_id, created=created, request=request)
        )
        return written.execution_id or execution_id

    async def fork(
        self,
        origin: ExecutionId,
        at: int,
        changes: dict[str, Any] | None = None,
        *,
        code: CodeRef | None = None,
        request: Request | None = None,
    ) -> ExecutionId:
        """Create an execution from a point in another's journal; the other is only read.

        It runs on the other's code, unless it is given some of its own.
        """
        execution_id = self.new_execution_id()
        written = await self._link.call(
            m.Fork(
                execution_id=execution_id,
                origin=origin,
                at=at,
                changes=changes or {},
                code=code,
                tenant=self._tenant,
                request=request,
            )
        )
        return written.execution_id or execution_id

    async def put_code(self, bundle: Bundle | None) -> CodeRef | None:
        """Store code for executions to run on, if there is any. Durable when this returns;
        the same code is stored once."""
        if bundle is None:
            return None
        blob = await self._blobs.put(bundle.data, tenant=self._tenant)
        return CodeRef(blob=blob, files=bundle.files, folders=bundle.folders)

    async def code(self, code: CodeRef) -> bytes:
        """A bundle of this tenant's. Raises ``NotFound`` and ``CorruptBlob``."""
        return await self._blobs.get(code.blob, tenant=self._tenant)

    async def cancel(
        self, execution_id: ExecutionId, by: str = "", *, request: Request | None = None
    ) -> None:
        """Stop an execution for good. Raises ``Conflict`` when it has ended otherwise."""
        await self._link.call(
            m.Cancel(execution_id=execution_id, by=by, tenant=self._tenant, request=request)
        )

    async def interrupt(
        self,
        execution_id: ExecutionId,
        *,
        by: str = "",
        detail: str = "",
        request: Request | None = None,
    ) -> None:
        """Pause an execution until it is resumed. Raises ``Conflict`` when it has ended."""
        await self._link.call(
            m.Interrupt(
                execution_id=execution_id,
                by=by,
                detail=detail,
                tenant=self._tenant,
                request=request,
            )
        )

    async def signal(
        self,
        execution_id: ExecutionId,
        name: str,
        value: Json = None,
        *,
        by: str = "",
        request: Request | None = None,
    ) -> None:
        """Send data to an execution. Raises ``Conflict`` when it has ended."""
        payload = await payload_of(value, self._blobs, self._tenant)
        await self._link.call(
            m.Signal(
                execution_id=execution_id,
                name=name,
                payload=payload,
                by=by,
                tenant=self._tenant,
                request=request,
            )
        )

    async def resume(
        self,
        execution_id: ExecutionId,
        *,
        decision: Decision | None = None,
        answer: Json = None,
        call: int = 0,
        reason: str = "",
        by: str = "",
        request: Request | None = None,
    ) -> None:
        """Let a paused or failed execution go on, with a decision where it waits for one.

        It is about the call at journal index ``call``, else about the first that waits. Raises
        ``Conflict`` where a decision is missing, or none is waited for, ``InputError`` for an
        answer without its decision, and ``AnswerError`` for one that does not fit.
        """
        if answer is not None and decision != "answer":
            raise InputError("an answer goes with the decision 'answer', and only with it")
        payload = Payload(inline=answer) if decision == "answer" else None
        await self._link.call(
            m.Resume(
                execution_id=execution_id,
                decision=decision,
                answer=payload,
                call=call,
                reason=reason,
                by=by,
                tenant=self._tenant,
                request=request,
            )
        )

    async def carried_out(self, request: Request) -> ExecutionId | None:
        """The execution that a request of that name concerned; None for one that is new.

        Raises ``RequestConflict`` when the name was used for something else.
        """
        found = await self._link.call(m.FindRequest(tenant=self._tenant, request=request))
        return found.execution_id if isinstance(found, m.Appended) else None

    async def view(self, execution_id: ExecutionId) -> m.ExecutionView:
        """An execution as it stands. Raises ``NotFound``."""
        return await self._link.call(m.GetExecution(execution_id=execution_id, tenant=self._tenant))

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
                deadline_s=READ_DEADLINE_S,
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
                deadline_s=READ_DEADLINE_S,
            )
            for entry in page.entries:
                after = entry.index
                yield entry
            if page.stopped:
                return

    async def result(self, execution_id: ExecutionId, *, timeout_s: float | None = None) -> Json:
        """Wait for the end, and return the output of the last agent, or of the last agents by
        name. Raises ``ExecutionFailed``, ``ExecutionPaused``, ``ExecutionCancelled`` or
        ``DeadlineExceeded``."""
        try:
            async with asyncio.timeout(timeout_s):
                async for _ in self.events(execution_id):
                    pass
        except TimeoutError as error:
            raise DeadlineExceeded(f"execution {execution_id}", timeout_s or 0) from error
        view = await self.view(execution_id)
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

    # ------------------------------------------------------------------ records

    async def put_record(
        self,
        kind: str,
        key: str,
        body: Json,
        *,
        expect: int | None = None,
        request: Request | None = None,
    ) -> int:
        """Write a record and return its new version, which counts from 1.

        ``expect`` is the version that must be there, 0 for none at all; ``Conflict`` is raised
        where another one is.
        """
        put = await self._link.call(
            m.PutRecord(
                tenant=self._tenant,
                kind=kind,
                key=key,
                body=body,
                expect=expect,
                request=request,
            )
        )
        return put.version if isinstance(put, m.RecordPut) else put.index

    async def delete_record(self, kind: str, key: str, *, expect: int | None = None) -> None:
        """Remove a record. One that is not there is no error, unless a version is expected."""
        await self._link.call(
            m.PutRecord(tenant=self._tenant, kind=kind, key=key, expect=expect, delete=True)
        )

    async def record(self, kind: str, key: str) -> StoredRecord | None:
        found = await self._link.call(m.GetRecords(tenant=self._tenant, kind=kind, key=key))
        return found.records[0] if found.records else None

    async def records(
        self, kind: str, *, prefix: str = "", after: str = "", limit: int = 100
    ) -> list[StoredRecord]:
        """Records of a kind by key: those that begin with ``prefix`` and come after ``after``."""
        found = await self._link.call(
            m.GetRecords(tenant=self._tenant, kind=kind, prefix=prefix, after=after, limit=limit)
        )
        return list(found.records)

    # ------------------------------------------------------------------ webhooks

    async def redeliver(
        self, webhook: str, delivery: str, *, request: Request | None = None
    ) -> None:
        """Deliver a message to a webhook once more, now. Raises ``NotFound``, and ``Conflict``
        for one that is being delivered."""
        await self._link.call(
            m.Redeliver(tenant=self._tenant, webhook=webhook, delivery=delivery, request=request)
        )

    async def test_webhook(self, webhook: str, *, request: Request | None = None) -> str:
        """Deliver a trial message to a webhook; returns the delivery's id. Raises ``NotFound``."""
        name = self._clock.new_id("test")
        done = await self._link.call(
            m.TestWebhook(tenant=self._tenant, webhook=webhook, name=name, request=request)
        )
        return f"{done.execution_id if isinstance(done, m.Appended) else name}@0"

    # ------------------------------------------------------------------ the runtime

    async def runtime(self) -> m.RuntimeView:
        return await self._link.call(m.GetRuntime())

    @property
    def refused(self) -> OmiumError | None:
        """Why the coordinator turned this client away for good, if it did."""
        return self._link.refused

    async def drain(self, grace_s: float) -> int:
        """Begin no step any more and wait for those under way, for ``grace_s`` seconds at most.
        Returns how many attempts are still in the middle of one."""
        drained = await self._link.call(
            m.Drain(grace_s=grace_s), deadline_s=grace_s + DRAIN_MARGIN_S
        )
        return drained.attempts

    async def stop_runtime(self) -> None:
        await self._link.call(m.StopRuntime(), deadline_s=5.0)


def _no_requests(_: Connection, message: Any, __: Answer) -> None:
    raise ProtocolError(f"a client takes no {type(message).__name__}")
