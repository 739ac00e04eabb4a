"""Executions that wait for people, over the death of every process, on a real Ray."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.paused import run

pytestmark = [
    pytest.mark.ray,
    pytest.mark.langgraph,
    pytest.mark.slow,
    pytest.mark.timeout(600),
]

# The suites of all frameworks have their questions over the end of a runtime in order; the
# benchmark kills everything under each of them.
FRAMEWORKS = ["python", "langgraph"]


def test_questions_outlive_all_processes(tmp_path: Path) -> None:
    outcome = run(tmp_path, FRAMEWORKS)
    assert outcome.status == dict.fromkeys(FRAMEWORKS, "completed")
    assert outcome.repeated == 0
    # One before the question and one after it.
    assert outcome.calls == 2 * len(FRAMEWORKS)
