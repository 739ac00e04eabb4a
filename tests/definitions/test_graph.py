"""Laws of the handoff graph."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omium.definitions import graph, load_workflow, workflow_from
from omium.definitions.graph import MAX_CYCLES, HandoffGraph, graph_of

_names = st.integers(1, 7).map(lambda count: "abcdefg"[:count])
_graphs = _names.flatmap(
    lambda names: st.builds(
        graph_of,
        st.permutations(names),
        st.lists(st.tuples(st.sampled_from(names), st.sampled_from(names)), max_size=15),
    )
)


def _acyclic(any_graph: HandoffGraph) -> HandoffGraph:
    return graph_of(any_graph.agents, [(a, b) for a, b in any_graph.edges if a < b])


@given(_graphs.map(_acyclic))
def test_the_order_has_every_agent_after_its_givers(g: HandoffGraph) -> None:
    assert sorted(g.order) == sorted(g.agents)
    place = {agent: i for i, agent in enumerate(g.order)}
    assert all(place[a] < place[b] for a, b in g.edges)
    assert g.cycles() == ()


@given(_graphs.map(_acyclic))
def test_without_handoffs_between_them_agents_keep_their_order(g: HandoffGraph) -> None:
    ranks = {agent: i for i, agent in enumerate(g.agents)}
    for i, agent in enumerate(g.order):
        waiting = [a for a in g.order[i:] if set(g.givers(a)) <= set(g.order[:i])]
        assert ranks[agent] == min(ranks[a] for a in waiting)


@given(_graphs)
def test_upstream_is_what_hands_directly_or_through_others(g: HandoffGraph) -> None:
    for agent in g.agents:
        expected = set(g.givers(agent)).union(*(g.upstream(a) for a in g.givers(agent)))
        assert set(g.upstream(agent)) == expected
        assert all(agent in g.downstream(a) for a in g.upstream(agent))
        assert all(agent in g.upstream(a) for a in g.downstream(agent))


@given(_graphs)
def test_ends(g: HandoffGraph) -> None:
    assert set(g.sources) == set(g.agents) - {b for _, b in g.edges}
    assert set(g.sinks) == set(g.agents) - {a for a, _ in g.edges}


@given(_graphs)
def test_cycles_are_cycles_and_all_of_them(g: HandoffGraph) -> None:
    edges = list(g.edges)
    for cycle in g.cycles():
        assert cycle[0] == cycle[-1]
        assert all(step in edges for step in itertools.pairwise(cycle))
        edges.remove((cycle[-2], cycle[-1]))
    assert bool(g.cycles()) == (len(g.order) < len(g.agents))
    if len(g.cycles()) < MAX_CYCLES:
        assert len(graph_of(g.agents, edges).order) == len(g.agents)


def test_cycles_have_a_bound() -> None:
    names = [f"a{i}" for i in range(MAX_CYCLES + 5)]
    assert len(graph_of(names, [(name, name) for name in names]).cycles()) == MAX_CYCLES


def test_the_graph_of_a_workflow(loan_file: Path) -> None:
    g = graph(load_workflow(loan_file))
    assert g.edges == (("intake", "analyst"), ("analyst", "writer"), ("intake", "writer"))
    assert g.order == ("intake", "analyst", "writer")
    assert g.upstream("writer") == ("intake", "analyst")
    assert g.receivers("intake") == ("analyst", "writer")
    assert (g.sources, g.sinks) == (("intake",), ("writer",))
    with pytest.raises(KeyError):
        g.upstream("nobody")


@pytest.mark.parametrize(
    ("handoffs", "edges"),
    [
        (None, (("b", "a"), ("a", "c"))),
        ([], ()),
        (["c->a", " a  ->  b "], (("c", "a"), ("a", "b"))),
        ([{"from": "a", "to": ["c", "b"]}, "a -> b"], (("a", "c"), ("a", "b"))),
    ],
)
def test_handoffs_left_out_and_written(
    handoffs: list[object] | None, edges: tuple[tuple[str, str], ...]
) -> None:
    agents = [{"name": n, "framework": "python", "entrypoint": "m:f"} for n in "bac"]
    data = {"name": "t", "version": "1", "agents": agents, "handoffs": handoffs}
    assert graph(workflow_from(data)).edges == edges


def test_a_judge_is_waited_for_and_seen_by_nobody() -> None:
    agents = [{"name": n, "framework": "python", "entrypoint": "m:f"} for n in "jabc"]
    handoffs = [
        {"from": "a", "to": "b", "validators": ["j", "m:f"]},
        {"from": "b", "to": "c"},
        {"from": "b", "to": "a", "loop": {"max": 1}},
    ]
    definition = {"name": "t", "version": "1", "agents": agents, "handoffs": handoffs}
    g = graph(workflow_from(definition))
    assert g.order == ("a", "j", "b", "c")
    assert (g.judges("b"), g.judged("j"), g.givers("j")) == (("j",), ("b",), ("a",))
    assert g.sinks == ("c",)
    assert g.upstream("c") == ("a", "b")
    assert g.between(("b", "a")) == ("j", "a", "b"), "a round is judged like the one before it"
    assert g.recalled("a") == ("a", "b")
    assert g.recalled("j") == ("j",)
