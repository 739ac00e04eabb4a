"""The loan example: its tool, its definition, and the whole of it with the real model."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

import pytest

from omium.definitions import Workflow, graph, load_workflow, value_problems
from omium.frameworks.crewai import CrewAIAdapter
from omium.frameworks.crewai_quiet import import_quietly
from omium.frameworks.entrypoints import load_entrypoint
from omium.testing.runtime import InProcessRuntime
from omium.types import Json
from tests.frameworks.crewai_stage import events_of, storage

EXAMPLE = Path(__file__).parents[2] / "examples" / "loan-apr"
RESULT_S = 50.0


@pytest.fixture(scope="module")
def workflow() -> Workflow:
    return load_workflow(EXAMPLE / "workflow.yaml")


@pytest.fixture(scope="module")
def tool(workflow: Workflow) -> Any:
    function = workflow.tool("annual_percentage_rate").function
    return load_entrypoint(function, (str(EXAMPLE),))


@pytest.mark.parametrize(
    ("principal", "interest", "years", "apr_percent", "risk_class"),
    [
        (10_000, 550, 1, 5.5, "low"),
        (24_000, 1_800, 3, 2.5, "low"),
        (7_300, 912, 2, 6.2466, "low"),
        (1_000, 80, 1, 8.0, "medium"),
        (1_000, 199.99, 1, 19.999, "medium"),
        (1_000, 200, 1, 20.0, "high"),
        (1_000, 0, 0.5, 0.0, "low"),
    ],
)
def test_the_tool_does_the_arithmetic(
    tool: Any, principal: float, interest: float, years: float, apr_percent: float, risk_class: str
) -> None:
    found = tool(principal=principal, interest=interest, years=years)
    assert found == {"apr_percent": apr_percent, "risk_class": risk_class}


@pytest.mark.parametrize("figures", [(0, 1, 1), (-1, 1, 1), (1, -1, 1), (1, 1, 0)])
def test_the_tool_refuses_what_is_no_loan(tool: Any, figures: tuple[float, float, float]) -> None:
    with pytest.raises(ValueError, match="above 0"):
        tool(*figures)


def test_the_definition_is_what_the_readme_says(workflow: Workflow) -> None:
    assert graph(workflow).order == ("intake", "analyst", "writer")
    assert workflow.model == "local/smollm2-135m-instruct"
    assert workflow.tool("annual_percentage_rate").idempotent
    assert workflow.inputs is not None
    assert value_problems(workflow.inputs, {"principal": 1, "interest": 0, "years": 1}) == ()
    wrong: list[Json] = [{}, {"principal": 0, "interest": 0, "years": 1}, {"principal": "1"}]
    assert all(value_problems(workflow.inputs, value) for value in wrong)


@pytest.mark.crewai
@pytest.mark.model
@pytest.mark.xdist_group("crewai")
@pytest.mark.filterwarnings("ignore::DeprecationWarning:crewai")
@pytest.mark.parametrize(
    ("principal", "interest", "years"),
    [(10_000, 550, 1), (24_000, 1_800, 3), (7_300, 912, 2)],
)
async def test_the_real_model_answers(
    tmp_path: Path,
    smollm2: Path,
    workflow: Workflow,
    tool: Any,
    principal: int,
    interest: int,
    years: int,
) -> None:
    await asyncio.to_thread(import_quietly, storage())
    inputs: dict[str, Json] = {"principal": principal, "interest": interest, "years": years}
    async with InProcessRuntime(
        tmp_path,
        adapters={"crewai": lambda: CrewAIAdapter(storage())},
        models_directory=smollm2.parent,
    ) as runtime:
        client = runtime.client
        execution_id = await client.submit(workflow, inputs, import_paths=(str(EXAMPLE),))
        note: Any = await client.result(execution_id, timeout_s=RESULT_S)
        entries = [entry async for entry in client.events(execution_id)]
    outputs = {e.agent: e.output.inline for e in events_of(entries, "agent.completed")}
    # The model copies; the arithmetic is the tool's.
    assert outputs["intake"] == inputs
    assert outputs["analyst"] == tool(**inputs)
    assert outputs["writer"] == note
    schema: Any = workflow.agent("writer").output
    for name, of in schema["properties"].items():
        assert re.search(of["pattern"], note[name]), note
    assert outputs["analyst"]["risk_class"] in note["finding"]
    intents = [(e.agent, e.key.kind) for e in events_of(entries, "call.intended")]
    assert intents == [
        ("intake", "llm"),
        ("analyst", "llm"),
        ("analyst", "tool"),
        ("analyst", "llm"),
        ("writer", "llm"),
    ]
