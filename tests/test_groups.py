"""Tests that start something large run one at a time: pytest-xdist knows which by their group."""

from __future__ import annotations

import os

import pytest


@pytest.mark.xdist_group("grouped")
def test_the_group_of_a_test_is_known_to_who_hands_it_out(request: pytest.FixtureRequest) -> None:
    """By its id. A pytest whose ids cannot be added to loses it, and two Rays start at once."""
    grouping = bool(request.config.getoption("loadgroup", default=False))
    at_once = os.environ.get("PYTEST_XDIST_WORKER") is not None
    assert request.node.nodeid.endswith("@grouped") == (at_once and grouping)
