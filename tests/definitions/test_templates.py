"""The grammar of templates and their rendering."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omium.definitions import escaped, render
from omium.definitions.templates import Reference, mistake, references
from omium.errors import InputError
from omium.types import Json

VALUES: dict[str, Json] = {
    "principal": 10000,
    "rate": 5.5,
    "ok": True,
    "none": None,
    "note": "a {principal} b",
    "loan": {"apr": {"percent": 5.5}, "tags": ["é"]},
}


@pytest.mark.parametrize(
    ("text", "rendered"),
    [
        ("", ""),
        ("no reference", "no reference"),
        ("{principal} at {rate}", "10000 at 5.5"),
        ("{ principal }", "10000"),
        ("{ok} {none}", "true null"),
        ("{loan}", '{"apr": {"percent": 5.5}, "tags": ["é"]}'),
        ("{loan.apr} {loan.apr.percent} {loan.tags}", '{"percent": 5.5} 5.5 ["é"]'),
        ("{{principal}} {{{principal}}}", "{principal} {10000}"),
        ("{note}", "a {principal} b"),
    ],
)
def test_rendering(text: str, rendered: str) -> None:
    assert mistake(text) is None
    assert render(text, VALUES) == rendered


@pytest.mark.parametrize(
    "text", ["{", "}", "{}", "{a b}", "{1}", "{a.}", "{a!r}", "{a:5}", '{"a"}']
)
def test_stray_braces(text: str) -> None:
    assert mistake(text) is not None
    assert references(text) == ()
    with pytest.raises(InputError, match="a brace itself is written twice"):
        render(text, {"a": 1})


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{rat}", "{rat}: found no such value, expected principal, .*did you mean 'rate'"),
        ("{loan.ap}", "{loan.ap}: found fields apr, tags at 'loan', expected a field 'ap'"),
        ("{rate.x}", "{rate.x}: found 5.5 at 'rate', expected a field 'x'"),
        ("{loan.tags.0}", "{loan.tags.0}: found a list at 'loan.tags', expected a field '0'"),
    ],
)
def test_values_that_are_not_there(text: str, told: str) -> None:
    with pytest.raises(InputError, match=told):
        render(text, VALUES)


@given(st.text())
def test_escaped_text_stands_for_itself(text: str) -> None:
    assert render(escaped(text), {}) == text
    assert references(escaped(text)) == ()


def test_references_are_told_once() -> None:
    expected = (Reference(name="a", fields=("b", "c")), Reference(name="d", fields=()))
    assert references("{a.b.c} {d} {a.b.c} {{e}}") == expected
    assert [str(reference) for reference in expected] == ["{a.b.c}", "{d}"]
