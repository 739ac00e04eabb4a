"""``ps``, ``show``, ``checkpoints`` and ``result``: what the journal says, of a data directory
or at a service."""

from __future__ import annotations

from itertools import islice
from typing import Annotated, Any

import msgspec
import typer

from omium.actors.answers import handoff_view, question_view
from omium.cli.options import (
    STATUSES,
    Address,
    AsJson,
    DataDir,
    ExecutionName,
    complete_status,
)
from omium.cli.places import place_of
from omium.cli.records import AT_WORK, REPLICA_NAME, Records, opened_at
from omium.cli.terminal import coloured, failed_error, out, out_json, table
from omium.cli.wording import (
    agent_of,
    clipped,
    counted,
    detail_of,
    duration_text,
    failure_text,
    json_text,
    one_line,
    payload_bytes,
    size_text,
    time_text,
    tokens_text,
)
from omium.errors import (
    Conflict,
    ExecutionCancelled,
    ExecutionPaused,
    InputError,
    NotFound,
    OmiumError,
)
from omium.execution.events import Entry, StepCompleted, to_json, type_of
from omium.execution.handoffs import told
from omium.execution.records import Payload
from omium.execution.state import CallState, ExecutionState, HandoffState
from omium.storage.journal import ExecutionRow
from omium.types import Json, Status

LIMIT = 20
COLUMNS = (
    "EXECUTION",
    "WORKFLOW",
    "STATUS",
    "AGENTS",
    "CHECKPOINTS",
    "LLM",
    "TOOLS",
    "TOKENS",
    "CREATED",
    "DETAIL",
)


def ps(
    status: Annotated[
        list[str] | None,
        typer.Option(
            "--status",
            metavar="STATUS",
            help=f"Only these: {', '.join(STATUSES)}, interrupted. May be repeated.",
            autocompletion=complete_status,
            show_default=False,
        ),
    ] = None,
    workflow: Annotated[
        str | None,
        typer.Option("--workflow", "-w", help="Only of this workflow.", show_default=False),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = LIMIT,
    everything: Annotated[bool, typer.Option("--all", "-a", help="All there are.")] = False,
    address: Address = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """List executions, the newest first.

    An execution that is shown as [bold]interrupted[/] is not finished and nobody works on it:
    [bold]omium resume[/] goes on with it. With [bold]--json[/] one array is written.

    Examples:

      omium ps
      omium ps --status failed --status paused --workflow loan-apr
      omium ps --all --json | jq '.[].id'
      omium ps --address http://127.0.0.1:8700
    """
    wanted = _statuses(status or [])
    place = place_of(data_dir, address)
    if place.address is None and not (place.settings.data_dir / REPLICA_NAME).exists():
        _list(None, [], as_json=as_json)
        return
    with opened_at(place) as records:
        rows = _rows(records, wanted, workflow, None if everything else limit)
        _list(records, rows, as_json=as_json)


def _list(records: Records | None, rows: list[ExecutionRow], *, as_json: bool) -> None:
    if as_json:
        out_json([records.row_json(row) for row in rows] if records is not None else [])
    elif records is None or not rows:
        out("no executions")
    else:
        table(COLUMNS, [_cells(records, row) for row in rows], status=2)


def _statuses(names: list[str]) -> list[str]:
    for name in names:
        if name not in (*STATUSES, "interrupted"):
            raise InputError(
                f"--status {name!r}: expected one of {', '.join(STATUSES)}, interrupted"
            )
    return names


def _rows(
    records: Records, wanted: list[str], workflow: str | None, limit: int | None
) -> list[ExecutionRow]:
    statuses: list[Status] = [s for s in STATUSES if s in wanted]
    if "interrupted" in wanted:
        statuses += AT_WORK
    rows = (
        row
        for row in records.rows(statuses=statuses, workflow=workflow)
        if not wanted
        or row.status in wanted
        or ("interrupted" in wanted and records.interrupted(row.status))
    )
    return list(islice(rows, limit))


def _cells(records: Records, row: ExecutionRow) -> tuple[str, ...]:
    return (
        row.id,
        row.workflow,
        records.shown_status(row.status),
        f"{row.agents_done}/{row.agents_total}",
        str(row.checkpoints),
        str(row.llm_calls),
        str(row.tool_calls),
        f"{row.prompt_tokens:,}+{row.completion_tokens:,}",
        time_text(row.created_ms),
        one_line(row.detail) or (f"forked from {row.origin}" if row.origin else ""),
    )


def show(
    execution: ExecutionName,
    full: Annotated[
        bool, typer.Option("--full", help="Whole payloads, those in the blob store included.")
    ] = False,
    address: Address = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Show an execution and its timeline: every event of its journal.

    Examples:

      omium show last
      omium show ex_0kq3 --full
      omium show last --json | jq '.events[] | select(.type == "call.completed")'
    """
    with opened_at(place_of(data_dir, address)) as records:
        state = records.state(records.resolve(execution))
        entries = records.entries(state.id)
        if as_json:
            out_json(_shown_json(records, state, entries))
            return
        _head(records, state)
        out()
        if full:
            _full(records, state, entries)
            return
        table(
            ("INDEX", "TIME", "AGENT", "EVENT", "DETAIL"),
            [
                (
                    str(entry.index),
                    _offset(entry, state),
                    agent_of(entry.event),
                    type_of(entry.event),
                    detail_of(entry.event),
                )
                for entry in entries
            ],
        )


def _offset(entry: Entry, state: ExecutionState) -> str:
    return f"+{max(0, entry.at_ms - state.created_ms) / 1000:.3f} s"


def _head(records: Records, state: ExecutionState) -> None:
    totals = state.totals
    elapsed_s = (state.updated_ms - state.created_ms) / 1000
    lines = [
        ("execution", state.id),
        ("workflow", f"{state.workflow} {state.version}"),
        ("status", coloured(records.shown_status(state.status))),
        ("created", f"{time_text(state.created_ms)}, last event {duration_text(elapsed_s)} later"),
    ]
    if state.origin is not None:
        lines.append(("forked from", f"{state.origin.execution_id}@{state.origin.index}"))
    if state.model:
        lines.append(("model", state.model))
    if state.code is not None:
        digest = state.code.blob.digest
        lines.append(("code", f"{counted(state.code.files, 'file')}, {digest[:19]}…"))
    lines.append(("inputs", clipped(state.inputs, 500)))
    lines += [
        (f"output of {agent.name}", clipped(agent.output, 500))
        for agent in state.agents.values()
        if agent.output is not None
    ]
    lines.append(
        (
            "used",
            f"{counted(totals.llm_calls, 'LLM call')} "
            f"({tokens_text(totals.prompt_tokens, totals.completion_tokens)}), "
            f"{counted(totals.tool_calls, 'tool call')}, "
            f"{counted(totals.attempts, 'attempt')}, "
            f"{counted(totals.checkpoints, 'checkpoint')}",
        )
    )
    if state.failure is not None:
        lines.append(("failure", failure_text(state.failure)))
        lines.append(("checkpoint", str(state.failure.checkpoint or "none")))
    lines += [("handoff", _handed(one)) for one in state.handoffs.values()]
    lines += [("asks", _asked(agent.name, call)) for agent, call in state.questions]
    if state.pause is not None:
        lines.append(("paused", f"{state.pause.reason}: {one_line(state.pause.detail)}"))
    width = max(len(name) for name, _ in lines)
    for name, text in lines:
        out(f"{name.ljust(width)}  {text}")


def _handed(handoff: HandoffState) -> str:
    """How far a handoff is that its receiver checks, who voted how, and why it was not taken."""
    votes = ", ".join(f"{vote.validator} {vote.ballot}" for vote in handoff.votes)
    reasons = told(handoff) if handoff.status in ("rejected", "failed") else ""
    return (
        f"{handoff.name}: {handoff.status}{f' ({votes})' if votes else ''}"
        f"{f': {one_line(reasons)}' if reasons else ''}"
    )


def _asked(agent: str, call: CallState) -> str:
    """What an agent asks, and under which index it is answered."""
    question = call.question
    if question is None:
        return ""
    schema = "" if question.schema is None else f" as {one_line(json_text(question.schema))}"
    return f"{question.kind} {call.index} of {agent}: {one_line(question.text)}{schema}"


def _full(records: Records, state: ExecutionState, entries: list[Entry]) -> None:
    for entry in entries:
        event = entry.event
        who = agent_of(event)
        out(f"{entry.index}  {_offset(entry, state)}  {who + '  ' if who else ''}{type_of(event)}")
        for name in event.__struct_fields__:
            value = getattr(event, name)
            if isinstance(value, Payload):
                value = records.value(value, state)
            if name not in ("agent", "tenant") and value not in ("", None, ()):
                lines = value.splitlines() if isinstance(value, str) else [json_text(value)]
                out(f"    {name}: {lines[0]}")
                for line in lines[1:]:
                    out(f"        {line}")


def _shown_json(records: Records, state: ExecutionState, entries: list[Entry]) -> dict[str, Any]:
    return {
        **records.row_json(records.row(state.id)),
        "inputs": records.value(state.inputs, state),
        "outputs": {
            agent.name: records.value(agent.output, state)
            for agent in state.agents.values()
            if agent.output is not None
        },
        "failure": msgspec.to_builtins(state.failure) if state.failure is not None else None,
        "questions": [
            msgspec.to_builtins(question_view(agent.name, call)) for agent, call in state.questions
        ],
        "handoffs": [msgspec.to_builtins(handoff_view(one)) for one in state.handoffs.values()],
        "events": [to_json(entry) for entry in entries],
    }


def checkpoints(
    execution: ExecutionName,
    at: Annotated[
        int | None,
        typer.Option(
            "--at",
            metavar="INDEX",
            min=1,
            help="Print the state that the checkpoint of this index holds, as JSON.",
            show_default=False,
        ),
    ] = None,
    address: Address = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """List the checkpoints of an execution, or print the state that one of them holds.

    Examples:

      omium checkpoints last
      omium checkpoints last --at 9
    """
    with opened_at(place_of(data_dir, address)) as records:
        state = records.state(records.resolve(execution))
        found = [
            (entry, entry.event)
            for entry in records.entries(state.id)
            if isinstance(entry.event, StepCompleted)
        ]
        if at is not None:
            held = next((event for entry, event in found if entry.index == at), None)
            if held is None:
                there = ", ".join(str(entry.index) for entry, _ in found) or "no checkpoint"
                raise NotFound("checkpoint", str(at), f"{state.id} has {there}")
            out_json(records.value(held.state, state), pretty=not as_json)
        elif as_json:
            out_json(
                [
                    {
                        "index": entry.index,
                        "agent": event.agent,
                        "step": event.step,
                        "name": event.name,
                        "bytes": payload_bytes(event.state),
                        "at_ms": entry.at_ms,
                    }
                    for entry, event in found
                ]
            )
        elif not found:
            out("no checkpoints")
        else:
            table(
                ("INDEX", "AGENT", "STEP", "NAME", "SIZE", "TIME"),
                [
                    (
                        str(entry.index),
                        event.agent,
                        event.step,
                        event.name,
                        size_text(payload_bytes(event.state)),
                        _offset(entry, state),
                    )
                    for entry, event in found
                ],
            )


def result(
    execution: ExecutionName,
    address: Address = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Print the result of a completed execution, as JSON.

    The exit code of one that did not complete says why: that of its failure, 4 for paused, 5
    for cancelled. With [bold]--json[/] it is on one line.

    Examples:

      omium result last
      omium result last | jq .apr
    """
    with opened_at(place_of(data_dir, address)) as records:
        state = records.state(records.resolve(execution))
        out_json(output_of(records, state), pretty=not as_json)


def output_of(records: Records, state: ExecutionState) -> Json:
    """The result of an execution, or an error that says why there is none."""
    if state.status == "completed":
        return records.output(state)
    raise ending_error(records, state)


def ending_error(records: Records, state: ExecutionState) -> OmiumError:
    """Why an execution has no result."""
    match state.status:
        case "failed" if state.failure is not None:
            return failed_error(state.id, state.failure)
        case "paused":
            return ExecutionPaused(state.id, state.pause.detail if state.pause else "paused")
        case "cancelled":
            return ExecutionCancelled(state.id, "cancelled")
        case _:
            done = sum(agent.is_done for agent in state.agents.values())
            shown = records.shown_status(state.status)
            hint = f"; go on with: omium resume {state.id}" if shown == "interrupted" else ""
            return Conflict(
                f"{state.id} is {shown}: {done} of {len(state.agents)} agents are done{hint}"
            )
