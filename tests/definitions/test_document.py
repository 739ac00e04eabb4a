"""The bounds of the text of a definition, and what YAML values it knows."""

from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omium.definitions.document import (
    MAX_ALIASES,
    MAX_TEXT_BYTES,
    read_document,
)
from omium.definitions.plain import MAX_DEPTH, MAX_NODES
from omium.errors import DefinitionError

JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**20), 10**20)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4)
        # YAML takes keys of 1,024 characters at most (YAML 1.2.2, section 7.4.2), escapes included.
        | st.dictionaries(
            st.text(st.characters(exclude_categories=["Cs"]), max_size=80), inner, max_size=4
        )
    ),
    max_leaves=20,
)


def _problem(text: str) -> str:
    with pytest.raises(DefinitionError) as error:
        read_document(text, "t.yaml")
    assert error.value.source == "t.yaml"
    (line,) = error.value.problems
    return line


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a: null", None),
        ("a: ~", None),
        ("a:", None),
        ("a: TRUE", True),
        ("a: yes", "yes"),
        ("a: on", "on"),
        ("a: -12", -12),
        ("a: 0o14", 12),
        ("a: 0xfF", 255),
        ("a: 014", 14),
        ("a: .5", 0.5),
        ("a: 1e3", 1000.0),
        ("a: 5.", 5.0),
        ("a: 1_000", "1_000"),
        ("a: 2026-11-01", "2026-11-01"),
        ("a: +", "+"),
        ("a: 'null'", "null"),
        ("a: !!str 5", "5"),
        ("a: !!float 5.5", 5.5),
        ("a: !!null ''", ""),
        ("a: |\n  x\n  y\n", "x\ny\n"),
        ("a: >-\n  x\n  y\n", "x y"),
        ("%YAML 1.2\n---\na: b\n...\n", "b"),
        ("\ufeffa: b", "b"),
    ],
)
def test_the_core_schema(text: str, value: object) -> None:
    if text == "a: !!null ''":
        # Quotes do not outweigh a tag, and this tag fits the empty text.
        value = None
    document = read_document(text, "t")
    assert document.problems == ()
    assert document.value == {"a": value}
    assert type(document.value["a"]) is type(value)


@given(JSON_VALUES)
def test_json_is_read_as_json(value: object) -> None:
    for text in (json.dumps({"a": value}), json.dumps({"a": value}, indent=1)):
        assert read_document(text, "t").value == {"a": value}


@given(st.text(alphabet="ab:-[]{}&*!|>\"'\\%#?, \n\tuUxFf0189<.~", max_size=40))
def test_any_text_is_a_document_or_a_definition_error(text: str) -> None:
    with contextlib.suppress(DefinitionError):
        read_document(text, "t")


@given(st.text(max_size=20))
def test_any_characters_are_a_document_or_a_definition_error(text: str) -> None:
    for each in (text, f"a: {text}", f'a: "{text}"'):
        with contextlib.suppress(DefinitionError):
            read_document(each, "t")


def test_lines_of_places() -> None:
    document = read_document("a:\n  - b: 1\n    c: |\n      x\n  -\n    - 2\n", "t")
    assert document.lines == {
        (): 1,
        ("a",): 1,
        ("a", 0): 2,
        ("a", 0, "b"): 2,
        ("a", 0, "c"): 3,
        ("a", 1): 6,
        ("a", 1, 0): 6,
    }


def test_text_has_a_bound() -> None:
    # A comment costs the parser nothing, so that only the bound is met.
    fits = "a: b #" + "x" * (MAX_TEXT_BYTES - 6)
    assert read_document(fits, "t").value == {"a": "b"}
    expected = f"found {MAX_TEXT_BYTES + 1} bytes, expected at most {MAX_TEXT_BYTES} bytes"
    assert _problem(fits + "x") == expected
    assert _problem(fits[:-1] + "é") == expected


def test_nesting_has_a_bound() -> None:
    depth = MAX_DEPTH - 1
    assert read_document("a: " + "[" * depth + "]" * depth, "t").problems == ()
    told = f"found values nested more than {MAX_DEPTH} deep, expected fewer levels"
    assert _problem("a: " + "[" * MAX_DEPTH + "]" * MAX_DEPTH) == f"line 1: {told}"
    assert _problem("\n" + "- " * 400_000) == f"line 2: {told}"


def test_nesting_counts_through_aliases() -> None:
    half = MAX_DEPTH // 2
    deep = "[" * half + "]" * half
    assert read_document(f"a: &x {deep}\nb: *x", "t").problems == ()
    text = f"a: &x {deep}\nb: {'[' * (half + 1)}*x{']' * (half + 1)}"
    assert _problem(text).startswith("line 2: found values nested more than")


def test_aliases_have_a_bound() -> None:
    text = "a: &x 1\nb:\n" + "  - *x\n" * MAX_ALIASES
    assert len(read_document(text, "t").value["b"]) == MAX_ALIASES  # type: ignore[arg-type]
    told = f"found more than {MAX_ALIASES} aliases, expected fewer"
    assert _problem(text + "  - *x\n") == f"line {MAX_ALIASES + 3}: {told}"


def test_aliases_do_not_multiply() -> None:
    levels = [f"l{i}: &l{i} [{', '.join([f'*l{i - 1}'] * 8)}]" for i in range(1, 8)]
    line = _problem("\n".join(["l0: &l0 [x, x, x, x, x, x, x, x, x, x]", *levels]))
    expected = f"found more than {MAX_NODES} values (aliases followed), expected fewer"
    assert line == f"line 5: {expected}"


def test_values_have_a_bound() -> None:
    assert "more than" in _problem("a:\n" + "- 1\n" * (MAX_NODES + 1))


def test_numbers_have_a_bound() -> None:
    digits = "9" * 5000
    expected = "line 1: found a number of 5000 characters, expected a smaller one"
    assert _problem(f"a: {digits}") == expected
    assert read_document("a: 1e999", "t").problems[0].text == "found inf, expected a finite number"
