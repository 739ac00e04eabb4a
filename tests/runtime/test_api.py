"""Omium from Python, on a real Ray."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

import omium
from omium.config import Settings, load_settings
from omium.errors import Conflict, DeadlineExceeded, ExecutionCancelled, InputError, NotFound
from omium.testing.scripted import Answer, Rule, ScriptedProvider
from tests.runtime.test_kills import definition

pytestmark = [pytest.mark.ray, pytest.mark.timeout(240)]

PATIENT = {
    "name": "patient",
    "version": "1",
    "agents": [
        {
            "name": "patient",
            "framework": "python",
            "entrypoint": "tests.runtime.agents:patient",
        }
    ],
}


@pytest.fixture
def settings(tmp_path: Path) -> Iterator[Settings]:
    with ScriptedProvider([Rule(answer=Answer(content="an answer"))]) as provider:
        yield load_settings(
            {
                "data_dir": tmp_path / "data",
                "openai_base_url": provider.base_url,
                "openai_api_key": "k",
            }
        )
        omium.shutdown()


async def test_run_follow_cancel_resume_and_fork(settings: Settings, tmp_path: Path) -> None:
    before = {child.pid for child in psutil.Process().children(recursive=True)}
    with pytest.raises(InputError, match="log"):
        omium.run(definition() | {"inputs": _inputs()}, {}, settings=settings)

    inputs: dict[str, Any] = {"log": str(tmp_path / "log")}
    execution = await omium.arun(definition(), inputs, settings=settings)
    types = [event["type"] async for event in execution.events()]
    assert types[0] == "execution.created"
    assert types[-1] == "execution.completed"
    assert types.count("step.completed") == 3
    assert await execution.status() == "completed"
    assert await execution.result() == {"done": ["an answer"] * 3}

    blocking = omium.run(PATIENT, settings=settings)
    events = blocking.events()
    while next(events)["type"] != "step.completed":
        pass
    assert blocking.status() == "running"
    with pytest.raises(DeadlineExceeded):
        blocking.result(timeout_s=0.2)
    blocking.cancel()
    with pytest.raises(ExecutionCancelled):
        blocking.result(timeout_s=20)
    with pytest.raises(Conflict, match="cancelled"):
        omium.resume(blocking.id, settings=settings)
    with pytest.raises(NotFound):
        omium.resume("ex_none", settings=settings)

    checkpoint = types.index("step.completed") + 1
    fork = omium.fork(execution.id, checkpoint, settings=settings)
    assert fork.id != execution.id
    assert fork.result(timeout_s=60) == {"done": ["an answer"] * 3}
    with pytest.raises(Conflict, match="shutdown"):
        omium.run(
            PATIENT, settings=settings.model_copy(update={"data_dir": tmp_path / "elsewhere"})
        )

    omium.shutdown()
    left = {child.pid for child in psutil.Process().children(recursive=True)} - before
    assert left == set()


def _inputs() -> dict[str, Any]:
    return {"type": "object", "properties": {"log": {"type": "string"}}, "required": ["log"]}
