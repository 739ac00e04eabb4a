"""Workflows from Python objects, their round trip through JSON, and their digest."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field, ValidationError

from omium.definitions import (
    Agent,
    Handoff,
    Task,
    Tool,
    Workflow,
    load_workflow,
    workflow_from,
    workflow_from_data,
)
from omium.definitions.plain import MAX_DEPTH, MAX_NODES
from omium.definitions.schema import value_problems
from omium.definitions.validation import MAX_PROBLEMS
from omium.errors import DefinitionError
from omium.types import Json
from tests.definitions.test_document import JSON_VALUES

AGENT = {"name": "a", "framework": "python", "entrypoint": "m:f"}

_texts = st.text(min_size=1, max_size=20).filter(
    lambda text: bool(re.search(r"\S", text)) and not re.search("[{}\ud800-\udfff]", text)
)
_schemas = st.builds(
    lambda names, value: {
        "type": "object",
        "properties": {name: {"type": "number"} for name in names},
        "default": value,
    },
    st.lists(st.sampled_from(["zeta", "alpha", "ω", "a b"]), unique=True),
    JSON_VALUES,
)


@st.composite
def workflows(draw: st.DrawFn) -> Workflow:
    tools = draw(st.lists(st.sampled_from(["rate", "Risk", "x_1"]), unique=True))
    names = draw(st.lists(st.sampled_from("abcdef"), min_size=1, unique=True))
    agents: list[dict[str, Any]] = []
    for name in names:
        agent: dict[str, Any] = {
            "name": name,
            "timeout_s": draw(st.floats(0.001, 86_400)),
            "retries": draw(st.integers(0, 10)),
            "temperature": draw(st.none() | st.floats(0, 2) | st.integers(0, 2)),
            "output": draw(st.none() | _schemas),
            "tools": tools,
        }
        if draw(st.booleans()):
            agent |= {"framework": "python", "entrypoint": "pkg.mod:fn"}
        else:
            task = {"description": draw(_texts), "expected_output": draw(_texts)}
            agent |= {"framework": "crewai", "role": draw(_texts), "goal": draw(_texts)}
            agent |= {"backstory": draw(_texts), "tasks": [task, {**task, "tools": tools[:1]}]}
        agents.append(agent)
    forward: list[object] = [
        {"from": names[i], "to": names[i + 1 :]}
        if draw(st.booleans())
        else " -> ".join(names[i : i + 2])
        for i in range(len(names) - 1)
    ]
    return workflow_from(
        {
            "name": "t",
            "version": draw(st.text("0123456789.é", min_size=1, max_size=32)),
            "inputs": draw(st.none() | _schemas),
            "tools": [{"name": name, "function": "m:f", "idempotent": True} for name in tools],
            "agents": agents,
            "handoffs": draw(st.none() | st.just(forward)),
        }
    )


@given(workflows())
def test_the_round_trip_is_exact(workflow: Workflow) -> None:
    text = workflow.to_json()
    again = workflow_from_data(json.loads(text))
    assert again == workflow
    assert again.to_json() == text
    assert again.digest == workflow.digest


def test_the_digest_changes_with_anything(loan_file: Path) -> None:
    workflow = load_workflow(loan_file)
    digests = {workflow.digest}
    data: Any = workflow.to_data()
    data["version"] = "2"
    digests.add(workflow_from(data).digest)
    data["agents"][0]["retries"] = 1
    digests.add(workflow_from(data).digest)
    # The order of a schema's properties is the order in which they are generated.
    output = data["agents"][0]["output"]
    output["properties"] = dict(reversed(output["properties"].items()))
    digests.add(workflow_from(data).digest)
    assert len(digests) == 4
    assert all(re.fullmatch("sha256:[0-9a-f]{64}", digest) for digest in digests)


def test_the_digest_is_stable() -> None:
    workflow = workflow_from({"name": "t", "version": "1", "agents": [AGENT]})
    assert workflow.digest == (
        "sha256:a048e97138e0454e5ff985934b3764a352190555da3b391d076d03f688ae6347"
    )


def test_records_are_as_good_as_mappings() -> None:
    task = Task(description="d", expected_output="e", tools=("rate",))
    agent = Agent(
        name="a",
        framework="crewai",
        role="r",
        goal="g",
        backstory="b",
        tasks=(task,),
        tools=("rate",),
    )
    tool = Tool(name="rate", function="m:f")
    byhand = Workflow(
        name="t", version="1", agents=(agent, Agent.model_validate(AGENT | {"name": "b"})),
        tools=(tool,), handoffs=("a -> b", Handoff.model_validate({"from": "a", "to": "b"})),
    )  # fmt: skip
    mixed: dict[str, object] = {
        "name": "t",
        "version": "1",
        "agents": (agent, AGENT | {"name": "b"}),
        "tools": [tool],
        "handoffs": ["a -> b", {"from": "a", "to": ["b"]}],
    }
    assert workflow_from(byhand) == workflow_from(mixed) == byhand


def test_a_workflow_by_hand_is_checked_too() -> None:
    agents = tuple(Agent.model_validate(AGENT | {"name": name}) for name in "ab")
    byhand = Workflow(name="t", version="1", agents=agents, handoffs=("a -> b", "b -> a"))
    with pytest.raises(DefinitionError, match="found the cycle a -> b -> a"):
        workflow_from(byhand, "by hand")


def test_records_are_frozen(loan_file: Path) -> None:
    workflow = load_workflow(loan_file)
    with pytest.raises(ValidationError, match="frozen"):
        workflow.name = "other"  # type: ignore[misc]


def test_what_was_given_is_not_shared() -> None:
    output: dict[str, Any] = {"type": "object", "properties": {}}
    workflow = workflow_from({"name": "t", "version": "1", "agents": [AGENT | {"output": output}]})
    digest = workflow.digest
    output["properties"]["late"] = {"type": "number"}
    assert workflow.digest == digest


def test_stored_definitions_keep_their_framework() -> None:
    data: dict[str, object] = {"name": "t", "version": "1", "agents": [AGENT]}
    workflow = workflow_from(data, frameworks=["python"])
    with pytest.raises(DefinitionError):
        workflow_from(workflow, frameworks=["crewai"])
    assert workflow_from_data(workflow.to_data()) == workflow


def test_outputs_of_tasks_and_agents() -> None:
    def agent(agent_output: Json, task_output: Json) -> Agent:
        task: dict[str, Json] = {"description": "d", "expected_output": "e"}
        tasks: list[dict[str, Json]] = [task, task | {"output": task_output}]
        return Agent.model_validate(AGENT | {"output": agent_output, "tasks": tasks})

    number: Json = {"type": "number"}
    text: Json = {"type": "string"}
    assert agent(number, None).output_of(0) is None
    assert agent(number, None).output_of(1) == number
    assert agent(number, text).output_of(1) == text
    assert agent(number, text).final_output == number
    assert agent(None, text).final_output == text
    assert Agent.model_validate(AGENT).final_output is None


def test_models_and_names(loan_file: Path) -> None:
    workflow = load_workflow(loan_file)
    assert workflow.model_of(workflow.agent("intake")) == "local/smollm2-135m-instruct"
    assert workflow.tool("annual_percentage_rate").idempotent
    with pytest.raises(KeyError):
        workflow.agent("nobody")
    with pytest.raises(KeyError):
        workflow.tool("nothing")


def _problems(data: Any) -> tuple[str, ...]:
    with pytest.raises(DefinitionError) as error:
        workflow_from(data)
    return error.value.problems


def test_values_that_json_cannot_carry() -> None:
    cyclic: dict[str, Any] = {}
    cyclic["self"] = cyclic
    agents = [AGENT | {"output": {1: {}, "enum": {3}, "x-a": float("inf"), "x-b": 1 << 2000}}]
    data: dict[str, Any] = {"name": "t", "version": "1\ud800", "agents": agents, "inputs": cyclic}
    assert _problems(data) == (
        "version: found half of a surrogate pair at character 1, expected Unicode text",
        "agents[0].output: found the key 1, expected keys that are strings",
        "agents[0].output.enum: found a Python set, expected a value that JSON can carry",
        "agents[0].output.x-a: found inf, expected a finite number",
        "agents[0].output.x-b: found a number of more than 60 digits, expected a smaller number",
        f"inputs.self.self: found values nested more than {MAX_DEPTH} deep, expected fewer",
    )
    assert _problems("no mapping") == ("found no mapping, expected one",)


def test_data_has_a_bound() -> None:
    many = [0] * (MAX_NODES + 1)
    data = {"name": "t", "version": "1", "agents": [AGENT], "inputs": {"enum": many}}
    assert _problems(data)[0] == f"found more than {MAX_NODES} values, expected fewer"


@pytest.mark.parametrize(
    "data",
    [
        {"agents": [{"name": f"a{i}", "framework": f"f{i}"} for i in range(6000)]},
        {"agents": [AGENT], "handoffs": [f"a -> b{i}" for i in range(19_000)]},
        {"agents": [AGENT | {"output": {f"minimum{i}": 0 for i in range(19_000)}}]},
        {"agents": [AGENT | {"role": " ".join(f"{{x{i}}}" for i in range(20_000))}]},
        {f"agent{i}": 1 for i in range(19_000)},
    ],
    ids=["agents", "handoffs", "keywords", "references", "keys"],
)
def test_many_mistakes_are_told_soon(data: dict[str, Any]) -> None:
    # The time limit of the test is what fails where the work grows with the square.
    if "agents" in data and "role" in data["agents"][0]:
        data = data | {"inputs": {"properties": {f"y{i}": {} for i in range(5000)}}}
    assert 1 <= len(_problems(data)) <= MAX_PROBLEMS


# ---------------------------------------------------------------------- pydantic's classes


class Rate(BaseModel):
    percent: float = Field(ge=0)


class Offer(BaseModel):
    rates: list[Rate]


def test_a_class_of_pydantics_is_a_schema() -> None:
    workflow = workflow_from(
        {"name": "w", "version": "1", "inputs": Offer, "agents": [{**AGENT, "output": Offer}]}
    )
    assert workflow.agent("a").output == Offer.model_json_schema()
    assert workflow.inputs is not None
    assert value_problems(workflow.inputs, {"rates": [{"percent": 5}]}) == ()
    assert value_problems(workflow.inputs, {"rates": [{"percent": -5}]})
    # What is stored is plain data, as from a file.
    assert workflow_from_data(workflow.to_data()) == workflow


def test_a_class_is_no_value_elsewhere() -> None:
    with pytest.raises(DefinitionError, match="expected a value that JSON can carry"):
        workflow_from({"name": "w", "version": "1", "agents": [{**AGENT, "output": dict}]})
