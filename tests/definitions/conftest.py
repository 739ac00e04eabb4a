"""Fixtures of the definition tests, and the switch that rewrites their transcripts."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

TESTDATA = Path(__file__).parent / "testdata"


def pytest_addoption(parser: pytest.Parser) -> None:
    # The transcript tests of another folder may have added the same switch already.
    with contextlib.suppress(ValueError):
        parser.addoption(
            "--rewrite",
            action="store_true",
            help="write what the code says now into the transcripts, to be reviewed as a diff",
        )


@pytest.fixture
def rewrite(request: pytest.FixtureRequest) -> bool:
    return bool(request.config.getoption("--rewrite", default=False))


@pytest.fixture
def loan_file() -> Path:
    return TESTDATA / "loan.yaml"
