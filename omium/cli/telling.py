"""Telling how an execution ended: its result, what it used, and how to go on."""

from __future__ import annotations

import signal
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from omium.cli.places import Place
from omium.cli.terminal import exit_code_for, failed_error, out_json, say, tell_error
from omium.cli.wording import counted, duration_text, tokens_text
from omium.errors import ExecutionCancelled, ExecutionPaused, OmiumError
from omium.execution.events import Entry, StepCompleted
from omium.execution.state import ExecutionState
from omium.types import ExecutionId, Json

if TYPE_CHECKING:
    from omium.actors.messages import ExecutionView

CHECKPOINTS_SHOWN_MAX = 12


@dataclass(kw_only=True)
class Drive:
    """How it went. ``view`` is set when the execution ended or paused by itself, ``signal``
    when a signal came first, ``error`` when something else did. ``checkpoints`` are journal
    index and agent of each. ``elsewhere`` means that others work on it, and go on."""

    execution_id: ExecutionId | None = None
    view: ExecutionView | None = None
    output: Json = None
    elapsed_s: float = 0.0
    checkpoints: list[tuple[int, str]] = field(default_factory=list[tuple[int, str]])
    signal: int | None = None
    error: OmiumError | None = None
    elsewhere: bool = False

    def note(self, entry: Entry) -> None:
        """Keep what is told of an entry at the end."""
        if isinstance(entry.event, StepCompleted):
            self.checkpoints.append((entry.index, entry.event.agent))


def tell(ending: Drive, place: Place, *, as_json: bool, quiet: bool) -> int:
    """Say how it ended; returns the exit code."""
    if ending.view is not None:
        return _tell_end(ending, ending.view, place, as_json=as_json, quiet=quiet)
    go_on = _left(ending, place)
    if as_json and ending.execution_id is not None:
        out_json(_interrupted_json(ending))
    if ending.signal is not None:
        name = signal_name(ending.signal)
        say(f"{name}; {go_on}" if go_on else f"{name}; nothing was started")
        return 128 + ending.signal
    assert ending.error is not None
    tell_error(ending.error, as_json=as_json and ending.execution_id is None)
    if go_on:
        say(go_on)
    return exit_code_for(ending.error)


def signal_name(number: int) -> str:
    """What a signal did, in a word."""
    return "interrupted" if number == signal.SIGINT else "terminated"


def _interrupted_json(ending: Drive) -> dict[str, Any]:
    line: dict[str, Any] = {
        "type": "result",
        "execution": ending.execution_id,
        "status": "running",
        "interrupted": not ending.elsewhere,
        "output": None,
        "checkpoints": len(ending.checkpoints),
        "elapsed_ms": round(ending.elapsed_s * 1000),
    }
    if ending.error is not None:
        line["error"] = {"kind": ending.error.kind, "message": str(ending.error)}
    return line


def _tell_end(
    ending: Drive, view: ExecutionView, place: Place, *, as_json: bool, quiet: bool
) -> int:
    error = _error_of(view)
    if not quiet and not as_json:
        _tell_summary(ending, view)
    if as_json:
        out_json(_result_json(view, ending.output, ending.elapsed_s))
    elif error is None:
        out_json(ending.output, pretty=True)
    if error is None:
        return 0
    tell_error(error, as_json=False)
    if view.status == "paused":
        say(how_to_decide(view.row.id, place, view.pause_reason))
    elif view.failure is not None:
        last = view.failure.checkpoint
        good = f"last good checkpoint: {last}; " if last else "no checkpoint yet; "
        say(f"{good}{_go_on(view.row.id, place)}")
    return exit_code_for(error)


def _error_of(view: ExecutionView) -> OmiumError | None:
    match view.status:
        case "failed" if view.failure is not None:
            return failed_error(view.row.id, view.failure)
        case "paused":
            return ExecutionPaused(view.row.id, f"paused: {view.row.detail}")
        case "cancelled":
            return ExecutionCancelled(view.row.id, "cancelled")
        case _:
            return None


def _result_json(view: ExecutionView, output: Json, elapsed_s: float) -> dict[str, Any]:
    row = view.row
    result: dict[str, Any] = {
        "type": "result",
        "execution": row.id,
        "status": view.status,
        "output": output,
        "checkpoints": row.checkpoints,
        "llm_calls": row.llm_calls,
        "tool_calls": row.tool_calls,
        "prompt_tokens": row.prompt_tokens,
        "completion_tokens": row.completion_tokens,
        "elapsed_ms": round(elapsed_s * 1000),
    }
    if view.failure is not None:
        result["failure"] = {
            "kind": view.failure.kind,
            "message": view.failure.message,
            "agent": view.failure.agent,
            "checkpoint": view.failure.checkpoint,
        }
    if view.pause_reason:
        result["pause"] = {
            "reason": view.pause_reason,
            "detail": row.detail,
            "call": view.pause_call,
        }
    return result


def _tell_summary(ending: Drive, view: ExecutionView) -> None:
    row = view.row
    made = [f"{index} {agent}" for index, agent in ending.checkpoints]
    if len(made) > CHECKPOINTS_SHOWN_MAX:
        made = [*made[:CHECKPOINTS_SHOWN_MAX], f"and {len(made) - CHECKPOINTS_SHOWN_MAX} more"]
    say(f"{view.status} in {duration_text(ending.elapsed_s)}: {row.id}")
    say(f"checkpoints: {', '.join(made) or 'none'}")
    say(
        f"calls: {row.llm_calls} LLM "
        f"({tokens_text(row.prompt_tokens, row.completion_tokens)}), {row.tool_calls} tool"
    )


def tell_completed(
    state: ExecutionState, output: Json, past: tuple[Entry, ...], *, as_json: bool, quiet: bool
) -> None:
    """Say that there is nothing to resume, and print the result."""
    from omium.actors.desk import view_of

    elapsed_s = (state.updated_ms - state.created_ms) / 1000
    if as_json:
        out_json(_result_json(view_of(state), output, elapsed_s))
        return
    if not quiet:
        made = sum(isinstance(entry.event, StepCompleted) for entry in past)
        say(f"{state.id} has completed already, with {counted(made, 'checkpoint')}")
    out_json(output, pretty=True)


def _left(ending: Drive, place: Place) -> str:
    """What becomes of an execution that is shown no longer."""
    if ending.execution_id is None:
        return ""
    if not ending.elsewhere:
        return _go_on(ending.execution_id, place)
    where = f" at {place.address}" if place.address is not None else ""
    return f"it goes on{where}; watch it with: omium watch {ending.execution_id}{place.options}"


def _go_on(execution_id: str, place: Place) -> str:
    return f"go on with: omium resume {execution_id}{place.options}"


def how_to_decide(execution_id: str, place: Place, reason: str = "outcome_unknown") -> str:
    """The command that lets a paused execution go on."""
    command = f"omium resume {execution_id}{place.options}"
    match reason:
        case "outcome_unknown":
            return f"decide with: {command} --decide retry | fail | answer --answer JSON"
        case "question":
            return f"answer with: {command} --answer JSON|@FILE|TEXT, or --deny"
        case "approval":
            return f"decide with: {command} --approve | --deny | --answer ARGUMENTS"
        case "handoff_rejected":
            return f"decide with: {command} --decide retry | approve | fail, or --answer JSON"
        case "signal":
            return f"signal with: omium signal {execution_id} NAME{place.options}"
        case _:
            return _go_on(execution_id, place)
