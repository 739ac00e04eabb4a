"""Three agents that hand a list of names on, each with its own added."""

from __future__ import annotations

import itertools
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


VALIDATORS = tuple(
    f"benchmarks.handoff_agents:{name}" for name in ("is_numbered", "is_in_order", "is_dull")
)
VOTED: dict[str, Any] = {
    **WORKFLOW,
    "name": "voted",
    "handoffs": [
        {"from": giver, "to": to, "validators": VALIDATORS, "rule": "majority"}
        for giver, to in itertools.pairwise(NAMES)
    ],
}
"""The same three, whose handoffs are voted about: one of the three voters is always against."""


async def hand_on(context: AgentContext) -> dict[str, Any]:
    """What was handed to this agent, with its name and its epoch."""
    me = context.assignment.agent.name
    place = NAMES.index(me)
    before: Any = context.outputs[NAMES[place - 1]] if place else {"names": []}
    names = [*before["names"], [me, context.assignment.epoch]]
    return {"number": context.inputs["number"], "names": names}


def is_numbered(output: Any) -> bool:
    return output["number"] > 0


async def is_in_order(output: Any) -> tuple[bool, str]:
    names = [name for name, _ in output["names"]]
    return names == [*NAMES[: len(names)]], f"found {names}"


def is_dull(output: Any) -> tuple[bool, str]:
    return False, "this one is never for it"
