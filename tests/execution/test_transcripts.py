"""Decisions of the execution room, command by command. ``--rewrite`` writes the files anew."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.execution.diagram import transitions_drawn
from tests.execution.session import Session
from tests.execution.sessions import check_sessions

TESTDATA = Path(__file__).parent / "testdata"
SESSIONS = (
    "life",
    "fences",
    "appends",
    "unknown",
    "people",
    "resume",
    "calls",
    "keys",
    "forks",
    "changed",
    "routes",
    "handoffs",
    "judges",
    "stand_ins",
)


@pytest.mark.parametrize("name", SESSIONS)
def test_sessions(name: str, rewrite: bool) -> None:
    check_sessions(TESTDATA / f"{name}.txt", Session, rewrite=rewrite)


def test_every_session_is_run() -> None:
    assert {path.stem for path in TESTDATA.glob("*.txt")} == {*SESSIONS, "transitions"}


def test_the_transitions_are_those_drawn(rewrite: bool) -> None:
    path = TESTDATA / "transitions.txt"
    if rewrite:
        path.write_text(transitions_drawn(), encoding="utf-8")
    assert path.read_text(encoding="utf-8") == transitions_drawn()
