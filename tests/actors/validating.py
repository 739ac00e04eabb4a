"""Functions that vote about what is handed over."""

from __future__ import annotations

from collections import Counter
from typing import Any

from omium.types import Json

asked: Counter[tuple[str, str]] = Counter()
"""How often each was asked about an output, by the output's ``token``."""


def _ask(validator: str, output: Json) -> Any:
    rated: Any = output
    asked[validator, str(rated.get("token", ""))] += 1
    return rated.get("rate")


def small(output: Json) -> bool:
    return _ask("small", output) <= 10


async def even(output: Json) -> tuple[bool, str]:
    return _ask("even", output) % 2 == 0, "an even number was asked for"


def rising(output: Json) -> bool:
    """Raises for more than 20, and changes what it was given."""
    rate = _ask("rising", output)
    if rate > 20:
        raise ValueError("far too much")
    changed: Any = output
    changed["rate"] = 0
    return True


def vague(output: Json) -> Any:
    """No vote."""
    return _ask("vague", output)
