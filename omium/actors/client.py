"""A client of a coordinator: what drivers and the command line talk through."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from omium.actors import messages as m
from omium.actors.attempt import Blobs, value_of
from omium.actors.transport import Answer, Codec, Connection, Link
from omium.clock import Clock
from omium.definitions import Workflow, graph, validate_inputs
from omium.errors import (
    DeadlineExceeded,
    ExecutionCancelled,
    ExecutionFailed,
    ExecutionPaused,
    InputError,
    ProtocolError,
)
from omium.execution.events import Created, Entry
from omium.execution.records import Decision, Payload, PlannedAgent
from omium.types import DEFAULT_TENANT, ExecutionId, Json, TenantId

READ_DEADLINE_S = 90.0
"""A read waits for 30 s at most, and a coordinator may be restarted meanwhile."""


class Client:
    """Talks to one coordinator. Every method may be repeated after an error."""

    def __init__(
        self,
        coordinator: tuple[str, int],
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

    def open(self) -> None:
        self._link.open()

    async def close(self) -> None:
        await self._link.close()

    # ------------------------------------------------------------------ executions

    async def submit(
        self,
        workflow: Workflow,
        inputs: dict[str, Json],
        *,
        model: str = "",
        import_paths: tuple[str, ...] = (),
        execution_id: ExecutionId | None = None,
    ) -> ExecutionId:
        """Create an execution; returns once that is durable. Raises ``InputError``."""
        valid = validate_inputs(workflow, inputs)
        handoffs = graph(workflow)
        execution_id = execution_id or ExecutionId(self._clock.new_id("ex"))
        created = Created(
            tenant=self._tenant,
            workflow=workflow.name,
            version=workflow.version,
            digest=workflow.digest,
            definition=Payload(inline=workflow.to_data()),
            inputs=Payload(inline=valid),
            plan=tuple(
                PlannedAgent(name=name, upstream=tuple(handoffs.givers(name)))
                for name in handoffs.order
            ),
            model=model,
            import_paths=import_paths,
        )
        await self._link.call(m.Submit(execution_id=execution_id, created=created))
        return execution_id

    async def fork(
        self, origin: ExecutionId, at: int, changes: dict[str, Any] | None = None
    ) -> ExecutionId:
        """Create an execution from a point in another's journal; the other is only read."""
        execution_id = ExecutionId(self._clock.new_id("ex"))
        await self._link.call(
            m.Fork(execution_id=execution_id, origin=origin, at=at, changes=changes or {})
        )
        return execution_id

    async def cancel(self, execution_id: ExecutionId, by: str = "") -> None:
        await self._link.call(m.Cancel(execution_id=execution_id, by=by))

    async def resume(
        self,
        execution_id: ExecutionId,
        *,
        decision: Decision | None = None,
        answer: Json = None,
        by: str = "",
    ) -> None:
        """Let a paused or failed execution go on. Raises ``Conflict`` where a decision is
        missing, or none is waited for, and ``InputError`` for an answer without its decision."""
        if answer is not None and decision != "answer":
            raise InputError("an answer goes with the decision 'answer', and only with it")
        payload = Payload(inline=answer) if decision == "answer" else None
        await self._link.call(
            m.Resume(execution_id=execution_id, decision=decision, answer=payload, by=by)
        )

    async def view(self, execution_id: ExecutionId) -> m.ExecutionView:
        return await self._link.call(m.GetExecution(execution_id=execution_id))

    async def events(self, execution_id: ExecutionId, after: int = 0) -> AsyncIterator[Entry]:
        """The journal after index ``after``, as it is and as it grows, each entry once.

        Ends when the execution has completed, failed, was cancelled or is paused. Goes on by
        itself after a restart of the coordinator.
        """
        while True:
            page = await self._link.call(
                m.ReadJournal(execution_id=execution_id, after=after), deadline_s=READ_DEADLINE_S
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
            agent.name: await value_of(agent.output, self._blobs, self._tenant)
            for agent in view.agents
            if agent.name in view.result and agent.output is not None
        }
        return outputs[view.result[0]] if len(view.result) == 1 else outputs

    # ------------------------------------------------------------------ the runtime

    async def runtime(self) -> m.RuntimeView:
        return await self._link.call(m.GetRuntime())

    async def stop_runtime(self) -> None:
        await self._link.call(m.StopRuntime(), deadline_s=5.0)


def _no_requests(_: Connection, message: Any, __: Answer) -> None:
    raise ProtocolError(f"a client takes no {type(message).__name__}")
