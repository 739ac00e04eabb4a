"""What is shown of an execution while it runs, told the events of a real one."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from omium.cli.displays import JsonDisplay, LiveDisplay, PlainDisplay
from omium.cli.progress import Progress
from omium.cli.wording import counted, duration_text, one_line, size_text, tokens_text
from omium.execution.events import Entry
from omium.storage.journal import Journal
from omium.types import ExecutionId


def entries_of(history: Path, execution: str) -> list[Entry]:
    journal = Journal.open(history / "replica.sqlite")
    try:
        return journal.entries(execution)
    finally:
        journal.close()


def test_plain_lines(history: Path) -> None:
    stream = io.StringIO()
    entries = entries_of(history, "ex_0003")
    display = PlainDisplay(stream)
    display.stage("starting Ray")
    display.opened(ExecutionId("ex_0003"), entries[:1])
    for entry in entries[1:]:
        display.entry(entry)
    display.close()
    assert stream.getvalue() == (
        "starting Ray\n"
        "execution ex_0003\n"
        "it goes on after index 1\n"
        "    1.500 s  a: attempt started  attempt 1 on w_001 (first)\n"
        '    3.000 s  a: call intended  tool send {"to":"you"}\n'
        "    4.500 s  a: attempt ended  attempt 1 paused\n"
        "    6.000 s  execution paused  outcome_unknown: nobody knows how call 3 ended\n"
    )


def test_json_lines_hold_events_alone(history: Path) -> None:
    events, stages = io.StringIO(), io.StringIO()
    display = JsonDisplay(events, stages)
    display.stage("starting Ray")
    for entry in entries_of(history, "ex_0004"):
        display.entry(entry)
    assert stages.getvalue() == "starting Ray\n"
    assert events.getvalue().splitlines()[-1] == (
        '{"execution": "ex_0004", "index": 3, "at_ms": 1700000063000, "epoch": 0, '
        '"type": "step.completed", "agent": "a", "step": "0", "state": {"inline": {"n": 1}}, '
        '"name": "one"}'
    )


@pytest.mark.parametrize(
    ("execution", "seen", "lines"),
    [
        ("ex_0001", 0, []),
        ("ex_0001", 3, ["  ▸ a  running  step number 1", "  · b  waiting"]),
        ("ex_0001", 8, ["  ✓ a  done  1 step", "  ✓ b  done  1 step"]),
        ("ex_0002", 8, ["  ✓ a  done    1 step", "  ✗ b  failed"]),
        ("ex_0003", 5, ["  · a  waiting    1 tool call"]),
    ],
)
def test_the_picture(history: Path, execution: str, seen: int, lines: list[str]) -> None:
    console = Console(file=io.StringIO(), width=100, force_terminal=True)
    display = LiveDisplay(console)
    display.opened(ExecutionId(execution), entries_of(history, execution)[:seen])
    picture = Console(file=io.StringIO(), width=100)
    picture.print(display.picture())
    display.close()
    assert isinstance(picture.file, io.StringIO)
    head, *shown = picture.file.getvalue().splitlines()
    assert execution in head
    assert [line.rstrip() for line in shown if line.strip()] == lines


def test_progress_follows_every_kind_of_end(history: Path) -> None:
    for execution, status, checkpoints in (
        ("ex_0001", "completed", [(3, "a"), (6, "b")]),
        ("ex_0002", "failed", [(3, "a")]),
        ("ex_0003", "paused", []),
        ("ex_0004", "running", [(3, "a")]),
    ):
        progress = Progress()
        for entry in entries_of(history, execution):
            progress.note(entry)
        assert (progress.status, progress.checkpoints) == (status, checkpoints)


def test_words() -> None:
    assert [duration_text(s) for s in (0.412, 12.34, 245, 7_800)] == [
        "0.41 s",
        "12.3 s",
        "4 m 05 s",
        "2 h 10 m",
    ]
    assert [size_text(n) for n in (812, 31_200, 98_362_432)] == ["812 B", "31.2 KB", "98.4 MB"]
    assert (counted(1, "call"), counted(1_200, "call")) == ("1 call", "1,200 calls")
    assert tokens_text(1_204, None) == "1,204+? tokens"
    assert one_line("a\n b" + "c" * 10, 6) == "a bcc…"
