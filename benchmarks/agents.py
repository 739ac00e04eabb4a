"""Agents that the benchmarks run."""

from __future__ import annotations

import time
from typing import Any

from omium import AgentContext

STEPS = 10
STATE_BYTES = 1_024


async def ten_steps(context: AgentContext) -> dict[str, Any]:
    """Ten steps that do nothing but checkpoint 1 KB each; returns what each took, in ms."""
    padding = "x" * STATE_BYTES
    taken: list[float] = []
    for number in range(STEPS):
        started = time.perf_counter()
        await context.checkpoint({"number": number, "padding": padding})
        taken.append((time.perf_counter() - started) * 1000)
    return {"step_ms": taken}
