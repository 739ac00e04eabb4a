"""The user's own code, end to end: an execution goes on with the code that it began with."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cli.programs import Start, programs

pytestmark = [pytest.mark.ray, pytest.mark.timeout(560)]

CODE = """
import asyncio
from pathlib import Path


async def act(context):
    if context.state is None:
        await context.checkpoint("begun")
    while not Path(context.inputs["gate"]).exists():
        await asyncio.sleep(0.05)
    return "VERSION"
"""


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    with programs(tmp_path) as starter:
        yield starter


def test_an_execution_resumes_on_the_code_that_started_it(start: Start, tmp_path: Path) -> None:
    project, gate = tmp_path / "project", tmp_path / "gate"
    project.mkdir()
    where = ("--data-dir", project / "state")
    definition: dict[str, Any] = {
        "name": "versions",
        "version": "1",
        "agents": [{"name": "a", "framework": "python", "entrypoint": "versioned:act"}],
    }
    (project / "workflow.json").write_text(json.dumps(definition))

    def write(version: str) -> None:
        (project / "versioned.py").write_text(CODE.replace("VERSION", version))

    write("one")
    arguments = ("run", project / "workflow.json", "--input", f"gate={gate}", "--json", *where)
    first = start(*arguments)
    first.until("stdout", '"step.completed"')
    first.signal(signal.SIGINT)
    assert first.wait(150) == 130

    write("two")
    gate.touch()
    resumed = start("resume", "last", "--quiet", *where)
    assert resumed.wait(150) == 0, resumed.stderr
    assert json.loads(resumed.stdout) == "one"

    forked = start("fork", "last", "--at", "3", "--code", project, "--quiet", *where)
    assert forked.wait(150) == 0, forked.stderr
    assert json.loads(forked.stdout) == "two"
    assert "code: changed versioned.py\n" in forked.stderr

    # What was forked is pinned to what it was forked on.
    (project / "versioned.py").write_text("def other(): ...\n")
    refused = start("fork", "last", "--at", "2", "--code", project, *where)
    assert refused.wait() == 2
    assert "'versioned' defines no 'act' (changed versioned.py)" in refused.stderr
    shown = start("show", "last", *where)
    assert shown.wait() == 0
    assert "2 files, sha256:" in shown.stdout
