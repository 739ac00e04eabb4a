"""The state of an execution as the fold of its entries: what each event changes.

Nothing here can refuse: ``machine.check`` has let the entry through. Whoever folds the same
entries, a replica or the reader of a journal, reaches the same state.
"""

from __future__ import annotations

from omium.execution import handoffs, people, votes
from omium.execution.events import (
    AgentCompleted,
    AgentSkipped,
    AttemptEnded,
    AttemptStarted,
    CallCompleted,
    CallDecided,
    CallFailed,
    CallIntended,
    CallSuspended,
    Cancelled,
    Completed,
    Created,
    Entry,
    Failed,
    FailureRecorded,
    HandoffAccepted,
    HandoffDecided,
    HandoffOffered,
    HandoffRejected,
    HandoffVoted,
    Paused,
    Resumed,
    RoundStarted,
    Signalled,
    StepCompleted,
    StepStarted,
)
from omium.execution.records import Failure, Usage
from omium.execution.routing import (
    begin_again,
    begin_round,
    grant_rounds,
    next_round,
    planned_loops,
)
from omium.execution.state import AgentState, CallState, ExecutionState, Pause
from omium.execution.transitions import TRANSITIONS

DECIDED_FAILURE = Failure(kind="tool", message="decided to have failed")
"""What is raised for a call whose unknown outcome somebody decided to be a failure."""


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
                checked=planned.checked,
                judges=planned.judges,
                stands_in=planned.stands_in,
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
    if state.is_copied:
        state.forced_until = entry.index
    match event:
        case AttemptStarted() | AttemptEnded():
            _evolve_attempt(state, state.agents[event.agent], event, entry)
        case StepStarted():
            pass
        case Signalled():
            people.evolve_signal(state, entry, event)
        case CallIntended() | CallCompleted() | CallFailed() | CallSuspended() | CallDecided():
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
        case HandoffOffered():
            handoffs.evolve_offer(state, entry, event)
        case HandoffVoted():
            votes.evolve_vote(state, entry, event)
        case HandoffAccepted() | HandoffRejected():
            handoffs.evolve_verdict(state, event)
        case HandoffDecided():
            handoffs.evolve_decision(state, entry, event)
            # A judge that votes anew is not told of its vote about another value.
            begin_again(state, event.agents, recall=event.decision == "retry")
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
    state: ExecutionState, agent: AgentState, event: AttemptStarted | AttemptEnded, entry: Entry
) -> None:
    if isinstance(event, AttemptStarted):
        state.totals.attempts += 1
        agent.status = "leased"
        agent.attempts += 1
        agent.epoch = event.epoch
        agent.worker = event.worker
        agent.sequence = 0
        agent.step_ms = entry.at_ms
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
    event: CallIntended | CallCompleted | CallFailed | CallSuspended | CallDecided,
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
        case CallSuspended():
            call.suspended = True
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
    agent.step_ms = entry.at_ms
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
