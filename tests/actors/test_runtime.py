"""Executions from submission to result, through the real coordinator, gateway and workers."""

from __future__ import annotations

from pathlib import Path

from omium.definitions import workflow_from
from omium.testing.runtime import InProcessRuntime


async def test_an_agent_runs_to_its_result(tmp_path: Path) -> None:
    workflow = workflow_from(
        {
            "name": "counting",
            "version": "1",
            "agents": [
                {
                    "name": "counter",
                    "framework": "python",
                    "entrypoint": "tests.actors.agents:count",
                }
            ],
        }
    )
    async with InProcessRuntime(tmp_path) as runtime:
        execution_id = await runtime.client.submit(workflow, {"to": 3})
        assert await runtime.client.result(execution_id, timeout_s=20) == {"reached": 3}
        types = [e.event.__struct_config__.tag async for e in runtime.client.events(execution_id)]
    assert types == [
        "execution.created",
        "attempt.started",
        "step.completed",
        "step.completed",
        "step.completed",
        "agent.completed",
        "execution.completed",
    ]
