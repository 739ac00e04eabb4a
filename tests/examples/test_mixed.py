"""Four agents of three frameworks: exactly with scripted answers, and with the real model."""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from omium.definitions import Workflow, load_workflow
from omium.execution.events import Entry
from omium.frameworks.autogen import AutoGenAdapter
from omium.frameworks.crewai import CrewAIAdapter
from omium.frameworks.crewai_quiet import import_quietly
from omium.frameworks.entrypoints import load_entrypoint
from omium.frameworks.langgraph import LangGraphAdapter
from omium.llm.providers import Provider
from omium.testing.runtime import InProcessRuntime
from omium.testing.script import Answer, Rule, ToolCall
from omium.testing.scripted import ScriptedProvider
from tests.frameworks.autogen_stage import AUTOGEN, events_of, texts
from tests.frameworks.crewai_stage import CREWAI, storage
from tests.frameworks.killed import KILLED
from tests.frameworks.langgraph_stage import LANGGRAPH

EXAMPLE = Path(__file__).parents[2] / "examples" / "mixed"
RESULT_S = 90.0
SCRIPTED = "scripted/scripted"
RISKY = {"principal": 1_000.0, "interest": 250.0, "years": 1.0}
SAFE = {"principal": 10_000.0, "interest": 550.0, "years": 1.0}
NOTE = {
    "finding": "The loan has a high risk.",
    "advice": "The underwriter should decline the loan as it stands.",
}
REVISE = {"verdict": "revise", "reason": "It is dull."}
APPROVE = {"verdict": "approve", "reason": "It is plain."}
REMARK = {"remark": "The loan is too dear."}

pytestmark = [
    *(mark for mark in (*CREWAI, *LANGGRAPH, *AUTOGEN) if mark.name != "xdist_group"),
    *KILLED,
    pytest.mark.xdist_group("mixed"),
    pytest.mark.timeout(150),
]


@pytest.fixture(scope="module")
def workflow() -> Workflow:
    return load_workflow(EXAMPLE / "workflow.yaml")


def preloaded() -> None:
    import_quietly(storage())
    LangGraphAdapter().preload()
    AutoGenAdapter().preload()


@asynccontextmanager
async def runtime_of(directory: Path, **options: Any) -> AsyncIterator[InProcessRuntime]:
    """A started runtime with all three frameworks."""
    await asyncio.to_thread(preloaded)
    adapters = {
        "crewai": lambda: CrewAIAdapter(storage()),
        "langgraph": LangGraphAdapter,
        "autogen": AutoGenAdapter,
    }
    async with InProcessRuntime(directory, adapters=adapters, **options) as runtime:
        # The analyst's graph brings a client of its own, which finds the gateway here.
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("OPENAI_BASE_URL", f"{runtime.gateway_url}/v1")
            patch.setenv("OPENAI_API_KEY", f"{runtime.api_key}.worker")
            yield runtime


async def run(
    runtime: InProcessRuntime, workflow: Workflow, inputs: dict[str, float], model: str = ""
) -> tuple[Any, list[Entry]]:
    client = runtime.client
    execution_id = await client.submit(
        workflow, {**inputs}, model=model, import_paths=(str(EXAMPLE),)
    )
    result = await client.result(execution_id, timeout_s=RESULT_S)
    return result, [entry async for entry in client.events(execution_id)]


def rules(*answers: Any) -> Sequence[Rule]:
    """Rules that give each answer once, in order; figures are given as a call of the tool."""
    return [
        Rule(
            answer=Answer(
                tool_calls=(ToolCall(name="annual_percentage_rate", arguments={**one.arguments}),)
            )
            if isinstance(one, Called)
            else Answer(content=one),
            times=1,
        )
        for one in answers
    ]


class Called:
    """The model calls the analyst's tool with these arguments."""

    def __init__(self, arguments: dict[str, float]) -> None:
        self.arguments = arguments


@asynccontextmanager
async def scripted(
    directory: Path, *answers: Any
) -> AsyncIterator[tuple[InProcessRuntime, ScriptedProvider]]:
    async with ScriptedProvider(rules(*answers)) as provider:
        named = Provider(name="scripted", base_url=provider.base_url)
        load_entrypoint("analyst_graph:graph", (str(EXAMPLE),))
        with pytest.MonkeyPatch.context() as patch:
            # The graph names its model itself, as a user's own does.
            patch.setattr(sys.modules["analyst_graph"], "MODEL", SCRIPTED)
            async with runtime_of(directory, providers={"scripted": named}) as runtime:
                yield runtime, provider


async def test_a_risky_loan_is_reviewed_and_sent_back_once(
    tmp_path: Path, workflow: Workflow
) -> None:
    answers = (
        RISKY,
        # The first time the model does not copy well, and the graph asks again.
        Called({**RISKY, "years": 3.0}),
        Called(RISKY),
        *(REMARK, REVISE),
        Called(RISKY),
        # It would be sent back once more, and the loop is used up.
        *(REMARK, {**REVISE, "reason": "It is still dull."}),
        NOTE,
    )
    async with scripted(tmp_path, *answers) as (runtime, provider):
        result, entries = await run(runtime, workflow, RISKY, SCRIPTED)
        requests = [texts(call.body) for call in provider.calls]
    assert result == NOTE
    outputs = [(e.agent, e.output.inline) for e in events_of(entries, "agent.completed")]
    apr = {"apr_percent": 25.0, "risk_class": "high"}
    assert outputs == [
        ("researcher", RISKY),
        ("analyst", {**apr, "tries": 2, "remark": ""}),
        ("reviewers", REVISE),
        ("analyst", {**apr, "tries": 1, "remark": "It is dull."}),
        ("reviewers", {"verdict": "revise", "reason": "It is still dull."}),
        ("writer", NOTE),
    ]
    rounds = events_of(entries, "round.started")
    assert [(r.agent, r.to, r.round, r.agents) for r in rounds] == [
        ("reviewers", "analyst", 2, ("analyst", "reviewers"))
    ]
    assert len(requests) == len(answers)
    assert "Your last remark: It is dull." in requests[6]
    assert requests[3].rstrip().endswith("Your last remark:")
    assert "It is still dull." in requests[8]


async def test_a_loan_of_low_risk_is_not_reviewed(tmp_path: Path, workflow: Workflow) -> None:
    note = {**NOTE, "finding": "The loan has a low risk."}
    async with scripted(tmp_path, SAFE, Called(SAFE), note) as (runtime, _):
        result, entries = await run(runtime, workflow, SAFE, SCRIPTED)
    assert result == note
    assert [e.agent for e in events_of(entries, "agent.skipped")] == ["reviewers"]
    assert [e.agent for e in events_of(entries, "agent.completed")] == [
        "researcher",
        "analyst",
        "writer",
    ]


@pytest.mark.model
@pytest.mark.parametrize("inputs", [RISKY, SAFE], ids=["risky", "safe"])
async def test_the_real_model_answers(
    tmp_path: Path, smollm2: Path, workflow: Workflow, inputs: dict[str, float]
) -> None:
    async with runtime_of(tmp_path, models_directory=smollm2.parent) as runtime:
        note, entries = await run(runtime, workflow, inputs)
    schema: Any = workflow.agent("writer").output
    for name, of in schema["properties"].items():
        assert re.search(of["pattern"], note[name]), note
    outputs = {e.agent: e.output.inline for e in events_of(entries, "agent.completed")}
    risk = "high" if inputs is RISKY else "low"
    assert outputs["researcher"] == inputs
    assert outputs["analyst"]["risk_class"] == risk
    assert risk in note["finding"]
    skipped = [e.agent for e in events_of(entries, "agent.skipped")]
    assert skipped == ([] if inputs is RISKY else ["reviewers"])
    # What the judge says is the model's whim: no round, or one, and never more.
    assert len(events_of(entries, "round.started")) <= 1
