"""What is wrong with the stand-ins of a definition: agents that have another output for a receiver
when that of a giver is not taken.

Pure. Reads plain data, as ``checks`` does.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from omium.definitions.graph import Edge
from omium.definitions.parts import Link, Member, declared_outputs, strings
from omium.definitions.problems import Problem, described, did_you_mean, listed


def standing_in(handoffs: list[Link], names: Collection[str]) -> tuple[list[Edge], list[Edge]]:
    """What stand-ins wait for, as pairs (giver, stand-in), and towards whom they stand in, as pairs
    (stand-in, receiver). Those who cannot stand in are left out."""
    handed: list[Edge] = []
    pairs: list[Edge] = []
    for handoff in handoffs:
        name = _name_in(handoff)
        if name in names and not _fault(handoff, name, handoffs, names):
            handed.append((handoff.giver, name))
            pairs.append((name, handoff.pairs[0][1]))
    return handed, pairs


def stand_in_problems(handoffs: list[Link], members: list[Member]) -> Iterator[Problem]:
    """Names of stand-ins that are nobody's, agents that cannot stand in, handoffs in which nobody
    can, and what is said of stand-ins that does not go with it."""
    names = list(dict.fromkeys(member.name for member in members if member.name))
    takes = {m.name for m in members if m.data.get("input") is not None}
    standing: set[str] = set()
    for handoff in handoffs:
        name = _name_in(handoff)
        if not name:
            continue
        fault = _fault(handoff, name, handoffs, names)
        receivers = {receiver for _, receiver in handoff.pairs}
        if not fault and handoff.data.get("validators") is None and not takes & receivers:
            expected = f"validators beside it, or an input schema of {min(receivers)!r}"
            fault = f"found where everything is taken, expected {expected}"
        if fault:
            yield Problem(path=(*handoff.path, "stand_in"), text=fault)
        else:
            standing.add(name)
            yield from _shared_judges(handoff, handoffs, names)
    for member in members:
        if member.name in standing:
            yield from _fields(member)


def _name_in(handoff: Link) -> str:
    """Who stands in; nobody in a handoff that leads nowhere, of which that is told elsewhere."""
    name = handoff.data.get("stand_in")
    return name if isinstance(name, str) and handoff.pairs else ""


def _fault(handoff: Link, name: str, handoffs: list[Link], names: Collection[str]) -> str:
    """Why the agent ``name`` cannot stand in for the giver of ``handoff``; empty where it can."""
    if handoff.is_loop:
        return "found in a loop, expected when: a way back is not checked"
    if len(handoff.pairs) > 1:
        count = len(handoff.pairs)
        return f"found with {count} receivers, expected one: who stands in does so towards one"
    if name not in names:
        expected = f"the name of an agent: {listed(list(names))}{did_you_mean(name, names)}"
        return f"found {described(name)}, expected {expected}"
    if any(name in pair for other in handoffs for pair in other.pairs):
        return (
            f"found {name!r}, which has handoffs of its own, expected an agent that does nothing "
            "but stand in"
        )
    if any(name in _judges(other, names) for other in handoffs):
        return f"found {name!r}, which votes, expected an agent that does nothing but stand in"
    first = next(other for other in handoffs if _name_in(other) == name)
    if first is not handoff:
        giver, receiver = first.pairs[0] if first.pairs else ("", "")
        return (
            f"found {name!r}, which stands in for {giver!r} towards {receiver!r}, "
            "expected another agent: one stands in once"
        )
    return ""


def _shared_judges(
    handoff: Link, handoffs: list[Link], names: Collection[str]
) -> Iterator[Problem]:
    """Judges who vote anew about what a stand-in hands over, and vote for others as well: these
    would lose the vote that they have."""
    for i, name in strings(handoff.data.get("validators")):
        others = [h for h in handoffs if h is not handoff and h.pairs]
        shared = [h for h in others if name in _judges(h, names)]
        if name in names and shared:
            text = (
                f"found {name!r}, which also votes about what {shared[0].pairs[0][1]!r} is handed, "
                "expected a judge for this handoff alone: it votes anew when somebody stands in"
            )
            yield Problem(path=(*handoff.path, "validators", i), text=text)


def _judges(handoff: Link, names: Collection[str]) -> set[str]:
    return {name for _, name in strings(handoff.data.get("validators")) if name in names}


def _fields(member: Member) -> Iterator[Problem]:
    if member.data.get("input") is not None:
        text = "found for a stand-in, expected none: it is handed what was not taken"
        yield Problem(path=(*member.path, "input"), text=text)
    for path in declared_outputs(member):
        text = "found for a stand-in, expected none: its output is like its giver's"
        yield Problem(path=path, text=text)
