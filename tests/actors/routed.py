"""Agents of workflows with conditions and loops: a writer that is sent back, and a critic."""

from __future__ import annotations

from typing import Any

from omium.frameworks.plain import AgentContext
from tests.actors.agents import ask
from tests.actors.gates import gate_of


async def write(context: AgentContext) -> dict[str, Any]:
    """Asks the same question and pays the same in every round, with a checkpoint between.

    Held after the checkpoint at the gate that ``inputs.hold`` names, in round ``inputs.in``.
    """
    said = context.state or await ask(context, "draft")
    if context.state is None:
        await context.checkpoint(said, "drafted")
    if context.assignment.round == context.inputs.get("in"):
        await gate_of(str(context.inputs["hold"])).held(context.assignment.epoch)
    await context.call_tool("put", till=context.inputs["till"], amount=1)
    return {
        "round": context.assignment.round,
        "note": context.outputs.get("critic"),
        "draft": said,
        "padding": context.inputs.get("padding", ""),
    }


async def judge(context: AgentContext) -> dict[str, Any]:
    """Approves in round ``inputs.rounds``, and wants more before."""
    enough = context.assignment.round >= int(str(context.inputs["rounds"]))
    return {
        "verdict": "approve" if enough else "revise",
        "number": context.assignment.round,
        "padding": context.inputs.get("padding", ""),
    }
