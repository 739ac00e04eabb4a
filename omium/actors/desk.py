"""What clients may ask of a coordinator: create, fork, cancel, pause, resume, signal, and look.

Each request is checked against committed state and turned into one append. A request that
is sent twice has the effect of one; one with a name of its own, for ever.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from omium.actors import messages as m
from omium.actors.answers import (
    decision_of,
    handoff_view,
    question_view,
    waits_for_more,
    waits_for_signal,
)
from omium.actors.committer import Committer
from omium.actors.courier import Courier
from omium.actors.ordering import CommitResult
from omium.actors.plan import plan_of
from omium.actors.transport import Answer, error_reply
from omium.definitions import (
    KNOWN_FRAMEWORKS,
    fitting,
    validate_inputs,
    workflow_from,
    workflow_from_data,
)
from omium.errors import Conflict, InputError, NotFound, OmiumError, RequestConflict
from omium.execution.commands import ClaimRequest, WriteRecord
from omium.execution.events import (
    CallDecided,
    Cancelled,
    Entry,
    Event,
    Paused,
    Request,
    Resumed,
    Signalled,
)
from omium.execution.fork import (
    ChangedOutput,
    changed,
    fork_events,
    latest_outputs,
    state_at,
)
from omium.execution.machine import Refusal
from omium.execution.routing import is_at_end
from omium.execution.state import ExecutionState
from omium.storage.catalog import RecordWritten, RequestClaimed
from omium.storage.replica import Replica, Written
from omium.storage.rows import row_of
from omium.types import ExecutionId, TenantId

FORK_ENTRIES_MAX = 100_000


_Asked: TypeAlias = m.Cancel | m.Interrupt | m.Signal | m.Resume


class Desk:
    """See the module's docstring."""

    def __init__(
        self, replica: Replica, committer: Committer, courier: Courier, awake_from_ms: int
    ) -> None:
        self._replica = replica
        self._committer = committer
        self._courier = courier
        self._awake_from_ms = awake_from_ms

    def submit(self, message: m.Submit, answer: Answer) -> None:
        self._committer.own(
            message.execution_id,
            message.created,
            then=_answering(answer, exists_is_done=True),
            request=message.request,
        )

    def fork(self, message: m.Fork, answer: Answer) -> None:
        """Create an execution from a point in another's journal. The other is only read."""
        if self._is_repeated(message.tenant, message.request, answer):
            return
        origin = self._known(message.origin, message.tenant)
        if not 1 <= message.at <= origin.index:
            raise InputError(
                f"{message.origin} has journal indexes 1 to {origin.index}, not {message.at}"
            )
        if message.at > FORK_ENTRIES_MAX:
            raise InputError(f"a fork copies at most {FORK_ENTRIES_MAX} entries")
        entries = self._entries(message.origin, message.at)
        document: dict[str, Any] = {
            "inputs": origin.inputs.inline,
            "agents": origin.definition.inline["agents"],
            "outputs": {
                name: completed.output.inline
                for name, completed in latest_outputs(entries).items()
                if completed.output.blob is None
            },
        }
        if is_at_end(state_at(entries)):
            raise InputError(
                f"every agent of {message.origin} has completed at {message.at}: "
                "fork from an earlier index"
            )
        for path, value in message.changes.items():
            head, _, rest = path.partition(".")
            if head not in document:
                raise InputError(f"{path!r} must begin with inputs., agents. or outputs.")
            if head == "outputs" and rest.split(".")[0] not in document["outputs"]:
                known = ", ".join(sorted(document["outputs"])) or "none"
                raise InputError(f"{path!r}: the agents with an output to change are {known}")
            document = changed(document, path, value)
        changed_outputs = {
            path.split(".")[1] for path in message.changes if path.startswith("outputs.")
        }
        changes_definition = any(path.startswith("agents.") for path in message.changes)
        definition = {**origin.definition.inline, "agents": document["agents"]}
        # What runs already is known, whoever brought the adapter.
        running = {agent.framework for agent in workflow_from_data(origin.definition.inline).agents}
        workflow = workflow_from(
            definition,
            source=f"fork of {message.origin}",
            frameworks={*KNOWN_FRAMEWORKS, *running},
        )
        validate_inputs(workflow, document["inputs"])
        events = fork_events(
            entries,
            definition=definition,
            digest=workflow.digest if changes_definition else origin.digest,
            inputs=document["inputs"],
            outputs={
                name: ChangedOutput(
                    value=document["outputs"][name],
                    fits=fitting(workflow, name, document["outputs"][name]),
                )
                for name in changed_outputs
            },
            code=message.code,
            plan=plan_of(workflow) if changes_definition else None,
        )
        self._committer.own(
            message.execution_id,
            *events,
            then=_answering(answer, exists_is_done=True),
            request=message.request,
        )

    def cancel(self, message: m.Cancel, answer: Answer) -> None:
        if self._is_repeated(message.tenant, message.request, answer):
            return
        state = self._known(message.execution_id, message.tenant)
        if state.status == "cancelled":
            answer(m.Appended(index=0))
            return
        self._own(message, Cancelled(by=message.by), answer=answer)

    def interrupt(self, message: m.Interrupt, answer: Answer) -> None:
        """Pause an execution until it is resumed. One that is paused is left as it is."""
        if self._is_repeated(message.tenant, message.request, answer):
            return
        state = self._known(message.execution_id, message.tenant)
        if state.status == "paused":
            answer(m.Appended(index=0))
            return
        detail = message.detail or f"interrupted by {message.by or 'request'}"
        self._own(message, Paused(reason="requested", detail=detail), answer=answer)

    def signal(self, message: m.Signal, answer: Answer) -> None:
        """Record data that was sent to an execution which has not ended."""
        if self._is_repeated(message.tenant, message.request, answer):
            return
        event = Signalled(name=message.name, payload=message.payload, by=message.by)
        state = self._known(message.execution_id, message.tenant)
        events: list[Event] = [event]
        if waits_for_signal(state, message.name):
            events.append(Resumed(by=message.by))
        self._own(message, *events, answer=answer)

    def resume(self, message: m.Resume, answer: Answer) -> None:
        """Let an execution go on, or record what was decided where it goes on anyhow, or waits
        for more. One that is at work is left as it is."""
        if self._is_repeated(message.tenant, message.request, answer):
            return
        state = self._known(message.execution_id, message.tenant)
        at_work = state.status in ("queued", "running")
        if at_work and message.decision is None and state.awake_ms >= self._awake_from_ms:
            answer(m.Appended(index=0))
            return
        if state.status in ("completed", "cancelled"):
            raise Conflict(f"{state.id} is {state.status}; fork it to run it again")
        decided = decision_of(state, message)
        events: list[Event] = [] if decided is None else [decided]
        is_awake = at_work and state.awake_ms >= self._awake_from_ms
        answered = decided.call if isinstance(decided, CallDecided) else 0
        if not is_awake and not (answered and waits_for_more(state, answered)):
            events.append(Resumed(by=message.by))
        self._own(message, *events, answer=answer)

    def put_record(self, message: m.PutRecord, answer: Answer) -> None:
        """Write a record, if the version that is expected is there."""
        command = WriteRecord(
            tenant=message.tenant,
            kind=message.kind,
            key=message.key,
            body=message.body,
            expect=message.expect,
            delete=message.delete,
            request=message.request,
        )
        self._committer.submit(command, _answering(answer))

    def claim(self, message: m.ClaimRequest, answer: Answer) -> None:
        """Remember what a request concerns that another shard carries out."""
        command = ClaimRequest(
            tenant=message.tenant, request=message.request, execution=message.execution_id
        )
        self._committer.submit(command, _answering(answer))

    def redeliver(self, message: m.Redeliver, answer: Answer) -> None:
        """Deliver a webhook's message once more."""
        if not self._is_repeated(message.tenant, message.request, answer):
            self._courier.redeliver(message, _answering(answer))

    def test_webhook(self, message: m.TestWebhook, answer: Answer) -> None:
        """Deliver a trial message to a webhook."""
        if not self._is_repeated(message.tenant, message.request, answer):
            self._courier.test(message, _answering(answer))

    # ------------------------------------------------------------------ looking

    def find_request(self, message: m.FindRequest, answer: Answer) -> None:
        """Say of a request what was said when it was carried out, and ``Done`` of a new one."""
        if not self._is_repeated(message.tenant, message.request, answer):
            answer(m.Done())

    def view(self, message: m.GetExecution) -> m.ExecutionView:
        """An execution as it stands. Raises ``NotFound``."""
        return view_of(self._known(message.execution_id, message.tenant))

    def executions(self, message: m.ListExecutions) -> m.ExecutionRows:
        rows = self._replica.journal.executions(
            tenant=message.tenant,
            statuses=message.statuses,
            workflow=message.workflow,
            id_prefix=message.id_prefix,
            labels=message.labels,
            created_from_ms=message.created_from_ms,
            created_to_ms=message.created_to_ms,
            before=message.before,
            limit=message.limit,
        )
        return m.ExecutionRows(rows=tuple(rows))

    def counts(self, message: m.CountExecutions) -> m.ExecutionCounts:
        return m.ExecutionCounts(counts=self._replica.journal.counts(message.tenant))

    def records(self, message: m.GetRecords) -> m.Records:
        catalog = self._replica.catalog
        if message.key is not None:
            found = catalog.record(message.tenant, message.kind, message.key)
            return m.Records(records=(found,) if found is not None else ())
        records = catalog.records(
            message.tenant,
            message.kind,
            prefix=message.prefix,
            after=message.after,
            limit=message.limit,
        )
        return m.Records(records=tuple(records))

    # ------------------------------------------------------------------ in common

    def _own(self, message: _Asked, *events: Event, answer: Answer) -> None:
        self._committer.own(
            message.execution_id, *events, then=_answering(answer), request=message.request
        )

    def _is_repeated(self, tenant: TenantId, request: Request | None, answer: Answer) -> bool:
        """Whether a request was carried out before; then it is answered.

        Asked before anything else, since what it changed may forbid it the second time.
        """
        refusal = self._replica.catalog.carried_out(tenant, request) if request else None
        if refusal is not None:
            _answering(answer)(refusal)
        return refusal is not None

    def _known(self, execution_id: ExecutionId, tenant: TenantId) -> ExecutionState:
        state = self._replica.state(execution_id)
        if state is None or state.tenant != tenant:
            raise NotFound("execution", execution_id, "`omium ps` lists what there is")
        return state

    def _entries(self, execution_id: ExecutionId, upto: int) -> list[Entry]:
        entries: list[Entry] = []
        while len(entries) < upto:
            entries += self._replica.journal.entries(
                execution_id, after=len(entries), limit=min(1_000, upto - len(entries))
            )
        return entries


def view_of(state: ExecutionState) -> m.ExecutionView:
    """What is shown of a state."""
    return m.ExecutionView(
        row=row_of(state),
        status=state.status,
        agents=tuple(
            m.AgentView(
                name=agent.name,
                status=agent.status,
                epoch=agent.epoch,
                worker=agent.worker,
                steps=len(agent.steps),
                checkpoint=agent.checkpoint,
                output=agent.output,
                round=agent.round,
            )
            for agent in state.agents.values()
        ),
        result=state.result,
        failure=state.failure,
        pause_reason=state.pause.reason if state.pause is not None else "",
        pause_call=state.pause.call if state.pause is not None else 0,
        questions=tuple(question_view(agent.name, call) for agent, call in state.questions),
        handoffs=tuple(handoff_view(one) for one in state.handoffs.values()),
    )


def answer_of(result: CommitResult) -> Any:
    """The message that tells a requester what became of its append."""
    if isinstance(result, OmiumError):
        return error_reply(result)
    if isinstance(result, Written):
        return m.Appended(index=result.last_index)
    if isinstance(result, RecordWritten):
        return m.RecordPut(version=result.version)
    if isinstance(result, RequestClaimed):
        return m.Appended(index=0, execution_id=result.execution_id)
    if result.code == "duplicate":
        return m.Appended(index=0)
    if result.code == "repeated":
        return m.Appended(index=result.index, execution_id=ExecutionId(result.execution_id))
    return m.Refused(refusal=result)


def _answering(answer: Answer, *, exists_is_done: bool = False) -> Callable[[CommitResult], None]:
    def then(result: CommitResult) -> None:
        if isinstance(result, Refusal) and exists_is_done and result.code == "exists":
            answer(m.Appended(index=0))
        elif isinstance(result, Refusal) and result.code == "request_conflict":
            answer(error_reply(RequestConflict(result.message)))
        elif isinstance(result, Refusal) and result.code not in ("duplicate", "repeated"):
            answer(error_reply(Conflict(result.message)))
        else:
            answer(answer_of(result))

    return then
