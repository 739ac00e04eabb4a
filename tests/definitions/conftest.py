"""Fixtures of the definition tests."""

from __future__ import annotations

from pathlib import Path

import pytest

TESTDATA = Path(__file__).parent / "testdata"


@pytest.fixture
def loan_file() -> Path:
    return TESTDATA / "loan.yaml"
