"""Three agents that hand a list of names on, each with its own added."""

from __future__ import annotations

from typing import Any

from omium import AgentContext

NAMES = ("first", "second", "third")
TAKEN: dict[str, Any] = {
    "type": "object",
    "properties": {"number": {"type": "integer"}, "names": {"type": "array", "minItems": 1}},
    "required": ["number", "names"],
}
WORKFLOW: dict[str, Any] = {
    "name": "relay",
    "version": "1",
    "agents": [
        {
            "name": name,
            "framework": "python",
            "entrypoint": "benchmarks.handoff_agents:hand_on",
            **({"input": TAKEN} if place else {}),
        }
        for place, name in enumerate(NAMES)
    ],
}


async def hand_on(context: AgentContext) -> dict[str, Any]:
    """What was handed to this agent, with its name and its epoch."""
    me = context.assignment.agent.name
    place = NAMES.index(me)
    before: Any = context.outputs[NAMES[place - 1]] if place else {"names": []}
    names = [*before["names"], [me, context.assignment.epoch]]
    return {"number": context.inputs["number"], "names": names}
