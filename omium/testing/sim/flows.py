"""The workflows of simulated executions: who hands to whom, who votes about it, who stands in, who
runs again.

And what their agents make, which says where it comes from: by that ``received`` tells whether an
output has got to where it was handed.
"""

from __future__ import annotations

from functools import cache
from random import Random
from typing import Any, Literal, NamedTuple

import msgspec

from omium.definitions import Workflow, workflow_from
from omium.execution.records import Payload
from omium.types import AgentName, Json

FIRST, OTHER, RECEIVER = AgentName("first"), AgentName("other"), AgentName("last")
BRANCHES = (AgentName("left"), AgentName("right"))
AFTER = AgentName("after")
JUDGES = (AgentName("judge"), AgentName("jury"))
VALIDATORS_MAX = 3

Rule = Literal["all", "majority"] | int
Shape = Literal["chain", "in", "out_and_in"]
Then = Literal["continue", "fail"]

GIVERS: dict[Shape, tuple[AgentName, ...]] = {
    "chain": (FIRST,),
    "in": (FIRST, OTHER),
    "out_and_in": (FIRST, *BRANCHES),
}
"""Who hands over, and may be stood in for: who comes first more often."""

_AGAIN: dict[str, Json] = {
    "type": "object",
    "properties": {"again": {"const": True}},
    "required": ["again"],
}
_FITS: dict[str, Json] = {"type": "object", "properties": {"fits": {"const": True}}}


class _Drawn(NamedTuple):
    """``back`` is to whom the receiver hands back, at most ``rounds`` times, and ``limit_s`` how
    long what is handed to it may wait. Others stand in for those who are ``stood_for``; who hands
    over may run again ``retries`` times."""

    shape: Shape
    validators: int
    judges: int
    rule: Rule
    back: AgentName | None
    rounds: int
    then: Then
    after: bool
    limit_s: float | None
    stood_for: tuple[AgentName, ...] = ()
    retries: int = 1


def drawn(random: Random) -> Workflow:
    """One agent or two that hand to another one, or one whose output goes to two, and what these
    make to another one. Receivers look at what they get, mostly after a vote; in a third, the last
    one hands back. In half of them others stand in for one or two who hand over."""
    validators = random.choice([0, 1, 2, 3, 3])
    judges = random.choice([0, 0, 1, 2]) if validators else random.choice([0, 0, 0, 1])
    count = random.randint(1, max(1, validators + judges))
    rules: tuple[Rule, ...] = ("all", "majority", count)
    loops = random.random() < 0.35
    thens: tuple[Then, ...] = ("continue", "fail")
    shapes: tuple[Shape, ...] = ("chain", "chain", "in", "out_and_in")
    shape = random.choice(shapes)
    alone = _Drawn(
        shape=shape,
        validators=validators,
        judges=judges,
        rule=random.choice(rules),
        back=random.choice([FIRST, FIRST, RECEIVER]) if loops else None,
        rounds=random.choice([1, 1, 2]) if loops else 0,
        then=random.choice(thens) if loops else "continue",
        after=loops and random.random() < 0.5,
        limit_s=random.choice([0.1, 0.4]) if random.random() < 0.3 else None,
    )
    if random.random() < 0.5:
        return _workflow(alone)
    stood_for = GIVERS[shape][: random.choice([1, 1, 2])]
    return _workflow(alone._replace(stood_for=stood_for, retries=random.choice([0, 0, 1])))


@cache
def _workflow(of: _Drawn) -> Workflow:
    # What a second giver hands over is looked at without a vote.
    voters = [f"judges:v{n}" for n in range(1, of.validators + 1)] + [*JUDGES[: of.judges]]
    voted: dict[str, Any] = {"validators": voters, "rule": of.rule} if voters else {}
    takes: dict[str, Any] = {"input": _FITS}
    if of.limit_s is not None:
        takes["accept_timeout_s"] = of.limit_s
    agents = [
        _agent(FIRST, retries=of.retries),
        *(_agent(judge) for judge in JUDGES[: of.judges]),
        *(_agent(_stand_in(giver)) for giver in of.stood_for),
    ]
    match of.shape:
        case "chain":
            handoffs = [{"from": FIRST, "to": RECEIVER, **voted}]
        case "in":
            agents.append(_agent(OTHER, retries=of.retries))
            handoffs = [
                {"from": FIRST, "to": RECEIVER, **voted},
                {"from": OTHER, "to": RECEIVER},
            ]
        case "out_and_in":
            agents += [_agent(branch, retries=of.retries, **takes) for branch in BRANCHES]
            # Who stands in does so towards one.
            apart = {"from": FIRST, "to": BRANCHES[1]}
            together = {"from": FIRST, "to": [*BRANCHES], **voted}
            handoffs = [
                *([{**together, "to": BRANCHES[0]}, apart] if of.stood_for else [together]),
                *({"from": branch, "to": RECEIVER} for branch in BRANCHES),
            ]
    for giver in of.stood_for:
        first = next(handoff for handoff in handoffs if handoff["from"] == giver)
        first["stand_in"] = _stand_in(giver)
    agents.append(_agent(RECEIVER, **takes))
    if of.back is not None:
        loop = {"max": of.rounds, "then": of.then}
        handoffs.append({"from": RECEIVER, "to": of.back, "when": _AGAIN, "loop": loop})
    if of.after:
        agents.append(_agent(AFTER))
        handoffs.append({"from": RECEIVER, "to": AFTER})
    flow = {"name": "simulated", "version": "1", "agents": agents, "handoffs": handoffs}
    return workflow_from(flow)


def _stand_in(giver: AgentName) -> AgentName:
    """Who stands in for a giver, where anybody does."""
    return AgentName(f"for_{giver}")


def _agent(name: AgentName, **fields: Any) -> dict[str, Any]:
    return {"name": name, "framework": "python", "entrypoint": "agents:work", **fields}


# ------------------------------------------------------------------------------- what is made


class _Made(msgspec.Struct, frozen=True, kw_only=True):
    fits: bool
    again: bool
    by: str
    of: dict[str, str]


def output(
    *, fits: bool, by: str, again: bool = False, of: dict[AgentName, str] | None = None
) -> Json:
    """What an agent has made: whether the receiver takes such a thing at all, whether it is to be
    handed back, by whom it is, and of which other outputs."""
    return {"fits": fits, "again": again, "by": by, "of": dict[str, Json](of or {})}


def made_by(payload: Payload) -> str:
    """Who has made an output. Raises ``msgspec.ValidationError`` where it is none."""
    return _convert(payload).by


def made_of(payload: Payload) -> dict[str, str]:
    """Who has made what the maker of an output got, by agent. Raises as ``made_by`` does."""
    return _convert(payload).of


def _convert(payload: Payload) -> _Made:
    return msgspec.convert(payload.inline, _Made)


def about(by: str) -> str:
    """What a vote about an output says."""
    return f"of {by}"
