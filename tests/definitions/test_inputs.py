"""Inputs of an execution: from Python and from the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from omium.definitions import Workflow, coerce_inputs, load_workflow, validate_inputs, workflow_from
from omium.definitions.inputs import MAX_INPUT_BYTES
from omium.errors import InputError
from omium.types import Json


def _workflow(inputs: Json, role: str = "r") -> Workflow:
    agent: dict[str, Any] = {
        "name": "clerk",
        "framework": "crewai",
        "role": role,
        "goal": "g",
        "backstory": "b",
        "tasks": [{"description": "d", "expected_output": "e"}],
    }
    return workflow_from({"name": "t", "version": "1", "inputs": inputs, "agents": [agent]})


def _told(workflow: Workflow, inputs: dict[str, Any]) -> list[str]:
    with pytest.raises(InputError) as error:
        validate_inputs(workflow, inputs)
    head, *told = str(error.value).split("\n")
    assert head == f"inputs of 't': {len(told)} mistake{'s' if len(told) > 1 else ''}"
    return [line.strip() for line in told]


NUMBERS: Json = {
    "properties": {
        "principal": {"type": "number", "exclusiveMinimum": 0},
        "years": {"type": "integer", "default": 1},
        "applicant": {"type": "object", "required": ["name"], "properties": {"name": {}}},
    },
    "required": ["principal"],
}


def test_good_inputs_with_defaults() -> None:
    assert validate_inputs(_workflow(NUMBERS), {"principal": 5.5}) == {"principal": 5.5, "years": 1}


def test_every_mistake_is_told() -> None:
    assert _told(_workflow(NUMBERS), {"years": "1", "applicant": {}, "colour": 1}) == [
        "years: found '1', expected integer",
        "applicant.name: found nothing, expected a value",
        "principal: found nothing, expected number",
        "colour: unknown key 'colour', expected one of principal, years, applicant",
    ]


def test_a_mistyped_input_is_told_once() -> None:
    assert _told(_workflow(NUMBERS), {"principle": 1}) == [
        "principle: unknown key 'principle', expected one of principal, years, applicant"
        " (did you mean 'principal'?)",
    ]


def test_a_schema_may_allow_others() -> None:
    inputs: Json = {"properties": {"a": {}}, "additionalProperties": {"type": "number"}}
    assert validate_inputs(_workflow(inputs), {"b": 1}) == {"b": 1}
    assert _told(_workflow(inputs), {"b": "x"}) == ["b: found 'x', expected number"]


def test_what_a_template_needs_is_needed() -> None:
    workflow = _workflow(None, "{colour} {shape.corners} {{free}}")
    assert _told(workflow, {"shape": {}}) == ["colour: found nothing, expected a value for clerk"]
    given: dict[str, object] = {"shape": {}, "colour": None, "other": (1,)}
    assert validate_inputs(workflow, given) == {"shape": {}, "colour": None, "other": [1]}


def test_inputs_are_json() -> None:
    told = _told(_workflow(None), {"a": {1, 2}, "b": float("nan"), "c": "\ud800"})
    assert told == [
        "a: found a Python set, expected a value that JSON can carry",
        "b: found nan, expected a finite number",
        "c: found half of a surrogate pair at character 0, expected Unicode text",
    ]


def test_inputs_have_a_bound() -> None:
    (told,) = _told(_workflow(None), {"a": "x" * MAX_INPUT_BYTES})
    assert told.endswith(f"bytes, expected at most {MAX_INPUT_BYTES}")


def test_defaults_are_copies() -> None:
    workflow = _workflow({"properties": {"a": {"default": []}}})
    first: Any = validate_inputs(workflow, {})
    first["a"].append(1)
    assert validate_inputs(workflow, {}) == {"a": []}


@pytest.mark.parametrize(
    ("schema", "text", "value"),
    [
        ({"type": "number"}, "10000", 10000),
        ({"type": "number"}, "-1.5e3", -1500.0),
        ({"type": "integer"}, "0", 0),
        ({"type": "boolean"}, "true", True),
        ({"type": "null"}, "null", None),
        ({"type": "object"}, '{"a": [1]}', {"a": [1]}),
        ({"type": "array"}, " [1, 2]", [1, 2]),
        ({"type": "string"}, "5", "5"),
        ({"type": ["string", "null"]}, "null", None),
        ({"type": ["number", "string"]}, "five", "five"),
        ({"type": ["array", "string"]}, "[open", "[open"),
        ({"enum": [1, 2]}, "2", 2),
        ({"enum": ["1", "2"]}, "2", "2"),
        ({"$ref": "#/$defs/n"}, "2", 2),
        ({}, "5", "5"),
    ],
)
def test_texts_become_values(schema: Json, text: str, value: Json) -> None:
    inputs: Json = {"properties": {"a": schema}, "$defs": {"n": {"type": "integer"}}}
    coerced = coerce_inputs(_workflow(inputs), {"a": text})
    assert coerced == {"a": value}
    assert type(coerced["a"]) is type(value)


@pytest.mark.parametrize(
    ("schema", "text", "expected"),
    [
        ({"type": "number"}, "ten", "number"),
        ({"type": "number"}, "nan", "number"),
        ({"type": "number"}, "1_000", "number"),
        ({"type": "number"}, "9" * 5000, "number"),
        ({"type": "integer"}, "1.5", "integer"),
        ({"type": "boolean"}, "yes", "boolean"),
        ({"type": "object"}, "{open", "object"),
        ({"type": "array"}, "[" * 100_000, "array"),
        ({"type": ["null", "boolean"]}, "", "boolean or null"),
    ],
)
def test_texts_that_mean_nothing(schema: Json, text: str, expected: str) -> None:
    workflow = _workflow({"properties": {"a": schema, "b": {"type": "number"}}})
    with pytest.raises(InputError) as error:
        coerce_inputs(workflow, {"a": text, "b": "x"})
    head, a, b = str(error.value).split("\n")
    assert head == "inputs of 't': 2 mistakes"
    assert a.startswith("  a: found ") and a.endswith(f", expected {expected}")
    assert b == "  b: found 'x', expected number"


def test_the_command_line_of_the_example(loan_file: Path) -> None:
    workflow = load_workflow(loan_file)
    texts = {"principal": "10000", "interest": "550", "years": "1"}
    given = coerce_inputs(workflow, texts)
    assert given == {"principal": 10000, "interest": 550, "years": 1}
    assert validate_inputs(workflow, given) == given
    assert coerce_inputs(workflow, {"unknown": "5"}) == {"unknown": "5"}
