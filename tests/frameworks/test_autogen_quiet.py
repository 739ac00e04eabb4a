"""What a team does beside answering: nothing that anybody outside could notice."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.frameworks.autogen_stage import AUTOGEN

pytestmark = AUTOGEN


def test_a_team_keeps_to_itself(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.touch()
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("AUTOGEN_", "OTEL_", "OPENAI_", "PYTEST_"))
    } | {"HOME": str(blocked / "home"), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "tests.frameworks.autogen_watched", str(tmp_path)],
        cwd=Path(__file__).parents[2],
        env=environment,
        capture_output=True,
        text=True,
        timeout=55,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    # One line, its own: AutoGen said nothing on standard output.
    assert json.loads(done.stdout) == {
        "result": "dos",
        "received": 3,
        "outside": [],
        "connected": ["127.0.0.1"],
        "handlers": [],
        "threads": [],
    }
    assert "unclosed" not in done.stderr and "never retrieved" not in done.stderr
