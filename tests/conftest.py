"""What the tests of every room share: the switch that rewrites transcripts, and who runs where."""

from __future__ import annotations

import gc
import os
import warnings
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

# Read when LangGraph is first imported, and set by the adapter, which may come later than that.
os.environ.setdefault("LANGGRAPH_STRICT_MSGPACK", "true")

# Slow is no failure on a machine that is shared: pytest's own time limit is the bound.
settings.register_profile("shared", deadline=None, suppress_health_check=[HealthCheck.too_slow])
# For `make check`, which is run before every commit; `make test` draws the full number.
settings.register_profile("quick", settings.get_profile("shared"), max_examples=20)
settings.load_profile("shared")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--rewrite",
        action="store_true",
        help="write what the code says now into the transcripts, to be reviewed as a diff",
    )


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that start something large share one process: one Ray, one S3 server at a time."""
    for item in items:
        if item.get_closest_marker("ray") and item.get_closest_marker("xdist_group"):
            raise pytest.UsageError(f"{item.nodeid}: two Rays at once are too much for a machine")
        for name in ("ray", "s3"):
            if item.get_closest_marker(name) and not item.get_closest_marker("xdist_group"):
                item.add_marker(pytest.mark.xdist_group(name))


@pytest.fixture
def rewrite(request: pytest.FixtureRequest) -> bool:
    return bool(request.config.getoption("--rewrite"))


@pytest.fixture
def collected() -> Iterator[None]:
    """Collect at the end what a test left in cycles, without a word about sockets in them."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()
