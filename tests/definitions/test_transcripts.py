"""Bad definitions and the lines that tell their mistakes; definitions and what differs."""

from __future__ import annotations

import json

import pytest

from omium.definitions import parse_workflow
from omium.definitions.changes import parts_that_differ
from omium.errors import DefinitionError
from tests.definitions.conftest import TESTDATA
from tests.definitions.transcripts import check

NAMES = ("structure", "relations", "handoffs", "components", "schemas", "yaml")


@pytest.mark.parametrize("name", NAMES)
def test_mistakes_are_told(name: str, rewrite: bool) -> None:
    check(TESTDATA / f"{name}.txt", _problems, rewrite=rewrite)


def _problems(text: str) -> str:
    try:
        parse_workflow(text, "t.yaml")
    except DefinitionError as error:
        return "\n".join(error.problems)
    return ""


def test_what_differs_is_told(rewrite: bool) -> None:
    check(TESTDATA / "changes.txt", _differing, rewrite=rewrite)


def _differing(text: str) -> str:
    before, after = (json.loads(line) for line in text.splitlines())
    return "\n".join(parts_that_differ(before, after))
