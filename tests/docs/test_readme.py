"""A newcomer types what the README says: real Ray, real CrewAI, the real model."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.pages import ROOT, blocks, omium_arguments, shell_lines

pytestmark = [
    pytest.mark.ray,
    pytest.mark.crewai,
    pytest.mark.model,
    pytest.mark.timeout(1500),
]
# What ends a command that hangs: a newcomer's machine may be far slower than ours.
COMMAND_TIMEOUT_S = 600


def typed() -> list[list[str]]:
    """The omium commands of the README's ``console`` blocks, in order."""
    return [
        arguments
        for block in blocks(ROOT / "README.md", "console")
        for line in shell_lines(block)
        for arguments in omium_arguments(line)
    ]


def test_the_commands_of_the_readme(tmp_path: Path) -> None:
    environment = {
        **{k: v for k, v in os.environ.items() if not k.startswith(("OMIUM_", "OPENAI_"))},
        "OMIUM_DATA_DIR": str(tmp_path / "data"),
        "OMIUM_MODELS_DIR": str(ROOT / ".models"),
    }

    def omium(*arguments: str) -> str:
        command = [sys.executable, "-m", "omium", *arguments]
        try:
            done = subprocess.run(
                command,
                cwd=ROOT,
                env=environment,
                capture_output=True,
                text=True,
                timeout=COMMAND_TIMEOUT_S,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            told = (error.stderr or b"").decode(errors="replace")
            pytest.fail(f"omium {' '.join(arguments)} took over {COMMAND_TIMEOUT_S} s\n{told}")
        assert done.returncode == 0, f"omium {' '.join(arguments)}\n{done.stdout}{done.stderr}"
        return done.stdout

    def analyst() -> dict[str, object]:
        return json.loads(omium("show", "last", "--json"))["outputs"]["analyst"]

    omium("models", "pull")
    commands = typed()
    assert [c[0] for c in commands] == [
        "run", "resume", "ps", "show", "checkpoints", "result", "fork",
    ]  # fmt: skip
    run, resume, ps, show, checkpoints, result, fork = commands

    answer = json.loads(omium(*run))
    assert set(answer) == {"finding", "advice"}
    assert analyst() == {"apr_percent": 5.5, "risk_class": "low"}
    # It has completed: the very same answer, from the journal.
    assert json.loads(omium(*resume)) == answer
    assert omium(*ps).splitlines()[1].split()[1:4] == ["loan-apr", "completed", "3/3"]
    assert "execution.completed" in omium(*show)
    assert [line.split()[1] for line in omium(*checkpoints).splitlines()[1:]] == [
        "intake", "analyst", "writer",
    ]  # fmt: skip
    assert json.loads(omium(*result)) == answer

    forked = json.loads(omium(*fork))
    assert "high" in forked["finding"]
    assert analyst() == {"apr_percent": 25.0, "risk_class": "high"}
