"""The reviewing pair: exactly with scripted answers, and with the real model under its schemas."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

import pytest

from omium.definitions import Workflow, load_workflow
from omium.frameworks.autogen import AutoGenAdapter
from omium.testing.runtime import InProcessRuntime
from tests.frameworks.autogen_stage import AUTOGEN, asked, says, steps_of, team_stage, texts

EXAMPLE = Path(__file__).parents[2] / "examples" / "review-pair"
RESULT_S = 50.0

pytestmark = AUTOGEN


@pytest.fixture(scope="module")
def workflow() -> Workflow:
    return load_workflow(EXAMPLE / "workflow.yaml")


async def test_the_pair_goes_round_until_the_reviewer_approves(
    tmp_path: Path, workflow: Workflow
) -> None:
    rules = says(
        {"advice": "You should carry an umbrella."},
        {"verdict": "revise", "reason": "It is dull."},
        {"advice": "You should dance in the rain."},
        {"verdict": "approve", "reason": "It is plain."},
    )
    async with team_stage(tmp_path, rules) as s:
        execution_id = await s.submit(workflow, {"topic": "rain"})
        assert await s.result(execution_id) == {"advice": "You should dance in the rain."}
        assert [name for _, name in steps_of(await s.journal(execution_id))] == [
            "writer",
            "reviewer",
            "writer",
            "reviewer",
        ]
        bodies = asked(s)
    assert "Give one sentence of advice on rain." in texts(bodies[0])
    assert "It is dull." in texts(bodies[2])


async def test_the_pair_stops_after_three_rounds(tmp_path: Path, workflow: Workflow) -> None:
    advice = {"advice": "You should dance in the rain."}
    verdict = {"verdict": "revise", "reason": "It is dull."}
    async with team_stage(tmp_path, says(*[advice, verdict] * 3)) as s:
        execution_id = await s.submit(workflow, {"topic": "rain"})
        assert await s.result(execution_id) == advice
        assert s.provider.received == 6


@pytest.mark.model
async def test_the_real_model_answers(tmp_path: Path, smollm2: Path, workflow: Workflow) -> None:
    await asyncio.to_thread(AutoGenAdapter().preload)
    async with InProcessRuntime(
        tmp_path, adapters={"autogen": AutoGenAdapter}, models_directory=smollm2.parent
    ) as runtime:
        execution_id = await runtime.client.submit(workflow, {"topic": "rain"})
        note: Any = await runtime.client.result(execution_id, timeout_s=RESULT_S)
        entries = [entry async for entry in runtime.client.events(execution_id)]
    schema: Any = workflow.agent("pair").output
    assert re.search(schema["properties"]["advice"]["pattern"], note["advice"]), note
    speakers = [name for _, name in steps_of(entries)]
    assert 2 <= len(speakers) <= 6
    assert speakers == ["writer", "reviewer"] * (len(speakers) // 2)
