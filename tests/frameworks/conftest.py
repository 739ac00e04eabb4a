"""Fixtures of the framework tests."""

from __future__ import annotations

from typing import Any

import pytest

from tests.actors.stage import Stage


@pytest.fixture
def point(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Does for the clients of user code what a worker's process does."""
    monkeypatch.delenv("OPENAI_API_BASE", raising=False)

    def at_gateway(s: Stage) -> None:
        monkeypatch.setenv("OPENAI_BASE_URL", f"{s.runtime.gateway_url}/v1")
        monkeypatch.setenv("OPENAI_API_KEY", f"{s.runtime.api_key}.worker")

    return at_gateway
