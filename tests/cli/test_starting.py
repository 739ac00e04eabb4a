"""Starter projects: written whole or not at all, and everything in them works at once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from omium.cli.app import app
from omium.cli.starting import STARTERS, write_starter
from omium.definitions import load_workflow
from omium.errors import Conflict, StorageUnwritable
from tests.docs.pages import ROOT

PROJECT_TIMEOUT_S = 200
_MARKS = {
    "python": [],
    "crewai": [pytest.mark.crewai],
    "langgraph": [pytest.mark.langgraph],
    "autogen": [pytest.mark.autogen],
    "mixed": [pytest.mark.crewai, pytest.mark.langgraph, pytest.mark.autogen],
}
EACH = [pytest.param(name, marks=_MARKS[name]) for name in STARTERS]


def in_project(directory: Path, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run a module of Python's in a project, with no settings but the project's own."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("OMIUM_", "OPENAI_"))}
    return subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=directory,
        env={**kept, **env},
        capture_output=True,
        text=True,
        timeout=PROJECT_TIMEOUT_S,
        check=False,
    )


@pytest.mark.parametrize("framework", STARTERS)
def test_a_starter_is_written_whole(framework: str, tmp_path: Path) -> None:
    project = tmp_path / "new" / "project"
    arguments = ["init", str(project), "--framework", framework, "--json"]
    told = CliRunner().invoke(app, arguments)
    assert told.exit_code == 0, told.output
    names = json.loads(told.stdout)["files"]
    assert names == sorted(path.name for path in project.iterdir())
    expected = {".gitignore", "README.md", "omium.toml", "test_workflow.py", "workflow.yaml"}
    assert expected <= set(names)
    workflow = load_workflow(project / "workflow.yaml")
    frameworks = {agent.framework for agent in workflow.agents}
    assert frameworks == (
        {"crewai", "langgraph", "autogen"} if framework == "mixed" else {framework}
    )
    readme = (project / "README.md").read_text()
    assert all(f"`{name}`" in readme for name in names if name.endswith(".py"))


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "workflow.yaml").write_text("mine")
    with pytest.raises(Conflict, match=r"has workflow\.yaml already; nothing was written"):
        write_starter("python", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["workflow.yaml"]
    assert (tmp_path / "workflow.yaml").read_text() == "mine"


def test_what_was_begun_is_taken_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = Path.open

    def fails(path: Path, mode: str = "r", *arguments: Any, **options: Any) -> Any:
        if path.name == "workflow.yaml" and mode == "xb":
            raise OSError(28, "No space left on device")
        return opened(path, mode, *arguments, **options)

    monkeypatch.setattr(Path, "open", fails)
    with pytest.raises(StorageUnwritable, match="No space left"):
        write_starter("python", tmp_path / "project")
    assert list((tmp_path / "project").iterdir()) == []


def test_a_framework_that_there_is_not(tmp_path: Path) -> None:
    told = CliRunner().invoke(app, ["init", str(tmp_path), "--framework", "swarm"])
    assert told.exit_code == 2
    assert "--framework 'swarm': expected python, crewai" in told.stderr


@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.parametrize("framework", EACH)
def test_the_tests_of_a_starter_pass(framework: str, tmp_path: Path) -> None:
    write_starter(framework, tmp_path)
    done = in_project(tmp_path, "pytest", "-q", "-p", "no:cacheprovider")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "passed" in done.stdout


WITH_MODEL = ("python", "mixed")
"""Ray takes its time to start, and the mixed one has an agent of each framework. The tests of every
starter are run above."""


@pytest.mark.ray
@pytest.mark.model
@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("framework", WITH_MODEL)
def test_a_starter_runs_with_the_real_model(framework: str, tmp_path: Path) -> None:
    write_starter(framework, tmp_path)
    models = os.environ.get("OMIUM_MODELS_DIR", str(ROOT / ".models"))
    done = in_project(
        tmp_path, "omium", "run", "workflow.yaml", "--input", "topic=tea", OMIUM_MODELS_DIR=models
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout)
    assert (tmp_path / ".omium" / "replica.sqlite").exists()
