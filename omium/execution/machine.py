"""The state machine of an execution: which event may come when, and what it changes.

``TRANSITIONS`` is the whole of the status machine. ``check`` refuses what may not happen and
changes nothing; ``evolve`` changes the state by one event and cannot fail. A replica applies
``check`` then ``evolve`` to each append in log order, so every replica reaches the same state,
and so does whoever folds the entries that came of it.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Literal

import msgspec
from msgspec.structs import replace

from omium.execution import people
from omium.execution.events import (
    AgentCompleted,
    AgentSkipped,
    Append,
    AttemptEnded,
    AttemptStarted,
    CallCompleted,
    CallDecided,
    CallFailed,
    CallIntended,
    Cancelled,
    Completed,
    Created,
    Entry,
    Event,
    Failed,
    FailureRecorded,
    Paused,
    Resumed,
    RoundStarted,
    Signalled,
    StepCompleted,
    StepStarted,
    type_of,
)
from omium.execution.records import Failure, Usage, Writer
from omium.execution.routing import (
    begin_round,
    grant_rounds,
    is_at_end,
    is_passed_over,
    may_begin,
    next_round,
    planned_loops,
)
from omium.execution.state import AgentState, CallState, ExecutionState, Pause
from omium.types import AgentName, Status

RefusalCode = Literal[
    "not_found", "exists", "stale_epoch", "duplicate", "conflict", "repeated", "request_conflict"
]


class Refusal(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Why an append was not written. ``current_epoch`` goes with ``stale_epoch``.

    Two mean success: ``duplicate``, the append was written before; and ``repeated``, its
    request was carried out before, as the append that ends at ``index`` of ``execution_id``.
    """

    code: RefusalCode
    message: str
    current_epoch: int = 0
    execution_id: str = ""
    index: int = 0


# Outcomes are facts about the world: they are recorded even after the execution stopped.
_OUTCOMES = (CallCompleted, CallFailed)
_PROGRESS = (StepStarted, CallIntended, StepCompleted, AgentCompleted, *_OUTCOMES)
# What the coordinator decides about the agents that are next.
_ROUTING = (AgentSkipped, RoundStarted)

TRANSITIONS: Mapping[tuple[Status | None, type[Event]], Status] = {
    (None, Created): "queued",
    # A fork's copied prefix is appended while it is queued.
    **{("queued", event): "queued" for event in (*_PROGRESS, *_ROUTING)},
    ("queued", FailureRecorded): "queued",
    ("queued", AttemptStarted): "running",
    ("queued", Resumed): "queued",
    # What is asked may be answered whatever else goes on.
    ("queued", CallDecided): "queued",
    ("queued", Signalled): "queued",
    ("queued", Paused): "paused",
    # All agents were done already: in what a fork copied, or before the runtime went.
    ("queued", Completed): "completed",
    ("queued", Failed): "failed",
    ("queued", Cancelled): "cancelled",
    **{("running", event): "running" for event in (*_PROGRESS, *_ROUTING)},
    ("running", AttemptStarted): "running",
    ("running", AttemptEnded): "running",
    ("running", FailureRecorded): "running",
    ("running", CallDecided): "running",
    ("running", Signalled): "running",
    ("running", Paused): "paused",
    # Taken over from a runtime that is gone; its attempts are released, and soon fenced.
    ("running", Resumed): "queued",
    ("running", Completed): "completed",
    ("running", Failed): "failed",
    ("running", Cancelled): "cancelled",
    **{("paused", event): "paused" for event in _OUTCOMES},
    ("paused", AttemptEnded): "paused",
    ("paused", FailureRecorded): "paused",
    ("paused", CallDecided): "paused",
    ("paused", Signalled): "paused",
    ("paused", Resumed): "queued",
    ("paused", Cancelled): "cancelled",
    **{("failed", event): "failed" for event in _OUTCOMES},
    ("failed", AttemptEnded): "failed",
    ("failed", CallDecided): "failed",
    ("failed", Resumed): "queued",
    **{("cancelled", event): "cancelled" for event in _OUTCOMES},
    ("cancelled", AttemptEnded): "cancelled",
}
"""(status before, event) → status after. What is absent is refused."""

DECIDED_FAILURE = Failure(kind="tool", message="decided to have failed")
"""What is raised for a call whose unknown outcome somebody decided to be a failure."""


def check(state: ExecutionState | None, append: Append) -> Refusal | None:
    """Whether the whole of ``append`` may be written after ``state``."""
    if not append.events:
        return Refusal(code="conflict", message="an append carries at least one event")
    status: Status | None = state.status if state is not None else None
    if state is not None and isinstance(append.events[0], Created):
        return Refusal(code="exists", message=f"execution {append.execution_id} exists")
    if append.writer is not None:
        refusal = _check_writer(state, append.writer)
        if refusal is not None:
            return refusal
    # What earlier events of this append settle, since ``state`` does not show it yet.
    settled: set[Hashable] = set()
    for position, event in enumerate(append.events):
        following = TRANSITIONS.get((status, type(event)))
        if following is None:
            if status is None:
                return Refusal(code="not_found", message=f"no execution {append.execution_id}")
            return Refusal(
                code="conflict",
                message=f"{type_of(event)} cannot happen to a {status} execution",
            )
        status = following
        if state is None:
            return _check_beginning(append)
        refusal = _check_event(state, append, event)
        if refusal is not None:
            return refusal
        claims = _claims(state, event)
        if claims & settled:
            return Refusal(
                code="conflict",
                message=f"{type_of(event)} at position {position} is at odds with an earlier event",
            )
        settled |= claims
    return None


def _check_beginning(append: Append) -> Refusal | None:
    """Check a whole new journal, whose later events are about what the earlier ones say."""
    state: ExecutionState | None = None
    for index, event in enumerate(append.events, start=1):
        entry = Entry(
            execution_id=append.execution_id, index=index, at_ms=append.at_ms, event=event
        )
        if state is None:
            state = create(entry)
            continue
        refusal = check(state, replace(append, events=(event,)))
        if refusal is not None:
            return Refusal(code="conflict", message=f"at index {index}: {refusal.message}")
        evolve(state, entry)
    return None


def _claims(state: ExecutionState, event: Event) -> set[Hashable]:
    """What no other event of the same append may be about, once ``event`` is in it."""
    match event:
        case StepCompleted():
            return {("step", event.agent, event.step)}
        case AgentCompleted() | AgentSkipped():
            return {("agent", event.agent)}
        case RoundStarted():
            return {("agent", name) for name in event.agents}
        case AttemptStarted():
            return {("agent", event.agent), ("epoch", event.epoch)}
        case CallCompleted() | CallFailed() | CallDecided():
            return {("call", event.call)}
        case Signalled():
            waits = people.waiting_for(state, event.name)
            return {("call", waits.index)} if waits is not None else set()
        case CallIntended():
            known = state.agents[event.agent].calls.get(event.key)
            return {("call", known.index if known is not None else (event.agent, event.key))}
        case _:
            return set()


def _check_writer(state: ExecutionState | None, writer: Writer) -> Refusal | None:
    agent = state.agents.get(writer.agent) if state is not None else None
    if agent is None:
        return Refusal(code="not_found", message=f"no agent {writer.agent!r} in the execution")
    if writer.epoch != agent.epoch or agent.status != "leased":
        if writer.epoch == agent.epoch and 0 < writer.sequence <= agent.sequence:
            return Refusal(code="duplicate", message="written before")
        return Refusal(
            code="stale_epoch",
            message=f"epoch {writer.epoch} of agent {writer.agent!r} is superseded",
            current_epoch=agent.epoch,
        )
    if writer.sequence == 0:
        return None
    if writer.sequence <= agent.sequence:
        return Refusal(code="duplicate", message="written before")
    if writer.sequence != agent.sequence + 1:
        return Refusal(
            code="conflict",
            message=f"append {writer.sequence} came before append {agent.sequence + 1}",
        )
    return None


def _check_event(state: ExecutionState, append: Append, event: Event) -> Refusal | None:
    name = _agent_of(event)
    agent = state.agents.get(name) if name is not None else None
    if name is not None and agent is None:
        return Refusal(code="not_found", message=f"no agent {name!r} in the execution")
    writer = append.writer
    if writer is not None and not (isinstance(event, _PROGRESS) and name == writer.agent):
        return Refusal(
            code="conflict",
            message=f"an attempt of {writer.agent!r} cannot append {type_of(event)}"
            + (f" of {name!r}" if name not in (None, writer.agent) else ""),
        )
    if isinstance(event, AttemptStarted):
        return _check_lease(state, event)
    if isinstance(event, StepCompleted):
        if agent is not None and event.step in agent.steps:
            return Refusal(code="conflict", message=f"step {event.step!r} is complete already")
    elif isinstance(event, AgentCompleted):
        if agent is not None and agent.is_done:
            done = "complete" if agent.status == "completed" else "skipped"
            return Refusal(code="conflict", message=f"agent {name!r} is {done} already")
    elif isinstance(event, AgentSkipped):
        if agent is not None and not is_passed_over(state, agent):
            return Refusal(code="conflict", message=f"agent {name!r} is not to be skipped")
    elif isinstance(event, RoundStarted):
        return _check_round(state, event)
    elif isinstance(event, CallIntended):
        known = agent.calls.get(event.key) if agent is not None else None
        if known is not None and known.status == "completed":
            return Refusal(
                code="conflict", message=f"the call was answered already, see index {known.index}"
            )
        problem = people.check_intent(agent, event) if agent is not None else None
        if problem is not None:
            return Refusal(code="conflict", message=problem)
    elif isinstance(event, CallCompleted | CallFailed | CallDecided):
        found = state.call_at(event.call)
        if found is None or found[0].name != name or found[1].status != "open":
            fact = writer is None and not isinstance(event, CallDecided)
            return Refusal(
                code="duplicate" if fact else "conflict",
                message=f"call {event.call} is not open",
            )
        if isinstance(event, CallDecided) and (event.decision == "answer") != (
            event.response is not None
        ):
            return Refusal(code="conflict", message="an answer, and nothing else, has a response")
        if isinstance(event, CallDecided):
            problem = people.check_decision(state, found[1], event)
            if problem is not None:
                return Refusal(code="conflict", message=problem)
        elif writer is not None and found[1].key.kind == "human":
            return Refusal(code="conflict", message="an attempt does not answer what it asks")
    elif isinstance(event, Signalled):
        problem = people.check_signal(state)
        if problem is not None:
            return Refusal(code="conflict", message=problem)
    elif isinstance(event, Completed):
        waiting = [agent.name for agent in state.agents.values() if not agent.is_done]
        if waiting:
            return Refusal(code="conflict", message=f"agents not complete: {', '.join(waiting)}")
        if not is_at_end(state):
            return Refusal(code="conflict", message="an agent hands back to one before it")
    return None


def _check_round(state: ExecutionState, event: RoundStarted) -> Refusal | None:
    if may_begin(state, event):
        return None
    return Refusal(
        code="conflict",
        message=f"agent {event.agent!r} does not hand back to {event.to!r} for round {event.round}",
    )


def _agent_of(event: Event) -> AgentName | None:
    match event:
        case FailureRecorded() | Failed():
            return event.failure.agent
        case Created() | Paused() | Resumed() | Signalled() | Completed() | Cancelled():
            return None
        case _:
            return event.agent


def _check_lease(state: ExecutionState, event: AttemptStarted) -> Refusal | None:
    agent = state.agents[event.agent]
    if agent.status != "waiting":
        return Refusal(code="conflict", message=f"agent {event.agent!r} is {agent.status}")
    if event.epoch <= state.epoch:
        return Refusal(
            code="stale_epoch",
            message=f"epoch {event.epoch} is not new",
            current_epoch=state.epoch,
        )
    return None


def create(entry: Entry) -> ExecutionState:
    """The state after the first event of a journal, which must be ``Created``."""
    event = entry.event
    if not isinstance(event, Created):
        raise TypeError(f"a journal begins with Created, not {type(event).__name__}")
    return ExecutionState(
        id=entry.execution_id,
        tenant=event.tenant,
        workflow=event.workflow,
        version=event.version,
        digest=event.digest,
        definition=event.definition,
        inputs=event.inputs,
        model=event.model,
        import_paths=event.import_paths,
        origin=event.origin,
        labels=event.labels,
        code=event.code,
        created_ms=entry.at_ms,
        updated_ms=entry.at_ms,
        awake_ms=entry.at_ms,
        status="queued",
        index=entry.index,
        agents={
            planned.name: AgentState(
                name=planned.name,
                upstream=planned.upstream,
                when=planned.when,
                otherwise=planned.otherwise,
            )
            for planned in event.plan
        },
        loops=planned_loops(event.plan),
    )


def evolve(state: ExecutionState, entry: Entry) -> None:
    """Change ``state`` by one entry that ``check`` has let through."""
    event = entry.event
    state.index = entry.index
    state.updated_ms = entry.at_ms
    state.status = TRANSITIONS[state.status, type(event)]
    if entry.sequence:
        for agent in state.agents.values():
            if agent.epoch == entry.epoch:
                agent.sequence = entry.sequence
    if state.origin is not None and state.totals.attempts == 0:
        state.forced_until = entry.index
    match event:
        case AttemptStarted() | AttemptEnded():
            _evolve_attempt(state, state.agents[event.agent], event)
        case StepStarted():
            pass
        case Signalled():
            people.evolve_signal(state, entry, event)
        case CallIntended() | CallCompleted() | CallFailed() | CallDecided():
            _evolve_call(state, state.agents[event.agent], event, entry)
        case StepCompleted():
            _complete_step(state, state.agents[event.agent], event, entry)
        case AgentCompleted():
            agent = state.agents[event.agent]
            agent.status = "completed"
            agent.output = event.output
            agent.fits = event.fits
            agent.calls.clear()
            agent.worker = None
        case AgentSkipped():
            state.agents[event.agent].status = "skipped"
        case RoundStarted():
            loop = next_round(state, state.agents[event.agent])
            assert loop is not None
            begin_round(state, loop)
        case FailureRecorded(failure=failure):
            if failure.agent is not None:
                state.agents[failure.agent].failures += 1
        case Paused():
            found = state.call_at(event.call) if event.call else None
            name = found[0].name if found is not None else None
            state.pause = Pause(event.reason, event.detail, event.call, name)
            if event.reason == "outcome_unknown" and (found is None or found[1].status != "open"):
                _call_was_answered(state.pause)
            _release_all(state)
        case Resumed():
            for agent in state.agents.values():
                agent.losses = agent.failures = 0
                agent.ended = None
                if state.failure is not None and state.failure.agent in (None, agent.name):
                    _forget_last_failure(agent)
            grant_rounds(state)
            state.pause = None
            state.failure = None
            state.awake_ms = entry.at_ms
            _release_all(state)
        case Completed(sinks=sinks):
            state.result = sinks
        case Failed(failure=failure):
            state.failure = failure
            _release_all(state)
        case Cancelled():
            state.pause = None
            _release_all(state)
        case Created():
            raise AssertionError("Created comes once")


def _release_all(state: ExecutionState) -> None:
    for agent in state.agents.values():
        if agent.status == "leased":
            agent.status = "waiting"
            agent.worker = None


def _evolve_attempt(
    state: ExecutionState, agent: AgentState, event: AttemptStarted | AttemptEnded
) -> None:
    if isinstance(event, AttemptStarted):
        state.totals.attempts += 1
        agent.status = "leased"
        agent.attempts += 1
        agent.epoch = event.epoch
        agent.worker = event.worker
        agent.sequence = 0
        return
    if event.epoch != agent.epoch:
        return
    agent.ended = event.end
    if event.end == "worker_lost":
        agent.losses += 1
    if agent.status == "leased":
        agent.status = "waiting"
        agent.worker = None


def _evolve_call(
    state: ExecutionState,
    agent: AgentState,
    event: CallIntended | CallCompleted | CallFailed | CallDecided,
    entry: Entry,
) -> None:
    # What a fork copied was made, and paid for, by its origin.
    copied = entry.index <= state.forced_until
    if isinstance(event, CallIntended):
        # A second intent for the same key is the same call, tried again.
        call = agent.calls[event.key] = CallState(
            index=entry.index,
            step=event.step,
            key=event.key,
            ordinal=event.ordinal,
            epoch=entry.epoch,
            idempotent=event.idempotent,
            effect_key=event.effect_key,
            inside=event.inside,
            approval=event.approval,
            intended_ms=entry.at_ms,
        )
        if copied:
            people.evolve_copied(call, event)
            return
        people.evolve_intent(state, call, event)
        match event.key.kind:
            case "llm":
                state.totals.llm_calls += 1
            case "tool":
                state.totals.tool_calls += 1
            case "human":
                state.totals.questions += 1
        return
    found = state.call_at(event.call)
    if found is None:
        return
    call = found[1]
    agent.losses = 0
    match event:
        case CallCompleted():
            call.status, call.response = "completed", event.response
            people.evolve_answer(call, event.response)
            if not copied:
                _add_usage(state, event.usage)
        case CallFailed(failure=failure):
            call.status, call.failure = "failed", failure
        case CallDecided() if call.key.kind == "human":
            people.evolve_decision(state, call, event)
        case CallDecided(decision="retry"):
            del agent.calls[call.key]
        case CallDecided(decision="answer", response=response):
            call.status, call.response = "completed", response
        case CallDecided():
            call.status, call.failure = "failed", DECIDED_FAILURE
    pause = state.pause
    if pause is not None and pause.call == event.call and not isinstance(event, CallDecided):
        _call_was_answered(pause)


def _call_was_answered(pause: Pause) -> None:
    pause.reason = "outcome_known"
    pause.detail = f"call {pause.call} has an outcome after all; resume to go on"


def _add_usage(state: ExecutionState, usage: Usage) -> None:
    totals = state.totals
    totals.prompt_tokens += usage.prompt_tokens or 0
    totals.completion_tokens += usage.completion_tokens or 0
    if usage.cost_micros is not None:
        totals.cost_micros = (totals.cost_micros or 0) + usage.cost_micros


def _complete_step(
    state: ExecutionState, agent: AgentState, event: StepCompleted, entry: Entry
) -> None:
    agent.steps[event.step] = entry.index
    agent.checkpoint = entry.index
    agent.saved = event.state
    agent.losses = agent.failures = 0
    state.totals.checkpoints += 1
    # With a step end those below it, which may never have had an end of their own.
    below = f"{event.step}/"
    over = [k for k, c in agent.calls.items() if f"{c.step}/".startswith(below)]
    for key in over:
        del agent.calls[key]


def _forget_last_failure(agent: AgentState) -> None:
    """Let the call that ended an attempt be made again.

    A failed call that the agent saw and went on from is part of its past and is replayed.
    One that nothing follows is what stopped it, and resuming means to try that again, unless
    it failed by decision: then nobody knows what it did, and it was to be left alone.
    """
    last = max(agent.calls.values(), key=lambda call: call.index, default=None)
    if last is not None and last.status == "failed" and last.failure != DECIDED_FAILURE:
        del agent.calls[last.key]
