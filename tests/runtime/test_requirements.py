"""Requirements of a workflow, end to end: workers of a real Ray install them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import omium
from omium.config import Settings, load_settings
from omium.errors import ExecutionFailed
from tests.actors.wheels import wheel

pytestmark = [pytest.mark.ray, pytest.mark.timeout(560)]

CODE = "def act(context):\n    import omium_required\n\n    return omium_required.VALUE\n"
WAIT_S = 240


@pytest.fixture
def settings(tmp_path: Path) -> Iterator[Settings]:
    yield load_settings({"data_dir": tmp_path / "data"})
    omium.shutdown()


def test_a_worker_installs_what_the_code_requires(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = tmp_path / "project"
    project.mkdir()
    (project / "needing.py").write_text(CODE)
    monkeypatch.chdir(project)

    def run(*requirements: str) -> omium.Execution:
        definition: dict[str, Any] = {
            "name": "needing",
            "version": "1",
            "requirements": requirements,
            "agents": [{"name": "a", "framework": "python", "entrypoint": "needing:act"}],
        }
        return omium.run(definition, settings=settings)

    wheels = {number: tmp_path / f"wheels-{number}" for number in ("one", "two")}
    made: dict[str, str] = {}
    for number, folder in wheels.items():
        folder.mkdir()
        path = wheel(folder, "omium_required", f"VALUE = {number!r}")
        made[number] = f"omium_required @ {path.as_uri()}"
    # The same module in two versions: a process that served both would have one of them.
    started = {number: run(one) for number, one in made.items()}
    missing = run(f"omium_required @ {(tmp_path / 'omium_required-1.0-py3-none-any.whl').as_uri()}")
    assert {number: one.result(WAIT_S) for number, one in started.items()} == {
        "one": "one",
        "two": "two",
    }
    with pytest.raises(
        ExecutionFailed, match="requirements: error: Distribution not found"
    ) as told:
        missing.result(WAIT_S)
    assert told.value.failure_kind == "requirements"
    failures = [e for e in missing.events() if e["type"] == "failure.recorded"]
    assert len(failures) == 1
