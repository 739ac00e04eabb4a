"""``omium fork --code`` with changes, on a data directory where nobody works."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import pytest

from omium.cli import driving
from omium.testing.runtime import InProcessRuntime
from tests.cli.conftest import Omium, workflow_of
from tests.cli.in_process import DrivenInProcess


@pytest.fixture
def counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, str]:
    """A data directory, and an execution in it that has completed."""
    data = tmp_path / "data"
    monkeypatch.setattr(driving, "Runtime", DrivenInProcess)
    # Workers are in this process, so what they import is undone.
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "forked", raising=False)

    async def count() -> str:
        async with InProcessRuntime(data) as runtime:
            one = await runtime.client.submit(workflow_of("counting", "count"), {"to": 1})
            await runtime.client.result(one, timeout_s=20)
            return one

    return data, asyncio.run(count())


def test_the_new_code_has_to_fit_the_changes(
    omium: Omium, counted: tuple[Path, str], tmp_path: Path
) -> None:
    data, one = counted
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "forked.py").write_text("async def act(context):\n    return 'forked'\n")

    def fork(entrypoint: str) -> tuple[int, str, str]:
        change = f"agents.a.entrypoint={entrypoint}"
        words = ("--at", "2", "--code", folder, "--set", change, "--quiet", "--data-dir", data)
        shown = omium("fork", one, *words)
        return shown.exit_code, shown.stdout, shown.stderr

    code, _, error = fork("forked:gone")
    assert (code, "module 'forked' defines no 'gone'" in error) == (2, True), error
    code, _, error = fork("nowhere:act")
    assert (code, "there is no module 'nowhere'" in error) == (2, True), error
    code, out, error = fork("forked:act")
    assert code == 0, error
    assert json.loads(out) == "forked"
