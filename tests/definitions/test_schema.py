"""Values against JSON Schemas, the lines that come of it, and the strict form."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omium.definitions import strict, value_problems
from omium.definitions.schema import MAX_PROBLEMS
from omium.definitions.schema_check import schema_problems
from omium.definitions.schema_walk import TYPES, properties, types
from omium.types import Json
from tests.definitions.test_document import JSON_VALUES

RATE: Json = {"type": "number", "minimum": 0, "exclusiveMaximum": 100}
LOAN: dict[str, Json] = {
    "type": "object",
    "properties": {"apr": RATE, "class": {"enum": ["low", "high"]}, "note": {"type": "string"}},
    "required": ["apr", "class"],
    "additionalProperties": False,
}


@pytest.mark.parametrize(
    ("schema", "value", "told"),
    [
        (LOAN, {"apr": 5, "class": "low"}, ()),
        (LOAN, [], ("found an empty list, expected object",)),
        (LOAN, {"class": "low"}, ("apr: found nothing, expected number",)),
        (
            LOAN,
            {"apr": 100, "clas": "low"},
            (
                "apr: found 100, expected a number below 100",
                "clas: unknown key 'clas', expected one of apr, class, note"
                " (did you mean 'class'?)",
            ),
        ),
        (
            LOAN,
            {"apr": True, "class": "hgh", "note": None},
            (
                "apr: found true, expected number",
                "class: found 'hgh', expected one of \"low\", \"high\" (did you mean 'high'?)",
                "note: found null, expected string",
            ),
        ),
        ({"items": RATE}, [1, -1], ("[1]: found -1, expected a number of at least 0",)),
        ({"const": {"a": 1}}, 1, ('found 1, expected {"a": 1}',)),
        ({"pattern": "^a"}, "b", ("found 'b', expected a string that matches \"^a\"",)),
        ({"minLength": 3}, "b", ("found 1 characters, expected at least 3 characters",)),
        ({"maxItems": 1}, [1, 2], ("found 2 items, expected at most 1 items",)),
        ({"multipleOf": 2}, 3, ("found 3, expected a multiple of 2",)),
        ({"type": ["string", "null"]}, 3, ("found 3, expected string or null",)),
        (
            {"anyOf": [{"type": "string"}, {"type": "null"}]},
            3,
            ("found 3, expected string or null",),
        ),
        (
            {"anyOf": [{"type": "null"}, {"properties": {"a": RATE}}]},
            {"a": -1},
            ("a: found -1, expected a number of at least 0",),
        ),
        ({"oneOf": [True, True]}, 3, ("found 3, expected a value that fits just one of oneOf",)),
        ({"properties": {"a": False}}, {"a": 1}, ("found 1, expected nothing here",)),
        (
            {"uniqueItems": True},
            [1, 1],
            ("found a list, expected items that differ from one another",),
        ),
        ({"not": {"type": "number"}}, 1, ("found 1, which breaks 'not' of the schema",)),
        (
            {"$ref": "#/$defs/r", "$defs": {"r": RATE}},
            -1,
            ("found -1, expected a number of at least 0",),
        ),
        ({"format": "date"}, "no date", ()),
    ],
)  # fmt: skip
def test_values(schema: dict[str, Json], value: Json, told: tuple[str, ...]) -> None:
    assert schema_problems(schema) == []
    assert value_problems(schema, value) == told


def test_long_values_are_cut() -> None:
    (line,) = value_problems({"type": "number"}, "x" * 10_000)
    assert len(line) < 100


def test_lines_have_a_bound() -> None:
    assert len(value_problems({"items": RATE}, [-i for i in range(1, 1000)])) == MAX_PROBLEMS


def test_deep_values_end() -> None:
    schema: dict[str, Json] = {"items": {"$ref": "#"}, "type": "array"}
    deep: Json = []
    for _ in range(5000):
        deep = [deep]
    (line,) = value_problems(schema, deep)
    assert line == "found values nested too deep for the schema, expected fewer levels"


def test_schemas_that_multiply_are_refused() -> None:
    definitions: dict[str, Json] = {"x0": {"type": "number"}}
    for i in range(1, 26):
        part: Json = {"$ref": f"#/$defs/x{i - 1}"}
        definitions[f"x{i}"] = {"allOf": [part, part]}
    schema: dict[str, Json] = {"$ref": "#/$defs/x25", "$defs": definitions}
    assert types(schema, schema) == {"number", "integer"}
    assert properties(schema, schema) == {}
    (problem,) = schema_problems(schema)
    assert problem.path == ("$ref",)


def test_many_wrong_keywords_are_bounded() -> None:
    schema: dict[str, Json] = {f"minimun{i}": 1 for i in range(5000)}
    assert len(schema_problems(schema)) <= 200


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({}, set(TYPES)),
        ({"type": "number"}, {"number", "integer"}),
        ({"type": ["null", "string"]}, {"null", "string"}),
        ({"enum": [1, 2.5, "a"]}, {"integer", "number", "string"}),
        ({"anyOf": [{"type": "null"}, {"const": True}]}, {"null", "boolean"}),
        ({"allOf": [{"type": "number"}, {"type": "integer"}]}, {"integer"}),
        ({"$ref": "#/$defs/a", "$defs": {"a": {"type": "array"}}}, {"array"}),
        ({"$ref": "#", "type": "string"}, {"string"}),
    ],
)
def test_types(schema: Json, expected: set[str]) -> None:
    assert types(schema, schema) == expected


def test_strict_closes_and_requires() -> None:
    schema: dict[str, Json] = {
        "type": "object",
        "properties": {"b": {"$ref": "#/$defs/n"}, "a": {"items": {"properties": {"c": True}}}},
        "$defs": {"n": {"properties": {"d": RATE}}},
    }
    closed: dict[str, Json] = {"required": ["c"], "additionalProperties": False}
    assert strict(schema) == {
        "type": "object",
        "properties": {
            "b": {"$ref": "#/$defs/n"},
            "a": {"items": {"properties": {"c": True}, **closed}},
        },
        "$defs": {"n": {"properties": {"d": RATE}, **closed, "required": ["d"]}},
        "required": ["b", "a"],
        "additionalProperties": False,
    }
    assert "required" not in schema


def test_strict_leaves_what_it_would_contradict() -> None:
    schema: dict[str, Json] = {
        "properties": {"a": RATE},
        "allOf": [{"properties": {"b": RATE}, "required": ["b"]}],
    }
    assert strict(schema) == schema
    demanding: dict[str, Json] = {"properties": {"a": RATE}, "required": ["b"]}
    assert strict(demanding) == demanding


@pytest.mark.parametrize(
    ("reference", "place"),
    [("#/$defs/loan", "$defs"), ("#/properties/loan", "properties")],
)
def test_strict_does_not_reach_into_a_not(reference: str, place: str) -> None:
    # Fewer loans would fit the closed form, so that its negation would let more through.
    schema: dict[str, Json] = {
        "properties": {"other": {"not": {"$ref": reference}}},
        place: {
            "loan": {"properties": {"a": RATE}},
            **({"other": {"not": {"$ref": reference}}} if place == "properties" else {}),
        },
    }
    value: Json = {"other": {"a": 1, "b": 2}}
    assert value_problems(schema, value) != ()
    told = value_problems(strict(schema), value)
    assert any(line.startswith("other: ") for line in told)


_names = st.sampled_from("abc")
_leaves: list[Json] = [True, {"type": "number"}, {"type": "string"}, {"$ref": "#/$defs/d"}]
_small = st.recursive(
    st.sampled_from(_leaves),
    lambda inner: st.one_of(
        st.builds(
            lambda props, required: {"type": "object", "properties": props, "required": required},
            st.dictionaries(_names, inner, max_size=3),
            st.lists(_names, unique=True, max_size=2),
        ),
        st.builds(lambda item: {"type": "array", "items": item}, inner),
        st.builds(
            lambda key, parts: {key: parts},
            st.sampled_from(["anyOf", "oneOf", "allOf"]),
            st.lists(inner, min_size=1, max_size=3),
        ),
        st.builds(lambda part: {"not": part}, inner),
    ),
    max_leaves=6,
)  # fmt: skip
_values = st.recursive(
    st.sampled_from(list[Json]([1, "x", None])),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(_names, inner, max_size=3),
    max_leaves=5,
)


@given(_small, _small, _values)
def test_what_fits_the_strict_form_fits_the_schema(
    schema: Json, definition: Json, value: Json
) -> None:
    whole: dict[str, Json] = {
        "properties": {"a": schema},
        "items": schema,
        "$defs": {"d": definition},
    }
    if not schema_problems(whole) and not value_problems(strict(whole), value):
        assert value_problems(whole, value) == ()


@given(JSON_VALUES)
def test_any_schema_is_refused_or_usable(schema: Json) -> None:
    if isinstance(schema, dict) and not schema_problems(schema):
        value_problems(strict(schema), schema)


KEYS = st.sampled_from(
    [
        "type", "properties", "items", "required", "enum", "const", "minimum", "$ref", "$defs",
        "anyOf", "allOf", "not", "if", "then", "additionalProperties", "pattern", "$schema",
        "$anchor", "dependentSchemas", "minLength", "format", "x",
    ]
)  # fmt: skip
_wild = st.recursive(
    st.sampled_from(list[Json]([True, 1, "string", "#", "#/$defs/x", "[", ["string"], None, -1])),
    lambda inner: st.dictionaries(KEYS, inner, max_size=4) | st.lists(inner, max_size=3),
    max_leaves=12,
)


@given(_wild, _values)
def test_any_keywords_are_refused_or_usable(schema: Json, value: Json) -> None:
    if isinstance(schema, dict) and not schema_problems(schema):
        value_problems(schema, value)
        value_problems(strict(schema), value)
