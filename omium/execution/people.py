"""Calls to people: what is asked of them, what they may say, and signals that are waited for.

Pure. ``check_*`` refuse and change nothing, ``evolve_*`` change a state by one event that was
let through; ``machine`` calls both.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from omium.execution.calls import digest_of
from omium.execution.events import CallDecided, CallIntended, Entry, Paused, Signalled
from omium.execution.records import Decision, Failure, PauseReason, Payload
from omium.execution.state import AgentState, CallState, ExecutionState, Pause, Signal

SIGNALS_MAX = 1_000
"""Signals that nobody has taken; more are refused."""

DECISIONS: dict[str, tuple[Decision, ...]] = {
    "question": ("answer", "deny"),
    "approval": ("approve", "deny", "answer"),
    "signal": ("deny",),
    "tool": ("retry", "answer", "fail"),
}
"""What may be decided about a call that waits, by what it asks for."""

_DENIED, _NOT_ANSWERED = "denied", "not answered"
_REFUSAL = re.compile(
    rf"(?:{_DENIED}|{_NOT_ANSWERED})(?: by (?P<by>.+?))?(?:: (?P<reason>.+))?", re.DOTALL
)


def kind_of(call: CallState) -> str:
    """``question``, ``approval`` or ``signal`` of what a person is asked; ``tool`` of a call
    whose outcome is unknown."""
    return call.question.kind if call.question is not None else "tool"


def check_intent(agent: AgentState, event: CallIntended) -> str | None:
    """Why a call may not be intended so; None where it may."""
    if (event.key.kind == "human") != (event.question is not None):
        return "a human call, and no other, asks a question"
    if not event.approval:
        return None
    leave = next((c for c in agent.calls.values() if c.index == event.approval), None)
    if leave is None or leave.status != "completed" or not leave.approved:
        return f"call {event.approval} is no approval"
    if leave.question is None or leave.question.tool != event.key.name:
        return f"approval {event.approval} is not for tool {event.key.name!r}"
    if leave.approved != event.key.digest:
        return f"approval {event.approval} is for other arguments"
    if any(c.approval == event.approval and c.key != event.key for c in agent.calls.values()):
        return f"approval {event.approval} was used by another call"
    return None


def check_decision(state: ExecutionState, call: CallState, event: CallDecided) -> str | None:
    """Why something may not be decided about an open call; None where it may."""
    kind = kind_of(call)
    if event.decision not in DECISIONS[kind]:
        return f"{event.decision!r} decides no {kind}: {', '.join(DECISIONS[kind])}"
    if kind == "tool" and state.status != "paused":
        return f"the execution is {state.status}: nothing is to be decided about a tool call"
    if kind == "approval":
        if not event.by:
            return "an approval names who gives it"
        if event.response is not None and not isinstance(event.response.inline, dict):
            return "arguments to run a tool with are an object"
    return None


def check_signal(state: ExecutionState) -> str | None:
    """Why no signal is taken in; None where it is."""
    if len(state.signals) >= SIGNALS_MAX:
        return f"{SIGNALS_MAX} signals wait to be read, and no more are kept"
    return None


def evolve_intent(state: ExecutionState, call: CallState, event: CallIntended) -> None:
    """Note what a new call asks; give it the signals that have come already."""
    question = event.question
    if question is None:
        return
    call.question = question
    if question.kind == "approval":
        call.request = event.request
    if question.kind == "signals":
        taken = [s for s in state.signals if question.name in ("", s.name)]
        _complete(call, [_shown(signal) for signal in taken])
        state.signals = [signal for signal in state.signals if signal not in taken]
    elif question.kind == "signal":
        first = next((s for s in state.signals if s.name == question.name), None)
        if first is not None:
            state.signals.remove(first)
            _complete(call, _shown(first))


def evolve_copied(call: CallState, event: CallIntended) -> None:
    """Note what a call asks that a fork copied: its outcome follows."""
    call.question = event.question
    if event.question is not None and event.question.kind == "approval":
        call.request = event.request


def evolve_answer(call: CallState, response: Payload) -> None:
    """Note which arguments an approval that was copied is for."""
    if kind_of(call) == "approval":
        edited = response.blob is None
        call.approved = digest_of(response.inline) if edited else call.key.digest


def evolve_signal(state: ExecutionState, entry: Entry, event: Signalled) -> None:
    """Give a signal to the call that waits for it, the longest; else keep it."""
    signal = Signal(index=entry.index, name=event.name, payload=event.payload, by=event.by)
    waits = waiting_for(state, event.name)
    if waits is None:
        state.signals.append(signal)
        return
    _complete(waits, _shown(signal))
    pause_anew(state)


def waiting_for(state: ExecutionState, name: str) -> CallState | None:
    """The call that waits for a signal of that name, the longest."""
    waiting = (
        call
        for _, call in state.questions
        if call.question is not None and call.question.kind == "signal"
    )
    return next((c for c in waiting if c.question and c.question.name == name), None)


def evolve_decision(state: ExecutionState, call: CallState, event: CallDecided) -> None:
    """Let a person's word be the outcome of what was asked."""
    match event.decision:
        case "approve":
            call.status, call.approved = "completed", call.key.digest
            call.response = call.request
        case "answer":
            call.status, call.response = "completed", event.response
            if kind_of(call) == "approval" and event.response is not None:
                call.approved = digest_of(event.response.inline)
        case _:
            message = refusal(kind_of(call), by=event.by, reason=event.reason)
            call.status, call.failure = "failed", Failure(kind="declined", message=message)
    pause_anew(state)


def refusal(kind: str, *, by: str, reason: str) -> str:
    """In which words it is told that somebody gave no answer, or no leave, and why."""
    verb = _DENIED if kind == "approval" else _NOT_ANSWERED
    return verb + (f" by {by}" if by else "") + (f": {reason}" if reason else "")


def refused(message: str) -> tuple[str, str]:
    """Who refused, and the reason, read out of ``refusal``'s words.

    A name with a colon in it may end at the colon, and the reason begin there: the two give the
    same words again.
    """
    found = _REFUSAL.fullmatch(message)
    return (found["by"] or "", found["reason"] or "") if found is not None else ("", message)


def pause_anew(state: ExecutionState) -> None:
    """Let a pause be about the next thing that is asked, once it was about one that is not."""
    pause = state.pause
    if pause is None or pause.reason not in ("question", "approval", "signal"):
        return
    following = pause_of(state)
    if following is not None:
        found = state.call_at(following.call)
        name = found[0].name if found is not None else None
        state.pause = Pause(following.reason, following.detail, following.call, name)


def pause_of(state: ExecutionState) -> Paused | None:
    """The pause for the first thing that is asked: of a person, else a signal."""
    asked = state.questions
    asked.sort(key=lambda pair: pair[1].question is not None and pair[1].question.kind == "signal")
    for agent, call in asked:
        question = call.question
        if question is not None and question.kind != "signals":
            reason: PauseReason = question.kind
            detail = f"agent {agent.name!r} asks (call {call.index}): {question.text}"
            return Paused(reason=reason, call=call.index, detail=detail)
    return None


def _complete(call: CallState, value: Any) -> None:
    call.status, call.response = "completed", Payload(inline=value)


def _shown(signal: Signal) -> Any:
    """A signal as the asking agent's process is told of it: its payload may be a reference."""
    return {
        "name": signal.name,
        "payload": msgspec.to_builtins(signal.payload),
        "by": signal.by,
        "index": signal.index,
    }
