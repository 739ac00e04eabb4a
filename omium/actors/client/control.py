"""What a client does to executions: it creates them, ends them, and tells them things."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from omium.actors import messages as m
from omium.actors.client.bound import Bound
from omium.actors.payloads import payload_of
from omium.actors.plan import plan_of
from omium.actors.shards.placement import id_beside
from omium.definitions import Workflow, validate_inputs
from omium.errors import InputError
from omium.execution.events import Created, Request
from omium.execution.records import CodeRef, Decision, Payload
from omium.storage.code_bundle import Bundle
from omium.types import ExecutionId, Json


class Control(Bound):
    """Requests that change an execution. What ``request`` is for, ``Client`` says."""

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
        execution_id = id_beside(origin, self._shards, self.new_execution_id)
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

    async def has_code(self, code: CodeRef) -> bool:
        """Whether a bundle of this tenant's is stored."""
        return await self._blobs.exists(code.blob, tenant=self._tenant)

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
