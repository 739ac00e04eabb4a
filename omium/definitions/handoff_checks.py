"""What is wrong with the handoffs of a definition: their names, conditions, loops and order.

Pure. Reads plain data, as ``checks`` does.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from omium.definitions.graph import Edge, HandoffGraph, chain_edges, graph_of
from omium.definitions.judge_checks import judge_problems, judging
from omium.definitions.parts import Link, Member, final_output, items, links, strings
from omium.definitions.problems import Path, Problem, described, did_you_mean, listed
from omium.definitions.schema_check import schema_problems
from omium.definitions.schema_walk import properties
from omium.definitions.stand_in_checks import stand_in_problems, standing_in
from omium.types import Json


def graph_in(
    data: Mapping[str, Json], members: list[Member]
) -> tuple[HandoffGraph, tuple[Problem, ...]]:
    """The graph of what can be read, and the names in it that are no agent's."""
    names = list(dict.fromkeys(m.name for m in members if m.name))
    if data.get("handoffs") is None:
        return graph_of(names, chain_edges(names)), ()
    problems: list[Problem] = []
    edges: list[Edge] = []
    loops: list[Edge] = []
    handoffs = list(links(data.get("handoffs")))
    for handoff in handoffs:
        for pair in handoff.pairs:
            for name in pair:
                if name not in names:
                    expected = f"the name of an agent: {listed(names)}{did_you_mean(name, names)}"
                    text = f"found {described(name)}, expected {expected}"
                    problems.append(Problem(path=handoff.path, text=text))
            (loops if handoff.is_loop else edges).append(pair)
    handed, votes = judging(handoffs, names)
    to_stand_ins, stand_ins = standing_in(handoffs, names)
    edges += [*handed, *to_stand_ins]
    return graph_of(names, edges, loops, votes, stand_ins), tuple(problems)


def voted_about(data: Mapping[str, Json]) -> set[str]:
    """The agents that are handed something about which validators vote."""
    return {
        receiver
        for handoff in links(data.get("handoffs"))
        if handoff.data.get("validators") is not None
        for _, receiver in handoff.pairs
    }


def handoff_problems(
    data: Mapping[str, Json], members: list[Member], graph: HandoffGraph
) -> Iterator[Problem]:
    """Every mistake in the handoffs of ``data`` but names that are no agent's."""
    handoffs = list(links(data.get("handoffs")))
    if all(handoff.is_plain for handoff in handoffs):
        yield from _cycles(handoffs, graph)
        return
    outputs = {member.name: final_output(member) for member in members}
    yield from _repeated(handoffs)
    for handoff in handoffs:
        yield from _condition(handoff, handoffs, outputs)
        yield from _votes(handoff)
        if handoff.is_loop:
            yield from _loop(handoff, graph)
    yield from judge_problems(handoffs, members)
    yield from stand_in_problems(handoffs, members)
    cycles = list(_cycles(handoffs, graph))
    yield from cycles or _crossing(handoffs, graph)


def _repeated(handoffs: list[Link]) -> Iterator[Problem]:
    first: dict[Edge, Link] = {}
    for handoff in handoffs:
        for pair in handoff.pairs:
            known = first.setdefault(pair, handoff)
            if known is not handoff and not (known.is_plain and handoff.is_plain):
                text = f"found a second handoff from {pair[0]!r} to {pair[1]!r}, expected one"
                yield Problem(path=handoff.path, text=text)


def _condition(
    handoff: Link, handoffs: list[Link], outputs: Mapping[str, Json]
) -> Iterator[Problem]:
    when, path = handoff.data.get("when"), handoff.path
    giver = handoff.giver
    if handoff.data.get("otherwise"):
        if when is not None:
            text = "found beside when, expected one of the two"
            yield Problem(path=(*path, "otherwise"), text=text)
        elif handoff.is_loop:
            text = "found in a loop, expected when: what comes otherwise is the way on"
            yield Problem(path=(*path, "otherwise"), text=text)
        elif not any(h.giver == giver and h.data.get("when") is not None for h in handoffs):
            text = f"found no handoff from {giver!r} with when, expected one beside this"
            yield Problem(path=(*path, "otherwise"), text=text)
    if isinstance(when, dict):
        problems = schema_problems(when, (*path, "when"))
        yield from problems
        if not problems:
            yield from _fields(when, (*path, "when"), giver, outputs.get(giver))


def _fields(when: dict[str, Json], path: Path, giver: str, output: Json) -> Iterator[Problem]:
    """Fields that a condition is about and the output has not, or may lack.

    To lack a field is to fulfil every ``properties`` about it (JSON Schema, 10.3.2.1), which
    nobody means who writes a condition.
    """
    named = when.get("properties")
    known = properties(output, output) if output is not None else None
    there: set[Json] = set()
    for schema in (when, output):
        required = schema.get("required") if isinstance(schema, dict) else None
        there.update(required if isinstance(required, list) else ())
    for name in named if isinstance(named, dict) else ():
        place = (*path, "properties", name)
        if known is not None and name not in known:
            expected = f"a field of the output of {giver!r}: {listed(known)}"
            text = f"found {described(name)}, expected {expected}{did_you_mean(name, known)}"
            yield Problem(path=place, text=text)
        elif name not in there:
            text = "found a field that the output may lack, expected it under required too"
            yield Problem(path=place, text=text)


def _votes(handoff: Link) -> Iterator[Problem]:
    named, rule, path = handoff.data.get("validators"), handoff.data.get("rule"), handoff.path
    if named is None:
        if rule is not None:
            text = "found without validators, expected these beside it"
            yield Problem(path=(*path, "rule"), text=text)
        return
    if handoff.is_loop:
        text = "found in a loop, expected when: a way back is not voted about"
        yield Problem(path=(*path, "validators"), text=text)
    first: set[str] = set()
    for i, name in strings(named):
        if name in first:
            text = f"found {name!r} a second time, expected each once: one has one vote"
            yield Problem(path=(*path, "validators", i), text=text)
        first.add(name)
    voters = len(items(named))
    if isinstance(rule, int) and voters and rule > voters:
        text = f"found {rule}, expected at most {voters}, as many as there are validators"
        yield Problem(path=(*path, "rule"), text=text)


def _loop(handoff: Link, graph: HandoffGraph) -> Iterator[Problem]:
    if len(handoff.pairs) > 1:
        text = f"found {len(handoff.pairs)} agents, expected one: a loop goes back to one agent"
        yield Problem(path=(*handoff.path, "to"), text=text)
    for giver, receiver in handoff.pairs:
        if giver not in graph.agents or receiver not in graph.agents:
            continue
        upstream = [*graph.upstream(giver), giver]
        if receiver not in upstream:
            expected = f"an agent before {giver!r} or itself: {listed(upstream)}"
            text = f"found a loop to {receiver!r}, expected {expected}"
            yield Problem(path=(*handoff.path, "to"), text=text)


def _cycles(handoffs: list[Link], graph: HandoffGraph) -> Iterator[Problem]:
    for cycle in graph.cycles():
        closing = cycle[-2:]
        path = next(h.path for h in handoffs if not h.is_loop and closing in h.pairs)
        text = (
            f"found the cycle {' -> '.join(cycle)}, expected handoffs that never come back "
            "(or one with loop: {max: 1})"
        )
        yield Problem(path=path, text=text)


def _crossing(handoffs: list[Link], graph: HandoffGraph) -> Iterator[Problem]:
    cycle = graph.crossing()
    if cycle is not None:
        # At least one of them waits for a loop to be left: for the agent that hands back.
        path = next(h.path for h in handoffs if h.is_loop and h.giver in cycle)
        text = (
            f"found loops through which {' -> '.join(cycle)} wait for one another, "
            "expected one agent, after all of these, that hands back"
        )
        yield Problem(path=path, text=text)
