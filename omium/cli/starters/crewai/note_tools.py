"""The researcher's tool."""

from __future__ import annotations

from typing import Literal

KINDS = {"rain": "weather", "bridges": "building", "tea": "drink"}


def look_up(topic: Literal["rain", "bridges", "tea"]) -> dict[str, str]:
    """Look a topic up and return its kind."""
    return {"kind": KINDS[topic]}
