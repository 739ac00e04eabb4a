"""Bad definitions and the exact lines that tell their mistakes."""

from __future__ import annotations

import pytest

from omium.definitions import parse_workflow
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
