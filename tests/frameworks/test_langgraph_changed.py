"""A graph whose code has changed since its last checkpoint: nothing is passed over."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from omium.errors import ExecutionFailed
from tests.actors.gates import gate
from tests.actors.stage import WAIT_S, workflow
from tests.frameworks.langgraph_stage import LANGGRAPH, graph, graph_stage

pytestmark = LANGGRAPH

WAYS = pytest.mark.parametrize("how", ["edge", "join", "send"])
DEPTHS = pytest.mark.parametrize("depth", [0, 1, 2])


@WAYS
@DEPTHS
async def test_a_node_that_is_to_run_and_is_gone_is_told(
    tmp_path: Path, how: str, depth: int
) -> None:
    async with graph_stage(tmp_path) as s:
        with gate() as till:
            inputs: Any = {"till": till.name, "how": how, "depth": depth, "renamed": "c"}
            execution = await s.client.submit(workflow(graph("changes", retries=1)), inputs)
            with pytest.raises(ExecutionFailed, match="is to go on with 'b', where its graph now"):
                await s.client.result(execution, timeout_s=WAIT_S)


@WAYS
@DEPTHS
async def test_a_node_that_is_still_there_goes_on(tmp_path: Path, how: str, depth: int) -> None:
    async with graph_stage(tmp_path) as s:
        with gate() as till:
            inputs: Any = {"till": till.name, "how": how, "depth": depth, "renamed": "b"}
            execution = await s.client.submit(workflow(graph("changes", retries=1)), inputs)
            result: Any = await s.client.result(execution, timeout_s=WAIT_S)
            assert result["said"][-1] == "b"
