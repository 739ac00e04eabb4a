"""What a crew does beside answering: nothing that anybody outside could notice."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.crewai, pytest.mark.xdist_group("crewai")]


def test_a_crew_keeps_to_itself(tmp_path: Path) -> None:
    # A home that cannot be written, as in many containers: CrewAI would not even import.
    blocked = tmp_path / "file"
    blocked.touch()
    (tmp_path / "tmp").mkdir()
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("CREWAI_", "OTEL_", "OPENAI_", "PYTEST_"))
    } | {
        "HOME": str(blocked / "home"),
        "TMPDIR": str(tmp_path / "tmp"),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    done = subprocess.run(
        [sys.executable, "-m", "tests.frameworks.crewai_watched", str(tmp_path)],
        cwd=Path(__file__).parents[2],
        env=environment,
        capture_output=True,
        text=True,
        timeout=55,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    # One line, its own: CrewAI said nothing on standard output, not even of the failure.
    assert json.loads(done.stdout) == {
        "result": "dos",
        "received": 4,
        "outside": [],
        "connected": ["127.0.0.1"],
        "handlers": [],
        "threads": [],
    }
    assert "approximate input token" not in done.stderr
    # Nothing of a conversation is left in files that nobody reads.
    left = b"".join(p.read_bytes() for p in (tmp_path / "crewai").rglob("*") if p.is_file())
    assert b"uno" not in left
    assert not list((tmp_path / "tmp").iterdir())
