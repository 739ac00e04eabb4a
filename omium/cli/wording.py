"""What is said about events, sizes and times. Pure: values in, short texts out."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec

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
    StepStarted,
    type_of,
)
from omium.execution.records import Failure, Payload, Usage

CLIP_CHARS = 100


def one_line(text: str, chars_max: int = 500) -> str:
    """``text`` on one line, cut off after ``chars_max`` characters."""
    line = " ".join(text.split())
    return line if len(line) <= chars_max else line[: chars_max - 1] + "…"


def json_text(value: Any) -> str:
    """Compact JSON of a value that is JSON or made of records."""
    return msgspec.json.encode(value).decode()


def clipped(payload: Payload, chars_max: int = CLIP_CHARS) -> str:
    """The JSON of a payload, cut off; a reference where it lies in the blob store."""
    if payload.blob is not None:
        return f"{size_text(payload.blob.size)} in blob {payload.blob.digest[:19]}…"
    return one_line(json_text(payload.inline), chars_max)


def payload_bytes(payload: Payload) -> int:
    """Size of a payload's JSON in bytes."""
    if payload.blob is not None:
        return payload.blob.size
    return len(msgspec.json.encode(payload.inline))


def size_text(size_bytes: int) -> str:
    """``812 B``, ``31.2 KB``, ``98.4 MB``."""
    if size_bytes < 1_000:
        return f"{size_bytes} B"
    size, unit = size_bytes / 1_000, "KB"
    if size >= 1_000:
        size, unit = size / 1_000, "MB"
    return f"{size:.1f} {unit}"


def duration_text(seconds: float) -> str:
    """``0.41 s``, ``12.3 s``, ``4 m 05 s``, ``2 h 10 m``."""
    if seconds < 10:
        return f"{seconds:.2f} s"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} m {rest:02d} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} m"


def time_text(at_ms: int) -> str:
    """A time in milliseconds since the epoch as ``2026-11-24T10:20:30Z``."""
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def counted(count: int, noun: str) -> str:
    """``1 call``, ``2 calls``."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def tokens_text(prompt: int | None, completion: int | None) -> str:
    """``212+18 tokens``; a count that nobody reported is ``?``."""
    shown = [f"{count:,}" if count is not None else "?" for count in (prompt, completion)]
    return f"{shown[0]}+{shown[1]} tokens"


def failure_text(failure: Failure) -> str:
    """The kind and the message of a failure, on one line."""
    return f"{failure.kind}: {one_line(failure.message)}"


def agent_of(event: Event) -> str:
    """The agent that an event is about; empty where it is about the whole execution."""
    match event:
        case FailureRecorded(failure=failure) | Failed(failure=failure):
            return failure.agent or ""
        case Created() | Paused() | Resumed() | Signalled() | Completed() | Cancelled():
            return ""
        case _:
            return event.agent


def detail_of(event: Event) -> str:
    """What is worth knowing about an event beside its type and its agent."""
    match event:
        case Created():
            origin = event.origin
            since = f", forked from {origin.execution_id}@{origin.index}" if origin else ""
            return f"{event.workflow} {event.version}, {counted(len(event.plan), 'agent')}{since}"
        case AttemptStarted():
            return f"attempt {event.epoch} on {event.worker} ({event.cause})"
        case AttemptEnded():
            said = f": {one_line(event.detail)}" if event.detail else ""
            return f"attempt {event.epoch} {event.end}{said}"
        case StepStarted():
            return _step(event.step, event.name)
        case CallIntended():
            return _intent(event)
        case CallCompleted():
            return ", ".join(_answered(event))
        case CallFailed():
            return f"call {event.call}, {failure_text(event.failure)}"
        case CallSuspended():
            return f"call {event.call} asks, and starts over when there is an answer"
        case CallDecided():
            answer = f" {clipped(event.response)}" if event.response is not None else ""
            why = f": {one_line(event.reason, CLIP_CHARS)}" if event.reason else ""
            return f"call {event.call}, {event.decision}{answer}{_by(event.by)}{why}"
        case StepCompleted():
            return f"{_step(event.step, event.name)}, {size_text(payload_bytes(event.state))}"
        case AgentCompleted():
            return clipped(event.output)
        case AgentSkipped():
            return "nothing was handed to it"
        case RoundStarted():
            return f"back to {event.to}: round {event.round} of {', '.join(event.agents)}"
        case HandoffOffered():
            schema = f", for schema {event.schema[:19]}…" if event.schema else ""
            return f"{event.handoff}, of attempt {event.epoch}{schema}"
        case HandoffVoted():
            why = f": {one_line(event.reason, CLIP_CHARS)}" if event.reason else ""
            return f"{event.handoff}, {event.validator} {event.ballot}{why}"
        case HandoffAccepted():
            return event.handoff
        case HandoffRejected():
            said = "; ".join(
                f"{one.path or one.validator} {one.message}".strip() for one in event.reasons
            )
            return f"{event.handoff}: {one_line(said)}"
        case HandoffDecided():
            answer = f" {clipped(event.output)}" if event.output is not None else ""
            again = f", again: {', '.join(event.agents)}" if event.agents else ""
            why = f": {one_line(event.reason, CLIP_CHARS)}" if event.reason else ""
            return f"{event.handoff}, {event.decision}{answer}{again}{_by(event.by)}{why}"
        case FailureRecorded() | Failed():
            return failure_text(event.failure)
        case Paused():
            return f"{event.reason}: {one_line(event.detail)}" if event.detail else event.reason
        case Resumed() | Cancelled():
            return _by(event.by).strip()
        case Signalled():
            return f"{event.name} {clipped(event.payload)}{_by(event.by)}"
        case Completed():
            return f"result of {', '.join(event.sinks)}"


def line_of(entry: Entry, created_ms: int) -> str:
    """One entry as a line for people: when, who, what."""
    offset_s = max(0, entry.at_ms - created_ms) / 1000
    who = agent_of(entry.event)
    what = type_of(entry.event).replace(".", " ")
    detail = detail_of(entry.event)
    start = f"{offset_s:9.3f} s  {f'{who}: ' if who else ''}{what}"
    return f"{start}  {detail}" if detail else start


def _step(step: str, name: str) -> str:
    return f"step {step} {name!r}" if name else f"step {step}"


def _by(whom: str) -> str:
    return f" by {whom}" if whom else ""


def _intent(event: CallIntended) -> str:
    if event.question is not None:
        return f"{event.question.kind} {one_line(event.question.text, CLIP_CHARS)}".strip()
    if event.key.kind == "tool":
        return f"tool {event.key.name} {clipped(event.request)}"
    return f"llm {event.key.name}"


def _answered(event: CallCompleted) -> list[str]:
    parts = [f"call {event.call}"]
    if event.usage != Usage():
        parts.append(tokens_text(event.usage.prompt_tokens, event.usage.completion_tokens))
    parts.append(duration_text(event.duration_ms / 1000))
    if event.served_by.startswith("tool/"):
        parts.append(clipped(event.response))
    elif event.served_by:
        parts.append(event.served_by)
    return parts
