"""The adapter laws on plain Python."""

from __future__ import annotations

import pytest

from omium.testing.adapter_laws import AdapterLaws, Subject
from tests.frameworks.laws import plain


class TestPlain(AdapterLaws):
    every_point = True

    @pytest.fixture
    def subject(self) -> Subject:
        return plain.subject()
