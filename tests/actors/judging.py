"""Agents that vote about what is handed over."""

from __future__ import annotations

from collections import Counter
from typing import Any

from omium.frameworks.plain import AgentContext

asked: Counter[str] = Counter()
"""How often a judge was asked about an output, by the output's ``token``."""


async def small(context: AgentContext) -> dict[str, Any]:
    """Is against rates above 10."""
    rated: Any = context.outputs["giver"]
    asked[str(rated["token"])] += 1
    rate = rated["rate"]
    return {"ballot": "for" if rate <= 10 else "against", "reason": f"{rate} of at most 10"}


async def vague(context: AgentContext) -> Any:
    """No vote at first; a vote in so many words when it is tried again."""
    rated: Any = context.outputs["giver"]
    asked[str(rated["token"])] += 1
    if asked[str(rated["token"])] == 1:
        return True
    return {"ballot": "against", "reason": "x" * 100_000}
