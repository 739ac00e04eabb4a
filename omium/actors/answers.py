"""What a person decides or answers: which call it is about, whether it fits, what follows.

Pure: a state and a message in, an event out. ``Desk`` appends it.
"""

from __future__ import annotations

from typing import Any

from omium.actors import messages as m
from omium.definitions import value_problems, workflow_from_data
from omium.errors import AnswerError, Conflict, InputError
from omium.execution.events import CallDecided, HandoffDecided
from omium.execution.handoffs import HANDOFF_REJECTED, not_taken, run_again
from omium.execution.people import DECISIONS, kind_of, waiting_for
from omium.execution.records import Payload
from omium.execution.state import AgentState, CallState, ExecutionState, HandoffState
from omium.types import AgentName

_HOW = {
    "question": "answer it",
    "approval": "approve it, deny it, or answer with other arguments",
    "signal": "send the signal, or deny it",
    "tool": "--decide retry, answer or fail",
}


def decision_of(state: ExecutionState, message: m.Resume) -> CallDecided | HandoffDecided | None:
    """What a request to go on decides; None where there is nothing to decide.

    It is about the call that the request names, else about the handoff or the call that the
    execution is paused for, else about the first thing that is asked. Raises ``Conflict`` where a
    decision is missing or is waited for by nothing, ``InputError`` for one that says too little
    or too much, and ``AnswerError`` for an answer that does not fit.
    """
    handoff = _handoff_in_question(state) if not message.call else None
    if handoff is not None:
        return _about_handoff(state, handoff, message)
    found = _call_in_question(state, message.call)
    if found is None:
        if message.call:
            raise Conflict(f"{state.id} waits for no answer to call {message.call}")
        if message.decision is not None:
            raise Conflict(f"{state.id} waits for no decision")
        return None
    agent, call = found
    kind = kind_of(call)
    if message.decision is None:
        if not message.call and not _is_paused_for(state, call):
            return None
        raise Conflict(f"{state.id} waits for {_named(call)}: {_HOW[kind]}")
    if message.decision not in DECISIONS[kind]:
        raise Conflict(
            f"{state.id} waits for {_named(call)}: {_HOW[kind]}, not {message.decision!r}"
        )
    if (message.decision == "answer") != (message.answer is not None):
        raise InputError("an answer goes with the decision 'answer', and only with it")
    if message.answer is not None:
        _check(call, kind, message.answer)
    return CallDecided(
        agent=agent.name,
        call=call.index,
        decision=message.decision,
        response=message.answer,
        by=message.by or ("somebody" if kind == "approval" else ""),
        reason=message.reason,
    )


def _handoff_in_question(state: ExecutionState) -> HandoffState | None:
    """The rejected handoff for which the execution is paused, or by which it failed."""
    paused = state.pause is not None and state.pause.reason == HANDOFF_REJECTED
    failed = state.failure is not None and state.failure.kind == HANDOFF_REJECTED
    return next(not_taken(state), None) if paused or failed else None


def _about_handoff(
    state: ExecutionState, handoff: HandoffState, message: m.Resume
) -> HandoffDecided:
    """What is decided about a rejected handoff. To resume what failed by it is to try it again."""
    decision = message.decision or ("retry" if state.status == "failed" else None)
    what = f"a decision about handoff {handoff.name!r}"
    if decision is None or decision == "deny":
        given = f", not {decision!r}" if decision is not None else ""
        raise Conflict(
            f"{state.id} waits for {what}: --decide retry, answer, approve or fail{given}"
        )
    if (decision == "answer") != (message.answer is not None):
        raise InputError("an answer goes with the decision 'answer', and only with it")
    if message.answer is not None:
        schema = input_of(state, handoff)
        problems = value_problems(schema, message.answer.inline) if schema is not None else ()
        if problems:
            raise AnswerError(handoff.index, problems)
    return HandoffDecided(
        agent=handoff.to,
        handoff=handoff.name,
        decision=decision,
        agents=run_again(state, handoff) if decision == "retry" else (),
        output=message.answer,
        by=message.by or "somebody",
        reason=message.reason,
    )


def input_of(state: ExecutionState, handoff: HandoffState) -> dict[str, Any] | None:
    """The schema of what is handed over; None where its receiver takes anything."""
    return workflow_from_data(state.definition.inline).agent(handoff.to).input


def handoff_view(handoff: HandoffState) -> m.HandoffView:
    """What is shown of a handoff."""
    return m.HandoffView(
        handoff=handoff.name,
        source=handoff.source,
        to=handoff.to,
        status=handoff.status,
        index=handoff.index,
        offered_ms=handoff.offered_ms,
        reasons=handoff.reasons,
        votes=handoff.votes,
    )


def waits_for_more(state: ExecutionState, answered: int) -> bool:
    """Whether, with the call ``answered``, everybody who could go on still asks for something."""
    if state.pause is None or state.pause.reason in ("outcome_unknown", "outcome_known"):
        return False
    (asker,) = [agent for agent, call in state.questions if call.index == answered] or [None]
    return asker is not None and any(call.index != answered for call in asker.questions)


def waits_for_signal(state: ExecutionState, name: str) -> bool:
    """Whether the signal ``name`` lets a paused execution go on."""
    waits = waiting_for(state, name)
    if waits is None or state.status != "paused" or state.pause is None:
        return False
    asked = state.pause.reason in ("question", "approval", "signal")
    return asked and not waits_for_more(state, waits.index)


def question_view(agent: AgentName, call: CallState) -> m.QuestionView:
    """What is shown of something that is asked."""
    question = call.question
    assert question is not None
    return m.QuestionView(
        call=call.index,
        agent=agent,
        kind=question.kind,
        text=question.text,
        schema=question.schema,
        tool=question.tool,
        name=question.name,
        arguments=call.request,
        asked_ms=call.intended_ms,
    )


def _call_in_question(state: ExecutionState, index: int) -> tuple[AgentState, CallState] | None:
    pause = state.pause
    if index:
        found = state.call_at(index)
        if found is None or found[1].status != "open":
            return None
        call = found[1]
        return found if call.question is not None or _is_paused_for(state, call) else None
    if pause is not None and pause.call:
        found = state.call_at(pause.call)
        if found is not None and found[1].status == "open":
            return found
        if pause.reason == "outcome_unknown":
            raise Conflict(f"{state.id} waits for call {pause.call}, which is not open")
    if pause is not None and pause.reason == "outcome_known":
        return None
    return next(iter(state.questions), None)


def _is_paused_for(state: ExecutionState, call: CallState) -> bool:
    pause = state.pause
    return pause is not None and pause.call == call.index and pause.reason != "outcome_known"


def _named(call: CallState) -> str:
    """What a call waits for, in words."""
    question = call.question
    where = f"(journal index {call.index})"
    if question is None:
        return f"a decision about {call.key.kind} call {call.key.name!r} {where}"
    match question.kind:
        case "approval":
            return f"an approval {where}: {question.text}"
        case "signal":
            return f"{question.text} {where}"
        case _:
            return f"an answer {where} to {question.text!r}"


def _check(call: CallState, kind: str, answer: Payload) -> None:
    """Refuse an answer that does not fit. Raises ``AnswerError``."""
    if kind == "approval" and not isinstance(answer.inline, dict):
        raise AnswerError(call.index, ["expected an object: the arguments to run the tool with"])
    schema = call.question.schema if call.question is not None else None
    problems = value_problems(schema, answer.inline) if schema is not None else ()
    if problems:
        raise AnswerError(call.index, problems)
