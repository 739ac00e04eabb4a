"""Agents that hand something to others who look at it first."""

from __future__ import annotations

from typing import Any

from omium.frameworks.plain import AgentContext


async def heed(context: AgentContext) -> Any:
    """Hands over what it is told of its last output, or a bad one at first."""
    if not context.rejections:
        return {"rate": 50}
    return {"rate": 5, "last": context.outputs["giver"], "why": context.rejections}


async def give(context: AgentContext) -> Any:
    """Hands over the one of ``inputs.values`` that is for this round, or the last of them, after
    a checkpoint and a tool call."""
    values: Any = context.inputs["values"]
    round_ = context.assignment.round
    await context.checkpoint(round_)
    return values[min(round_, len(values)) - 1]


async def mend(context: AgentContext) -> Any:
    """Stands in for ``giver``: hands over ``inputs.mended`` after a checkpoint, and what it is told
    of the output that was not taken."""
    mended: Any = context.inputs["mended"]
    await context.checkpoint("looked")
    return {**mended, "instead_of": context.outputs["giver"], "why": context.rejections}
