"""What is wrong with the judges of a definition: agents that vote about handoffs.

Pure. Reads plain data, as ``checks`` does.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator

from omium.definitions.graph import Edge
from omium.definitions.model import AGENT_NAME
from omium.definitions.parts import Link, Member, declared_outputs, strings
from omium.definitions.problems import Path, Problem, described, did_you_mean, listed


def judging(handoffs: list[Link], names: Collection[str]) -> tuple[list[Edge], list[Edge]]:
    """What is handed to judges, as pairs (giver, judge), and whose vote is waited for, as pairs
    (judge, receiver). Those who cannot be judges are left out."""
    busy, givers = _busy(handoffs), dict[str, str]()
    handed: list[Edge] = []
    votes: list[Edge] = []
    for handoff, _, name in _named(handoffs):
        alone = givers.setdefault(name, handoff.giver) == handoff.giver
        if name in names and name not in busy and alone and not handoff.is_loop:
            handed.append((handoff.giver, name))
            votes += [(name, receiver) for _, receiver in handoff.pairs]
    return handed, votes


def judge_problems(handoffs: list[Link], members: list[Member]) -> Iterator[Problem]:
    """Names of validators that are nobody's, agents that cannot be judges, and what is said of
    those that can and does not go with it."""
    busy, givers = _busy(handoffs), dict[str, str]()
    names = list(dict.fromkeys(member.name for member in members if member.name))
    for handoff, path, name in _named(handoffs):
        text = ""
        first = givers.setdefault(name, handoff.giver)
        if name not in names:
            expected = f"package.module:function or the name of an agent: {listed(names)}"
            text = f"found {described(name)}, expected {expected}{did_you_mean(name, names)}"
        elif name in busy:
            text = (
                f"found {name!r}, which has handoffs of its own, expected an agent that votes "
                "and does nothing else"
            )
        elif first != handoff.giver:
            text = (
                f"found {name!r}, which votes about what {first!r} hands over, "
                "expected another agent: one judges one giver"
            )
        if text:
            yield Problem(path=path, text=text)
    for member in members:
        if member.name in givers and member.name not in busy:
            yield from _fields(member)


def _fields(member: Member) -> Iterator[Problem]:
    if member.data.get("input") is not None:
        text = "found for a validator, expected none: what it would not take it votes against"
        yield Problem(path=(*member.path, "input"), text=text)
    for path in declared_outputs(member):
        text = "found for a validator, expected none: its output is its vote"
        yield Problem(path=path, text=text)


def _named(handoffs: list[Link]) -> Iterator[tuple[Link, Path, str]]:
    """The validators that can only be agents, and where they are named."""
    for handoff in handoffs:
        for i, name in strings(handoff.data.get("validators")):
            if re.fullmatch(AGENT_NAME, name):
                yield handoff, (*handoff.path, "validators", i), name


def _busy(handoffs: list[Link]) -> set[str]:
    """The agents that hand to others, or are handed to."""
    return {name for handoff in handoffs for pair in handoff.pairs for name in pair}
