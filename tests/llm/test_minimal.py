from __future__ import annotations

from typing import Any, Literal

import jsonschema
import pytest
from pydantic import BaseModel, Field

from omium.errors import InputError
from omium.testing.minimal import minimal_value


class Part(BaseModel):
    name: str = Field(min_length=3)
    kind: Literal["b", "a"]


class Whole(BaseModel):
    apr: float = Field(ge=2.5, le=8.5)
    years: int = Field(gt=0)
    parts: list[Part] = Field(min_length=2)
    note: str | None
    fixed: Literal["z"]
    extra: int = 3


def test_a_pydantic_schema_gets_a_value_that_pydantic_accepts() -> None:
    value = minimal_value(Whole.model_json_schema())
    assert Whole.model_validate(value)
    part = {"name": "aaa", "kind": "b"}
    assert value == {
        "apr": 2.5,
        "years": 1,
        "parts": [part, part],
        "note": "",
        "fixed": "z",
    }


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"const": [1]}, [1]),
        ({"enum": ["x", "y"]}, "x"),
        ({"type": "integer", "default": 7}, 7),
        ({"type": "string", "pattern": "^A+$", "examples": ["AA"]}, "AA"),
        ({"type": "integer", "minimum": 5, "maximum": 9}, 5),
        ({"type": "integer", "minimum": 4.2}, 5),
        ({"type": "integer", "maximum": -3}, -3),
        ({"type": "integer", "exclusiveMaximum": -3}, -4),
        ({"type": "integer", "exclusiveMinimum": 5, "multipleOf": 5}, 10),
        ({"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1}, 0.5),
        ({"type": "number", "exclusiveMinimum": 0}, 1),
        ({"type": "number", "minimum": -2, "maximum": 8}, 0),
        ({"type": ["null", "integer"]}, 0),
        ({"type": "null"}, None),
        ({"type": "boolean"}, False),
        ({"type": "string", "minLength": 2}, "aa"),
        ({"type": "array", "items": {"type": "integer"}, "minItems": 2}, [0, 0]),
        ({"type": "array", "prefixItems": [{"const": 1}], "minItems": 1}, [1]),
        ({"anyOf": [{"type": "null"}, {"type": "string"}]}, None),
        ({"allOf": [{"required": ["a"]}, {"properties": {"a": {"const": 4}}}]}, {"a": 4}),
        ({}, None),
    ],
)
def test_values_are_the_smallest(schema: dict[str, Any], value: Any) -> None:
    jsonschema.validate(value, schema)
    found = minimal_value(schema)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "string", "pattern": "^A+$"},
        {"type": "integer", "minimum": 5, "maximum": 4},
        {"$ref": "#/nowhere"},
        {"$ref": "https://example.org/schema"},
        {"$defs": {"n": {"required": ["n"], "properties": {"n": {"$ref": "#/$defs/n"}}}},
         "$ref": "#/$defs/n"},
        {"type": "string", "minLength": 10**9},
        {"type": "nonsense"},
    ],
)  # fmt: skip
def test_what_cannot_be_satisfied_is_said(schema: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        minimal_value(schema)
