"""What agents answer, and what is said of agents that cannot be run at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from omium.errors import ExecutionFailed
from omium.execution.records import Failure
from tests.actors.stage import Stage, agent, stage, workflow

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"apr": {"type": "number", "minimum": 0, "maximum": 100}},
    "required": ["apr", "risk"],
}


async def failure_of(s: Stage, member: dict[str, Any], inputs: dict[str, Any]) -> Failure:
    """The failure that a workflow of one agent ends in."""
    execution_id = await s.submit(workflow(member), inputs)
    with pytest.raises(ExecutionFailed):
        await s.result(execution_id)
    failure = (await s.client.view(execution_id)).failure
    assert failure is not None
    return failure


async def test_an_output_that_breaks_its_schema_is_refused_with_every_problem(
    tmp_path: Path,
) -> None:
    async with stage(tmp_path) as s:
        member = agent("analyst", "wordy", output=SCHEMA)
        failure = await failure_of(s, member, {"answer": {"apr": 550}})
        assert failure.kind == "output_schema"
        assert failure.error_type == "OutputSchemaError"
        assert "output of agent 'analyst' breaks its schema" in failure.message
        assert "apr" in failure.message
        assert "risk" in failure.message
        assert not failure.retryable
        good = {"apr": 5.5, "risk": "low"}
        execution_id = await s.submit(workflow(member), {"answer": good})
        assert await s.result(execution_id) == good


async def test_a_large_output_is_handed_on_and_returned(tmp_path: Path) -> None:
    large = "x" * 300_000
    flow = workflow(agent("one", "wordy"), agent("two", "gather"))
    async with stage(tmp_path) as s:
        result: Any = await s.result(await s.submit(flow, {"answer": large}))
    assert result["from"]["one"] == large


@pytest.mark.parametrize(
    ("entrypoint", "reason"),
    [
        ("tests.actors.nowhere:run", "No module named 'tests.actors.nowhere'"),
        ("tests.actors.agents:nobody", "module 'tests.actors.agents' has no 'nobody'"),
        ("tests.actors.agents:NOT_A_FUNCTION", "is a int, not a function"),
        ("broken_module:run", "importing 'broken_module' raised ZeroDivisionError"),
        ("unfinished_module:run", "importing 'unfinished_module' raised SyntaxError"),
        ("leaving_module:run", "importing 'leaving_module' raised SystemExit: 3"),
        ("needy_module:run", "No module named 'what_is_not_there'"),
    ],
)
async def test_an_entrypoint_that_cannot_be_loaded_says_why(
    tmp_path: Path, entrypoint: str, reason: str
) -> None:
    code = tmp_path / "code"
    code.mkdir()
    (code / "broken_module.py").write_text("1 / 0\n")
    (code / "leaving_module.py").write_text("import sys; sys.exit(3)\n")
    (code / "unfinished_module.py").write_text("def run(:\n")
    (code / "needy_module.py").write_text("import what_is_not_there\n")
    async with stage(tmp_path / "data") as s:
        execution_id = await s.submit(
            workflow(agent("doer", entrypoint)), import_paths=(str(code),)
        )
        with pytest.raises(ExecutionFailed) as failed:
            await s.result(execution_id)
    assert failed.value.failure_kind == "entrypoint"
    assert f"entrypoint {entrypoint!r}" in failed.value.reason
    assert reason in failed.value.reason


async def test_a_tool_that_cannot_be_loaded_says_why(tmp_path: Path) -> None:
    flow = workflow(
        agent("doer", tools=["lost"]), tools=[{"name": "lost", "function": "nowhere.at_all:run"}]
    )
    async with stage(tmp_path) as s:
        execution_id = await s.submit(flow, {"do": []})
        with pytest.raises(ExecutionFailed, match="nowhere") as failed:
            await s.result(execution_id)
    assert failed.value.failure_kind == "entrypoint"


@pytest.mark.parametrize("entrypoint", ["leave", "leave_blocking"])
async def test_an_agent_that_wants_to_end_the_process_fails_alone(
    tmp_path: Path, entrypoint: str
) -> None:
    async with stage(tmp_path) as s:
        failure = await failure_of(s, agent("doer", entrypoint), {})
        assert len(s.runtime.spawner.workers) == 1
    assert failure.kind == "agent"
    assert failure.message == "SystemExit: enough"
