"""The workflows of simulated executions: who hands to whom, and who votes about it."""

from __future__ import annotations

from functools import cache
from random import Random
from typing import Any, Literal

from omium.definitions import Workflow, workflow_from
from omium.types import AgentName, Json

GIVERS = (AgentName("first"), AgentName("other"))
RECEIVER = AgentName("last")
VALIDATORS_MAX = 3

Rule = Literal["all", "majority"] | int


def drawn(random: Random) -> Workflow:
    """One or two agents that hand to another one, which looks at it; mostly after a vote."""
    givers = random.choice([1, 1, 2])
    validators = random.choice([0, 1, 2, 3, 3])
    count = random.randint(1, max(1, validators))
    rules: tuple[Rule, ...] = ("all", "majority", count)
    return _workflow(givers, validators, random.choice(rules))


def output(*, fits: bool, by: str) -> Json:
    """What an agent has made, and whether the receiver takes such a thing at all."""
    return {"fits": fits, "by": by}


@cache
def _workflow(givers: int, validators: int, rule: Rule) -> Workflow:
    # The second of two givers has its output looked at without a vote.
    voted_about: dict[str, Any] = {
        "validators": [f"judges:v{number}" for number in range(1, validators + 1)],
        "rule": rule,
    }
    agents: list[dict[str, Any]] = [_agent(name, retries=1) for name in GIVERS[:givers]]
    takes = {"type": "object", "properties": {"fits": {"const": True}}}
    handoffs = [
        {"from": name, "to": RECEIVER, **(voted_about if validators and not place else {})}
        for place, name in enumerate(GIVERS[:givers])
    ]
    return workflow_from(
        {
            "name": "simulated",
            "version": "1",
            "agents": [*agents, _agent(RECEIVER, input=takes)],
            "handoffs": handoffs,
        }
    )


def _agent(name: AgentName, **fields: Any) -> dict[str, Any]:
    return {"name": name, "framework": "python", "entrypoint": "agents:work", **fields}
