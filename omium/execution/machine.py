"""The state machine of an execution: which event may come when.

``check`` refuses what may not happen and changes nothing; ``fold.evolve`` changes the state by
one event and cannot fail. A replica applies ``check`` then ``evolve`` to each append in log
order, so every replica reaches the same state, and so does whoever folds the entries that came
of it.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Literal

import msgspec
from msgspec.structs import replace

from omium.execution import handoffs, people, votes
from omium.execution.events import (
    AgentCompleted,
    AgentSkipped,
    Append,
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
    Event,
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
    type_of,
)
from omium.execution.fold import create, evolve
from omium.execution.records import Writer
from omium.execution.routing import is_at_end, is_passed_over, is_ready, is_taken, may_begin
from omium.execution.state import ExecutionState
from omium.execution.transitions import PROGRESS, TRANSITIONS, VERDICTS
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
    rejecting: set[Hashable] = set()
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
        claims, rejects = _claims(state, event), _rejects(event)
        if claims & (settled | rejecting) or rejects & settled:
            return Refusal(
                code="conflict",
                message=f"{type_of(event)} at position {position} is at odds with an earlier event",
            )
        settled |= claims
        rejecting |= rejects
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
        # A verdict comes of votes that are committed, never of those beside it.
        case HandoffOffered() | HandoffVoted() | HandoffAccepted() | HandoffRejected():
            return {("handoff", event.handoff)}
        case HandoffDecided():
            begun = {("agent", name) for name in event.agents}
            return {("handoff", event.handoff), *begun}
        case CallCompleted() | CallFailed() | CallSuspended() | CallDecided():
            return {("call", event.call)}
        case Signalled():
            waits = people.waiting_for(state, event.name)
            return {("call", waits.index)} if waits is not None else set()
        case CallIntended():
            known = state.agents[event.agent].calls.get(event.key)
            return {("call", known.index if known is not None else (event.agent, event.key))}
        case _:
            return set()


def _rejects(event: Event) -> set[Hashable]:
    """Whose attempt ends by ``event``: it may reject all that it is offered, and nothing else may
    become of it in the same append."""
    return {("agent", event.agent)} if isinstance(event, HandoffRejected) else set()


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
    by_attempt = isinstance(event, (*PROGRESS, *VERDICTS)) and (
        writer is not None and name == writer.agent
    )
    if writer is not None and not by_attempt:
        return Refusal(
            code="conflict",
            message=f"an attempt of {writer.agent!r} cannot append {type_of(event)}"
            + (f" of {name!r}" if name not in (None, writer.agent) else ""),
        )
    if by_attempt and agent is not None and not isinstance(event, VERDICTS):
        problem = handoffs.check_work(state, agent)
        if problem is not None:
            return Refusal(code="conflict", message=problem)
    if isinstance(event, AttemptStarted):
        return _check_lease(state, event)
    if isinstance(event, handoffs.AboutHandoff):
        return _check_handoff(state, event, by_attempt=by_attempt)
    if isinstance(event, StepCompleted):
        if agent is not None and event.step in agent.steps:
            return Refusal(code="conflict", message=f"step {event.step!r} is complete already")
    elif isinstance(event, AgentCompleted):
        if agent is not None and agent.is_done:
            done = "complete" if agent.status == "completed" else "skipped"
            return Refusal(code="conflict", message=f"agent {name!r} is {done} already")
    elif isinstance(event, AgentSkipped):
        # What a fork copies lacks the verdict for which a stand-in was dispensable.
        copied = agent is not None and agent.stands_in is not None and state.is_copied
        if agent is not None and not copied and not is_passed_over(state, agent):
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
    elif isinstance(event, CallCompleted | CallFailed | CallSuspended | CallDecided):
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


def _check_handoff(
    state: ExecutionState,
    event: handoffs.AboutHandoff,
    *,
    by_attempt: bool,
) -> Refusal | None:
    match event:
        case HandoffOffered():
            known = event.to in state.agents
            taken = known and is_taken(state, event.agent, event.to) is True
            problem = handoffs.check_offer(state, event, taken=taken)
        case HandoffVoted():
            problem = votes.check_vote(state, event, by_attempt=by_attempt)
        case HandoffDecided():
            problem = handoffs.check_decision(state, event)
        case _:
            problem = handoffs.check_verdict(state, event, by_attempt=by_attempt)
    return Refusal(code="conflict", message=problem) if problem is not None else None


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
    if (agent.checked or agent.judges or agent.stands_in) and not is_ready(state, agent):
        message = f"what is handed to agent {event.agent!r} is not offered to it"
        return Refusal(code="conflict", message=message)
    if event.epoch <= state.epoch:
        return Refusal(
            code="stale_epoch",
            message=f"epoch {event.epoch} is not new",
            current_epoch=state.epoch,
        )
    return None
