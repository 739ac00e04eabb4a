"""The order of a workflow's agents: who hands to whom, and who comes before whom.

Pure. Works on names alone, so that it serves a definition that is not yet valid as well. What
an output must fulfil for a handoff to be taken is told with it and not judged here.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from omium.definitions.model import Handoff, Workflow

MAX_CYCLES = 10


Edge: TypeAlias = "tuple[str, str]"
"""(giver, receiver)."""


@dataclass(frozen=True, kw_only=True)
class HandoffGraph:
    """Agents and the handoffs between them.

    ``agents`` are in the order of the definition; ``edges`` are pairs (giver, receiver),
    each once. Of the handoffs, ``loops`` are those that go back: they are no edges, and nobody
    waits for them. ``votes`` are pairs (judge, receiver): the receiver waits for what the judge
    says, and does not see it. ``stand_ins`` are pairs (stand-in, receiver): whose output is handed
    to the receiver when that of the giver is rejected. To both there is an edge from the giver.
    Every answer of several agents is in the order of the definition too, ``order`` apart. Methods
    raise ``KeyError`` for a name that is no agent.
    """

    agents: tuple[str, ...]
    edges: tuple[Edge, ...]
    loops: tuple[Edge, ...] = ()
    votes: tuple[Edge, ...] = ()
    stand_ins: tuple[Edge, ...] = ()

    @property
    def order(self) -> tuple[str, ...]:
        """Every agent after all that hand to it and all that vote about that or stand in, else in
        the order of the definition.

        Agents on a cycle, and those behind one, are left out.
        """
        waits = {agent: {a for a, b in self._waits if b == agent} for agent in self.agents}
        done: list[str] = []
        while ready := next((a for a in self.agents if a in waits and not waits[a]), None):
            done.append(ready)
            del waits[ready]
            for others in waits.values():
                others.discard(ready)
        return tuple(done)

    @property
    def sources(self) -> tuple[str, ...]:
        """Agents that nobody hands to: they start with the inputs alone."""
        return tuple(agent for agent in self.agents if not self.givers(agent))

    @property
    def sinks(self) -> tuple[str, ...]:
        """Agents that hand to nobody: their outputs are the result. A judge's is its vote, and a
        stand-in's goes to its receiver."""
        others = {a for a, _ in (*self.votes, *self.stand_ins)}
        return tuple(a for a in self.agents if not self.receivers(a) and a not in others)

    def givers(self, agent: str) -> tuple[str, ...]:
        """Agents that hand to ``agent`` directly."""
        return self._pick(agent, {a for a, b in self.edges if b == agent})

    def receivers(self, agent: str) -> tuple[str, ...]:
        """Agents that ``agent`` hands to directly."""
        return self._pick(agent, {b for a, b in self.edges if a == agent})

    def judges(self, agent: str) -> tuple[str, ...]:
        """Agents that vote about what is handed to ``agent``."""
        return self._pick(agent, {a for a, b in self.votes if b == agent})

    def judged(self, agent: str) -> tuple[str, ...]:
        """Agents to whom goes what ``agent`` votes about; none, where it is no judge."""
        return self._pick(agent, {b for a, b in self.votes if a == agent})

    def stands_in(self, agent: str) -> str | None:
        """The agent towards whom ``agent`` stands in for another; None, where it is no stand-in."""
        return next(iter(self._pick(agent, {b for a, b in self.stand_ins if a == agent})), None)

    def upstream(self, agent: str) -> tuple[str, ...]:
        """Every agent whose output exists before ``agent`` starts."""
        return self._pick(agent, _reachable(agent, [(b, a) for a, b in self.edges]))

    def downstream(self, agent: str) -> tuple[str, ...]:
        """Every agent that waits, directly or not, for ``agent``."""
        return self._pick(agent, _reachable(agent, self.edges))

    def between(self, loop: Edge) -> tuple[str, ...]:
        """The agents that a loop runs again: its two ends and all that lie between them."""
        giver, receiver = loop
        ahead = {receiver, *_reachable(receiver, self._waits)}
        behind = [(b, a) for a, b in self._waits]
        return self._pick(giver, ahead & {giver, *_reachable(giver, behind)})

    def recalled(self, agent: str) -> tuple[str, ...]:
        """Agents of whose last round ``agent`` sees the output: itself, where it is in a loop,
        and those that come after it there. A vote is seen by nobody else, nor is what a stand-in
        has, but as its giver's."""
        unseen = {a for a, _ in (*self.votes, *self.stand_ins)}
        later = {agent, *(a for a in self.downstream(agent) if a not in unseen)}
        bodies = [self.between(loop) for loop in self.loops]
        return self._pick(agent, {a for body in bodies if agent in body for a in body} & later)

    def crossing(self) -> tuple[str, ...] | None:
        """Agents that would wait for one another for ever: who is handed to from inside of a
        loop and is not part of it waits for the loop to be left."""
        bodies = {loop: self.between(loop) for loop in self.loops}
        waits = [*self._waits]
        for giver, receiver in self.edges:
            outside = [loop for loop, body in bodies.items() if receiver not in body]
            left = [loop for loop in outside if giver in bodies[loop]]
            # A loop that runs the end of another again may have it taken once more.
            for loop in left:
                left += [one for one in outside if loop[0] in bodies[one] and one not in left]
            waits += [(loop[0], receiver) for loop in left]
        return _cycle(self.agents, waits)

    def cycles(self) -> tuple[tuple[str, ...], ...]:
        """Cycles such as ``("a", "b", "a")``, at most :data:`MAX_CYCLES`.

        Taking the last handoff of each away leaves no cycle (if there were not more).
        """
        edges, found = list(self.edges), list[tuple[str, ...]]()
        while len(found) < MAX_CYCLES and (cycle := _cycle(self.agents, edges)):
            found.append(cycle)
            edges.remove((cycle[-2], cycle[-1]))
        return tuple(found)

    @property
    def _waits(self) -> tuple[Edge, ...]:
        """Who is waited for, and by whom."""
        return (*self.edges, *self.votes, *self.stand_ins)

    def _pick(self, agent: str, chosen: set[str]) -> tuple[str, ...]:
        if agent not in self.agents:
            raise KeyError(agent)
        return tuple(a for a in self.agents if a in chosen)


def graph(workflow: Workflow) -> HandoffGraph:
    """The graph of a valid workflow: without cycles, every name an agent."""
    names = [agent.name for agent in workflow.agents]
    if workflow.handoffs is None:
        return graph_of(names, chain_edges(names))
    edges: list[Edge] = []
    loops: list[Edge] = []
    votes: list[Edge] = []
    stand_ins: list[Edge] = []
    for handoff in workflow.handoffs:
        if not isinstance(handoff, Handoff):
            edges += chain_edges(chain_names(handoff))
        else:
            pairs = [(handoff.source, to) for to in handoff.to]
            (loops if handoff.loop is not None else edges).extend(pairs)
            edges += [(handoff.source, judge) for judge in handoff.judges]
            votes += [(judge, to) for judge in handoff.judges for to in handoff.to]
            if handoff.stand_in is not None:
                edges.append((handoff.source, handoff.stand_in))
                stand_ins += [(handoff.stand_in, to) for to in handoff.to]
    return graph_of(names, edges, loops, votes, stand_ins)


def graph_of(
    agents: Iterable[str],
    edges: Iterable[Edge],
    loops: Iterable[Edge] = (),
    votes: Iterable[Edge] = (),
    stand_ins: Iterable[Edge] = (),
) -> HandoffGraph:
    """A graph of ``agents``; repeated names and edges count once, edges to no agent not at all."""
    names = tuple(dict.fromkeys(agents))
    known = set(names)

    def kept(pairs: Iterable[Edge]) -> tuple[Edge, ...]:
        return tuple(dict.fromkeys(pair for pair in pairs if known.issuperset(pair)))

    return HandoffGraph(
        agents=names,
        edges=kept(edges),
        loops=kept(loops),
        votes=kept(votes),
        stand_ins=kept(stand_ins),
    )


def chain_names(chain: str) -> list[str]:
    """The names in ``a -> b -> c``."""
    return [name.strip() for name in chain.split("->")]


def chain_edges(names: Sequence[str]) -> list[tuple[str, str]]:
    """Each of ``names`` to the next."""
    return list(itertools.pairwise(names))


def _receivers(edges: Iterable[tuple[str, str]]) -> Mapping[str, list[str]]:
    receivers: defaultdict[str, list[str]] = defaultdict(list)
    for a, b in edges:
        receivers[a].append(b)
    return receivers


def _reachable(start: str, edges: Iterable[tuple[str, str]]) -> set[str]:
    receivers = _receivers(edges)
    reached: set[str] = set()
    ahead = [start]
    while ahead:
        new = [b for b in receivers.get(ahead.pop(), ()) if b not in reached]
        reached.update(new)
        ahead += new
    return reached


def _cycle(agents: Sequence[str], edges: Sequence[tuple[str, str]]) -> tuple[str, ...] | None:
    receivers = _receivers(edges)
    finished: set[str] = set()
    for root in agents:
        trail: list[str] = []
        open_edges = [iter([root])]
        while open_edges:
            agent = next(open_edges[-1], None)
            if agent is None:
                open_edges.pop()
                if trail:
                    finished.add(trail.pop())
            elif agent in trail:
                return (*trail[trail.index(agent) :], agent)
            elif agent not in finished:
                trail.append(agent)
                open_edges.append(iter(receivers.get(agent, ())))
    return None
