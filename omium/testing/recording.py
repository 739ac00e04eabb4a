"""What an execution did, read out of its journal: its calls, steps, outputs and what they used.

Owns the shape in which a test, or a comparison, looks at an execution. It reads entries that it
is given, and decides nothing about them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import msgspec

from omium.errors import Conflict, ExecutionCancelled, ExecutionFailed, ExecutionPaused
from omium.execution.events import (
    AgentCompleted,
    CallCompleted,
    CallDecided,
    CallFailed,
    CallIntended,
    Created,
    Entry,
    HandoffDecided,
    Signalled,
    StepCompleted,
)
from omium.execution.fold import DECIDED_FAILURE, create, evolve
from omium.execution.people import refused, waiting_for
from omium.execution.records import CallKey, Failure, HandoffChoice, Payload, Question, Usage
from omium.execution.state import CallState
from omium.frameworks.people import Signal
from omium.types import AgentName, ExecutionId, Json, Status

ValueOf = Callable[[Payload], Awaitable[Json]]
"""The value of a payload, from the blob store where it lies there."""


@dataclass(frozen=True, kw_only=True)
class Call:
    """An LLM or tool call of an agent, or what it asked of a person, and how it ended.

    ``name`` is the model's or the tool's; ``request`` is what the model was asked, or the
    arguments of the tool. A call without ``response`` and without ``failure`` has no outcome on
    record. ``index`` is that of its intent in the journal.

    A person's call has its ``question``, and ``decision`` is what was said ``by`` whom. Of one that
    waited for a signal, or took those that had come, these are the ``signals``, and what came with
    them is its ``response``. ``inside`` says whether a tool asked it.
    """

    index: int
    agent: AgentName
    step: str
    key: CallKey
    ordinal: int
    request: Json
    answered: bool = False
    response: Json = None
    failure: Failure | None = None
    usage: Usage = field(default_factory=Usage)
    served_by: str = ""
    question: Question | None = None
    decision: str = ""
    reason: str = ""
    by: str = ""
    signals: tuple[Signal, ...] = ()
    inside: bool = False

    @property
    def kind(self) -> str:
        """``llm``, ``tool`` or ``human``."""
        return self.key.kind

    @property
    def name(self) -> str:
        return self.key.name

    @property
    def text(self) -> str:
        """The text that a model answered with; empty for anything else."""
        match self.response:
            case {"choices": [{"message": {"content": str(content)}}, *_]}:
                return content
            case _:
                return ""


@dataclass(frozen=True, kw_only=True)
class Step:
    """A completed step of an agent; ``state`` is what its checkpoint holds."""

    agent: AgentName
    step: str
    name: str
    state: Json


@dataclass(frozen=True, kw_only=True)
class Decided:
    """What a person decided about the ``handoff`` that ``agent`` had rejected. ``answer`` is what
    was handed over instead, where that was the ``decision``."""

    agent: AgentName
    handoff: str
    decision: HandoffChoice
    answer: Json = None
    reason: str = ""
    by: str = ""


@dataclass(frozen=True, kw_only=True)
class Recording:
    """An execution as its journal tells it. ``outputs`` are those of the agents that completed;
    ``sinks`` are the agents whose outputs are the result, once the execution has completed."""

    id: ExecutionId
    status: Status
    definition: dict[str, Json]
    inputs: dict[str, Json]
    model: str
    import_paths: tuple[str, ...]
    outputs: dict[AgentName, Json]
    sinks: tuple[AgentName, ...]
    steps: tuple[Step, ...]
    calls: tuple[Call, ...]
    failure: Failure | None
    pause: str = ""
    decided: tuple[Decided, ...] = ()

    @property
    def result(self) -> Json:
        """The output of the last agent, or of the last agents by name.

        Raises ``ExecutionFailed``, ``ExecutionPaused``, ``ExecutionCancelled``, or ``Conflict``
        for an execution that has not ended.
        """
        match self.status:
            case "completed" if len(self.sinks) == 1:
                return self.outputs[self.sinks[0]]
            case "completed":
                return {name: self.outputs[name] for name in self.sinks}
            case "failed":
                failure = self.failure or Failure(kind="internal", message="no reason on record")
                reason = f"{failure.kind}: {failure.message}"
                raise ExecutionFailed(self.id, reason, failure.kind)
            case "paused":
                raise ExecutionPaused(self.id, self.pause)
            case "cancelled":
                raise ExecutionCancelled(self.id, "cancelled")
            case status:
                raise Conflict(f"{self.id} is {status}")

    def llm_calls(self, agent: AgentName | None = None) -> list[Call]:
        """The LLM calls, oldest first: all of them, or those of one agent."""
        return [c for c in self.calls if c.kind == "llm" and agent in (None, c.agent)]

    def tool_calls(self, name: str | None = None) -> list[Call]:
        """The tool calls, oldest first: all of them, or those of one tool."""
        return [c for c in self.calls if c.kind == "tool" and name in (None, c.name)]

    def questions(self, agent: AgentName | None = None) -> list[Call]:
        """What was asked of people, oldest first: all of it, or by one agent."""
        return [c for c in self.calls if c.kind == "human" and agent in (None, c.agent)]

    @property
    def usage(self) -> Usage:
        """What its answered calls used in all. A figure that nobody reported is None."""
        return Usage(
            prompt_tokens=_total([c.usage.prompt_tokens for c in self.calls]),
            completion_tokens=_total([c.usage.completion_tokens for c in self.calls]),
            cost_micros=_total([c.usage.cost_micros for c in self.calls]),
        )


def _total(figures: Sequence[int | None]) -> int | None:
    known = [figure for figure in figures if figure is not None]
    return sum(known) if known else None


async def recording_of(entries: Sequence[Entry], value: ValueOf) -> Recording:
    """The recording of an execution of which ``entries`` is the whole journal.

    Raises ``Conflict`` where it is not one, and what ``value`` raises.
    """
    if not entries or not isinstance(entries[0].event, Created):
        raise Conflict("a recording begins with a journal's first entry")
    created = entries[0].event
    state = create(entries[0])
    calls: dict[int, dict[str, Any]] = {}
    latest: dict[tuple[AgentName, CallKey], int] = {}
    steps: list[Step] = []
    outputs: dict[AgentName, Json] = {}
    decided: list[Decided] = []
    for entry in entries:
        waits: CallState | None = None
        if isinstance(entry.event, Signalled):
            waits = waiting_for(state, entry.event.name)
        if entry.index > 1:
            evolve(state, entry)
        match entry.event:
            case CallIntended() as event:
                # A call that is made again is one call: only its last outcome counts.
                calls.pop(latest.get((event.agent, event.key), 0), None)
                latest[event.agent, event.key] = entry.index
                calls[entry.index] = {
                    "index": entry.index,
                    "agent": event.agent,
                    "step": event.step,
                    "key": event.key,
                    "ordinal": event.ordinal,
                    "request": await value(event.request),
                    "question": event.question,
                    "inside": bool(event.inside),
                }
                found = state.call_at(entry.index)
                # Signals that had come before are its outcome.
                if event.question is not None and found is not None and found[1].response:
                    calls[entry.index] |= await _given(found[1].response, value)
            case Signalled() if waits is not None and waits.response and waits.index in calls:
                calls[waits.index] |= await _given(waits.response, value)
            case CallCompleted() as event if _is_given(calls.get(event.call)):
                # The outcome of a call that a fork copied.
                calls[event.call] |= await _given(event.response, value)
            case CallCompleted() as event if event.call in calls:
                calls[event.call] |= {
                    "answered": True,
                    "response": await value(event.response),
                    "failure": None,
                    "usage": event.usage,
                    "served_by": event.served_by,
                }
            case CallFailed() as event if calls.get(event.call, {}).get("question") is not None:
                # What a fork copied of a denial: who said it, and why, is in the words alone.
                by, reason = refused(event.failure.message)
                denied = {"decision": "deny", "by": by, "reason": reason}
                calls[event.call] |= {"failure": event.failure, **denied}
            case CallFailed() as event if event.call in calls:
                calls[event.call]["failure"] = event.failure
            case CallDecided(decision="answer" | "approve") as event if event.call in calls:
                response = await value(event.response) if event.response is not None else None
                calls[event.call] |= {"answered": True, "response": response, **_said(event)}
            case CallDecided(decision="deny") as event if event.call in calls:
                calls[event.call] |= _said(event)
            case CallDecided(decision="fail") as event if event.call in calls:
                calls[event.call]["failure"] = DECIDED_FAILURE
            # Without a name it followed from the definition, and does again.
            case HandoffDecided() as event if event.by and event.decision != "delegate":
                decided.append(
                    Decided(
                        agent=event.agent,
                        handoff=event.handoff,
                        decision=event.decision,
                        answer=await value(event.output) if event.output is not None else None,
                        reason=event.reason,
                        by=event.by,
                    )
                )
            case StepCompleted() as event:
                saved = await value(event.state)
                steps.append(Step(agent=event.agent, step=event.step, name=event.name, state=saved))
            case AgentCompleted() as event:
                outputs[event.agent] = await value(event.output)
            case _:
                pass
    return Recording(
        id=state.id,
        status=state.status,
        definition=cast("dict[str, Json]", await value(created.definition)),
        inputs=cast("dict[str, Json]", await value(created.inputs)),
        model=created.model,
        import_paths=created.import_paths,
        outputs=outputs,
        sinks=state.result,
        steps=tuple(steps),
        calls=tuple(Call(**call) for call in calls.values()),
        failure=state.failure,
        pause=state.pause.detail if state.pause is not None else "",
        decided=tuple(decided),
    )


def _said(event: CallDecided) -> dict[str, Any]:
    return {"decision": event.decision, "reason": event.reason, "by": event.by}


def _is_given(call: dict[str, Any] | None) -> bool:
    """Whether it is signals that a call asks for."""
    question = call["question"] if call is not None else None
    return question is not None and question.kind in ("signal", "signals")


async def _given(response: Payload, value: ValueOf) -> dict[str, Any]:
    """The outcome of a call that asked for signals: of one, or of all that had come."""
    shown: Any = response.inline
    several = isinstance(shown, list)
    signals = tuple(
        [
            Signal(**{**one, "payload": await value(msgspec.convert(one["payload"], Payload))})
            for one in (shown if several else [shown])
        ]
    )
    came = [signal.payload for signal in signals]
    outcome: dict[str, Any] = {"answered": True, "signals": signals}
    return outcome | ({"response": came} if several else {"response": came[0], "by": signals[0].by})
