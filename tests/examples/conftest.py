"""The real embedded model, as in the tests of the room that runs it."""

from __future__ import annotations

from tests.llm.conftest import smollm2

__all__ = ["smollm2"]
