"""``omium dev``: one process and one Ray through edits, mistakes and exceptions."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cli.programs import Program, Start, json_lines, listens, programs, wait_for

pytestmark = [pytest.mark.ray, pytest.mark.timeout(560)]

CODE = """
import asyncio
from pathlib import Path


async def act(context):
    while not Path(context.inputs["gate"]).exists():
        await asyncio.sleep(0.05)
    return "VERSION"
"""


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    with programs(tmp_path) as starter:
        yield starter


def save(path: Path, text: str) -> None:
    """Write a file whole, as editors do: half of it would be an edit of its own."""
    beside = path.parent.parent / f"{path.name}.saved"
    beside.write_text(text)
    beside.replace(path)


def told(program: Program, kind: str, count: int) -> dict[str, Any]:
    """The line number ``count`` of a type, once it is there."""

    def lines() -> list[dict[str, Any]]:
        # The last line may be half written.
        whole = program.stdout.rpartition("\n")[0]
        return [one for one in json_lines(whole) if one["type"] == kind]

    wait_for(lambda: len(lines()) >= count, f"{kind} {count}: {program.stdout}{program.stderr}")
    return lines()[count - 1]


def test_it_runs_again_after_edits_mistakes_and_exceptions(start: Start, tmp_path: Path) -> None:
    project, gate = tmp_path / "project", tmp_path / "gate"
    project.mkdir()
    data = project / "state"
    definition: dict[str, Any] = {
        "name": "edited",
        "version": "1",
        "agents": [{"name": "a", "framework": "python", "entrypoint": "edited:act"}],
    }
    inputs = tmp_path / "given" / "inputs.json"
    inputs.parent.mkdir()
    inputs.write_text(json.dumps({"gate": str(gate)}))

    def write(version: str) -> None:
        save(project / "edited.py", CODE.replace("VERSION", version))

    def define() -> None:
        save(project / "workflow.json", json.dumps(definition))

    gate.touch()
    write("one")
    define()
    dev = start(
        "dev", project / "workflow.json", "--inputs-file", inputs, "--json", "--data-dir", data
    )
    first = told(dev, "result", 1)
    assert (first["status"], first["output"]) == ("completed", "one")
    endpoint = json.loads((data / "endpoint.json").read_text())
    (raylet,) = [one for one in dev.descendants() if one.name() == "raylet"]

    # What is the same to run is no edit: the next result is of the next one.
    write("one")
    (project / "edited.py").touch()
    write("two")
    second = told(dev, "result", 2)
    assert (second["status"], second["output"]) == ("completed", "two")
    assert second["execution"] != first["execution"]
    assert told(dev, "changed", 1)["changed"] == ["the code (changed edited.py)"]

    save(project / "workflow.json", "{")
    error = told(dev, "error", 1)
    assert error["kind"] == "definition"
    define()
    assert told(dev, "result", 3)["output"] == "two"

    save(project / "edited.py", "def act(context):\n    raise ValueError('it does not')\n")
    failed = told(dev, "result", 4)
    assert failed["status"] == "failed"
    assert "it does not" in failed["failure"]["message"]

    # An edit ends the run that is under way.
    gate.unlink()
    write("three")
    told(dev, "attempt.started", 5)
    other = tmp_path / "other"
    other.touch()
    save(inputs, json.dumps({"gate": str(other)}))
    last = told(dev, "result", 5)
    assert (last["status"], last["output"]) == ("completed", "three")
    assert told(dev, "changed", 6)["changed"] == ["the inputs"]
    assert raylet.is_running()

    # Ctrl-C in the midst of a run, with workers of several versions there.
    save(inputs, json.dumps({"gate": str(gate)}))
    told(dev, "attempt.started", 7)
    dev.descendants()
    dev.signal(signal.SIGINT)
    assert dev.wait() == 130
    *_, end = json_lines(dev.stdout)
    assert (end["type"], end["interrupted"]) == ("result", True)
    assert f"interrupted; go on with: omium resume {end['execution']} " in dev.stderr
    assert dev.left() == []
    assert not listens(endpoint["host"], endpoint["port"])
    assert not (data / "endpoint.json").exists()

    listed = start("ps", "--json", "--data-dir", data)
    assert listed.wait() == 0
    statuses = [row["status"] for row in reversed(json.loads(listed.stdout))]
    assert statuses == [
        "completed",
        "completed",
        "completed",
        "failed",
        "cancelled",
        "completed",
        "running",
    ]


def test_what_cannot_run_at_first_is_waited_for(start: Start, tmp_path: Path) -> None:
    """Nothing is started for it, and a signal ends it all the same."""
    workflow = tmp_path / "project" / "workflow.yaml"
    workflow.parent.mkdir()
    workflow.write_text("name: edited\nagents: []\n")
    dev = start("dev", workflow, "--data-dir", tmp_path / "data")
    dev.until("stderr", "waiting for an edit")
    assert "agents" in dev.stderr
    save(workflow, "name: [")
    dev.until("stderr", "changed: the definition")
    assert dev.descendants() == []
    dev.signal(signal.SIGINT)
    assert dev.wait() == 130
    assert dev.stderr.endswith("stopping\ninterrupted\n")
    assert dev.stdout == ""
