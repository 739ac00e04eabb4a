"""Writing for people and for machines: results on stdout, everything else on stderr."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Sequence
from typing import Any, TextIO

import typer

from omium.cli.wording import one_line
from omium.errors import (
    DefinitionError,
    ExecutionFailed,
    InputError,
    OmiumError,
    exit_code_of,
)
from omium.execution.records import Failure

_STATUS_COLOURS = {
    "completed": "green",
    "running": "cyan",
    "queued": "cyan",
    "paused": "yellow",
    "interrupted": "yellow",
    "failed": "red",
    "cancelled": "magenta",
}


def out(text: str = "", stream: TextIO | None = None) -> None:
    """A line of what was asked for."""
    typer.echo(text, file=stream or sys.stdout)


def say(text: str = "", stream: TextIO | None = None) -> None:
    """A line about what goes on."""
    typer.echo(text, file=stream or sys.stderr)


def out_json(value: Any, *, pretty: bool = False, stream: TextIO | None = None) -> None:
    """A JSON document: on one line, or indented for people."""
    out(json.dumps(value, ensure_ascii=False, indent=2 if pretty else None), stream)


def coloured(status: str, width: int = 0) -> str:
    """A status in its colour, padded to ``width``. Colours vanish where there is no terminal."""
    return typer.style(status.ljust(width), fg=_STATUS_COLOURS.get(status))


def table(headers: Sequence[str], rows: Sequence[Sequence[str]], *, status: int = -1) -> None:
    """Rows in aligned columns, the last one cut to the terminal's width where there is one.

    ``status`` is the number of the column that holds a status, to be coloured.
    """
    widths = [max(len(row[i]) for row in (headers, *rows)) for i in range(len(headers))]
    room = None
    if sys.stdout.isatty():
        columns = shutil.get_terminal_size().columns
        room = max(20, columns - sum(widths[:-1]) - 2 * (len(widths) - 1))
    for number, row in enumerate((headers, *rows)):
        cells: list[str] = []
        for column, cell in enumerate(row):
            last = column == len(row) - 1
            text = one_line(cell, room) if last and room is not None else cell
            padded = text if last else text.ljust(widths[column])
            is_status = column == status and number > 0
            cells.append(coloured(text, 0 if last else widths[column]) if is_status else padded)
        out("  ".join(cells).rstrip())


def exit_code_for(error: OmiumError) -> int:
    """What the program exits with after ``error``: a failed execution with the code of what
    failed it."""
    if isinstance(error, ExecutionFailed):
        return exit_code_of(error.failure_kind)
    return error.exit_code


def failed_error(execution_id: str, failure: Failure) -> ExecutionFailed:
    """The error that says how an execution failed."""
    return ExecutionFailed(execution_id, f"{failure.kind}: {failure.message}", failure.kind)


def tell_error(error: OmiumError, *, as_json: bool) -> None:
    """Say what went wrong: one line on stderr, one more for each mistake in the user's input;
    with ``as_json``, the same as a JSON line on stdout."""
    text = str(error)
    if isinstance(error, DefinitionError | InputError):
        say(f"error: {text}")
    else:
        say(f"error: {one_line(text, 2_000)}")
    if as_json:
        record: dict[str, Any] = {
            "type": "error",
            "kind": error.kind,
            "message": text,
            "exit_code": exit_code_for(error),
        }
        if isinstance(error, DefinitionError):
            record["problems"] = list(error.problems)
        out_json(record)
