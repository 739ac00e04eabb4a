"""The laws of the way through the agents, for any workflow that a definition may describe.

Executions are played out by the real rules, agents in any order: whatever the order, the same
agents run with the same things before their eyes, and come to the same end.
"""

from __future__ import annotations

import json
import random
from collections.abc import Collection, Sequence
from typing import Any

import pytest
from hypothesis import assume, given, note, settings
from hypothesis import strategies as st

from omium.actors.plan import plan_of
from omium.definitions import Workflow, fitting, graph, unheard, workflow_from
from omium.errors import DefinitionError
from omium.execution import events as ev
from omium.execution.calls import digest_of
from omium.execution.fold import create, evolve
from omium.execution.fork import fork_events, state_at
from omium.execution.handoffs import to_accept
from omium.execution.machine import check
from omium.execution.offers import planned, standing
from omium.execution.records import Payload, Writer
from omium.execution.routing import before, due, ready_agents, seen
from omium.execution.state import ExecutionState, HandoffState
from omium.execution.votes import outvoted
from omium.types import DEFAULT_TENANT, ExecutionId, WorkerId

NAMES = ("a", "b", "c", "d", "e")
KINDS = 2
"""Outputs are of one of so many kinds; conditions are about these."""
EVENTS_MAX = 2_000
_KINDS = ("none", "plain", "plain", "when", "otherwise")

_whens = st.sets(st.integers(0, KINDS - 1), min_size=1).map(
    lambda kinds: {
        "type": "object",
        "required": ["kind"],
        "properties": {"kind": {"enum": sorted(kinds)}},
    }
)


def _loops(names: Sequence[str]) -> st.SearchStrategy[dict[str, Any]]:
    ends = st.tuples(st.sampled_from(names), st.sampled_from(names)).map(sorted)
    limits = st.fixed_dictionaries(
        {"max": st.integers(1, 2), "then": st.sampled_from(("continue", "continue", "fail"))}
    )
    return st.builds(
        lambda ends, when, loop: {"to": ends[0], "from": ends[1], "when": when, "loop": loop},
        ends,
        _whens,
        limits,
    )


@st.composite
def definitions(draw: st.DrawFn) -> dict[str, Any]:
    """Definitions of up to five agents, most of them valid."""
    names = NAMES[: draw(st.integers(1, len(NAMES)))]
    handoffs: list[dict[str, Any]] = []
    for i, source in enumerate(names):
        kinds = draw(st.lists(st.sampled_from(_KINDS), min_size=len(names), max_size=len(names)))
        for kind, to in zip(kinds, names[i + 1 :], strict=False):
            if kind == "when":
                handoffs.append({"from": source, "to": to, "when": draw(_whens)})
            elif kind == "otherwise" and "when" in kinds[: len(names) - i - 1]:
                handoffs.append({"from": source, "to": to, "otherwise": True})
            elif kind != "none":
                handoffs.append({"from": source, "to": to})
    handoffs += draw(st.lists(_loops(names), max_size=2))
    judges: dict[str, None] = {}
    for handoff in handoffs:
        # Of about each fourth giver something is judged, always by the same agent.
        if "loop" not in handoff and draw(st.sampled_from((False, False, False, True))):
            judge = f"j{handoff['from']}"
            handoff["validators"] = [judge]
            judges[judge] = None
    stand_ins: list[str] = []
    for handoff in handoffs:
        alone = sum(h.get("validators") == handoff.get("validators") for h in handoffs) == 1
        if "validators" in handoff and alone and draw(st.booleans()):
            handoff["stand_in"] = f"s{handoff['from']}"
            stand_ins.append(handoff["stand_in"])
    agents = [
        {"name": name, "framework": "python", "entrypoint": "m:f"}
        for name in (*judges, *stand_ins, *names)
    ]
    return {"name": "t", "version": "1", "agents": agents, "handoffs": handoffs}


class Play:
    """One execution of ``workflow``, played to its end.

    What an agent hands on follows from what it sees, its round and ``seed``. ``order`` draws
    who of those that may run is next.
    """

    def __init__(self, workflow: Workflow, seed: int, order: random.Random) -> None:
        self._workflow, self._seed, self._order = workflow, seed, order
        self.runs: dict[tuple[str, int], str] = {}
        self.given: dict[str, dict[str, Any]] = {}
        created = ev.Created(
            tenant=DEFAULT_TENANT,
            workflow="t",
            version="1",
            digest="d",
            definition=Payload(inline={}),
            inputs=Payload(inline={}),
            plan=plan_of(workflow),
        )
        self.entries = [self._entry(created, 1)]
        self.state = create(self.entries[0])

    def _entry(self, event: ev.Event, index: int) -> ev.Entry:
        return ev.Entry(execution_id=ExecutionId("exe_1"), index=index, at_ms=1, event=event)

    def append(self, *events: ev.Event, writer: Writer | None = None) -> None:
        append = ev.Append(execution_id=self.state.id, events=events, writer=writer)
        refusal = check(self.state, append)
        assert refusal is None, refusal
        for event in events:
            entry = self._entry(event, self.state.index + 1)
            evolve(self.state, entry)
            self.entries.append(entry)
        assert len(self.entries) < EVENTS_MAX, "it does not end"

    def step(self) -> bool:
        """One more thing that may happen; False at the end."""
        leased = [agent.name for agent in self.state.agents.values() if agent.status == "leased"]
        acts = [("complete", name) for name in leased]
        acts += [("lease", name) for name in ready_agents(self.state)]
        acts += [("decide", "")] if due(self.state) else []
        if not acts:
            return False
        act, name = self._order.choice(acts)
        if act == "decide":
            self.append(*due(self.state))
        elif act == "lease":
            epoch = self.state.epoch + 1
            self.append(
                ev.AttemptStarted(agent=name, epoch=epoch, worker=WorkerId("w"), cause="first")
            )
            offered = to_accept(self.state, self.state.agents[name])
            if offered:
                said = map(verdict, offered)
                self.append(*said, writer=Writer(agent=name, epoch=epoch, sequence=0))
        else:
            self.append(self._output(name))
        return True

    def _output(self, name: str) -> ev.AgentCompleted:
        given = {agent: output.inline for agent, output in seen(self.state, name).items()}
        handoffs = graph(self._workflow)
        visible = {*handoffs.upstream(name), *handoffs.recalled(name)}
        assert given.keys() <= visible, "it sees what no template may refer to"
        assert {*unheard(self._workflow, name, given)} == visible - given.keys()
        agent = self.state.agents[name]
        assert all(self.state.agents[other].status != "leased" for other in given if other != name)
        shown = json.dumps([name, agent.round, given, self._seed])
        assert self.runs.setdefault((name, agent.round), shown) == shown, "one round, run twice"
        self.given[name] = given
        if name in spared(self.state):
            # In a fork it may be in another round, and is to say the same.
            shown = json.dumps([name, given[agent.upstream[0]], self._seed])
        said = digest_of(shown)
        output: dict[str, Any] = {"kind": int(said[:8], 16) % KINDS, "said": said}
        if agent.judges:
            assert len(given.keys() - {name}) > 0, "there is something to judge"
            # An agent that nobody can stand in for is turned away by nobody: a person would decide.
            handoff = planned(self.state.agents[agent.judges[0]], agent.upstream[0])
            spare = handoff is not None and handoff.stand_in is not None
            own = self.state.agents[agent.upstream[0]].output
            first = own is not None and given[agent.upstream[0]] == own.inline
            against = spare and first and int(said[-2:], 16) % 2
            output = {"ballot": "against" if against else "for", "reason": said}
        fits = fitting(self._workflow, name, output)
        return ev.AgentCompleted(agent=name, output=Payload(inline=output), fits=fits)


def verdict(offered: HandoffState) -> ev.HandoffAccepted | ev.HandoffRejected:
    """What the votes about a handoff come to, all having to be for it."""
    reasons = outvoted(offered.votes, len(offered.votes))
    if reasons:
        return ev.HandoffRejected(agent=offered.to, handoff=offered.name, reasons=reasons)
    return ev.HandoffAccepted(agent=offered.to, handoff=offered.name)


def handed(state: ExecutionState, source: str, to: str) -> Any:
    """What ``to``, or a judge for that, is handed of ``source`` in the end."""
    agent = state.agents[to]
    receivers = agent.judges if source in agent.upstream and agent.judges else (to,)
    offers = [standing(state, source, receiver) for receiver in receivers]
    values = [one.value for one in offers if one is not None and one.value is not None]
    final = values[0] if values else state.agents[source].output
    return final.inline if final is not None else None


def ended(workflow: Workflow, seed: int, order: random.Random) -> Play:
    play = Play(workflow, seed, order)
    while play.step():
        pass
    outputs = {agent.name: agent.output for agent in play.state.agents.values()}
    for name in outputs if play.state.status == "completed" else ():
        for other in before(play.state, name) if outputs[name] is not None else ():
            saw = play.given[name].get(other)
            assert saw == handed(play.state, other, name), f"{name} saw no final {other}"
    return play


def spared(state: ExecutionState) -> set[str]:
    """Who may have less to do in a fork: where the receiver is done, nobody stands in for its giver
    any more, and nobody judges anew."""
    return {
        name
        for agent in state.agents.values()
        for one in agent.checked
        if one.stand_in is not None
        for name in (one.stand_in, *one.validators)
    }


def told(state: ExecutionState, but: Collection[str] = ()) -> dict[str, Any]:
    """What of an end does not depend on the order of things."""
    return {
        "status": state.status,
        "result": state.result,
        "failure": state.failure.message if state.failure is not None else None,
        "agents": {
            agent.name: (agent.status, agent.round, agent.output, agent.recalled)
            for agent in state.agents.values()
            if agent.name not in but
        },
    }


@pytest.mark.timeout(120)
@settings(max_examples=200, deadline=None)
@given(definitions(), st.integers(0, 10_000), st.randoms(use_true_random=False), st.data())
def test_every_workflow_comes_to_one_end(
    definition: dict[str, Any], seed: int, order: random.Random, data: st.DataObject
) -> None:
    try:
        workflow = workflow_from(definition)
    except DefinitionError:
        assume(False)
        raise
    one = ended(workflow, seed, order)
    note(str([ev.type_of(entry.event) for entry in one.entries]))
    assert one.state.status in ("completed", "failed")
    if one.state.status == "completed":
        assert one.state.result, "somebody handed to nobody"
        results = [one.state.agents[name] for name in one.state.result]
        assert not any(agent.judges or agent.stands_in for agent in results)
        for handoff in one.state.handoffs.values():
            assert [vote.ballot for vote in handoff.votes] == ["for"], "each was judged once"
    other = ended(workflow, seed, order)
    if one.state.status == "completed":
        assert told(other.state) == told(one.state)
        assert other.runs == one.runs
    else:
        # What runs beside the agent that fails an execution may have come further or less far.
        assert other.state.status == "failed"
    # A fork at any point may be made, and goes on as the other did.
    at = data.draw(st.integers(1, len(one.entries)))
    fork = Play(workflow, seed, order)
    # Rounds of who has less to do are other ones.
    but = spared(one.state)
    fork.runs = {run: shown for run, shown in one.runs.items() if run[0] not in but}
    copied = fork_events(one.entries[:at], definition={}, digest="d", inputs={})
    append = ev.Append(execution_id=ExecutionId("exe_2"), events=copied)
    assert check(None, append) is None
    fork.entries = [fork._entry(event, index) for index, event in enumerate(copied, start=1)]
    fork.state = state_at(fork.entries)
    while fork.step():
        pass
    if one.state.status == "completed":
        assert told(fork.state, but) == told(one.state, but)


_BODY = [
    {"from": "d", "to": "a", "loop": {"max": 2}},
    {"from": "d", "to": "e"},
]
SHAPES = {
    "a branch leads out of the loop": [
        {"from": "a", "to": ["b", "c"]},
        {"from": "b", "to": "d"},
        *_BODY,
    ],
    "agents side by side in the loop": [
        {"from": "a", "to": ["b", "c"]},
        {"from": "b", "to": "d"},
        {"from": "c", "to": "d"},
        *_BODY,
    ],
    "a loop in the loop": [
        {"from": "a", "to": "b"},
        {"from": "b", "to": "b", "loop": {"max": 2}},
        {"from": "b", "to": ["c", "d"]},
        {"from": "c", "to": "d"},
        *_BODY,
    ],
}


@pytest.mark.parametrize("shape", SHAPES)
def test_rounds_do_not_depend_on_who_is_quick(shape: str) -> None:
    agents = [{"name": name, "framework": "python", "entrypoint": "m:f"} for name in NAMES]
    definition = {"name": "t", "version": "1", "agents": agents, "handoffs": SHAPES[shape]}
    workflow = workflow_from(definition)
    plays = [ended(workflow, 0, random.Random(order)) for order in range(20)]
    assert {play.state.status for play in plays} == {"completed"}
    assert plays[0].state.agents["d"].round == 3
    for play in plays:
        assert play.runs == plays[0].runs
        assert told(play.state) == told(plays[0].state)


def test_a_loop_that_another_has_taken_again_is_waited_for() -> None:
    """By whom it leads to, and who is in neither: ``e`` sees the last of ``a``."""
    again = {"type": "object", "required": ["kind"], "properties": {"kind": {"const": 0}}}
    handoffs: list[dict[str, Any]] = [
        {"from": "a", "to": ["b", "e"]},
        {"from": "b", "to": "c"},
        {"from": "c", "to": "d"},
        {"from": "b", "to": "a", "when": again, "loop": {"max": 1}},
        {"from": "d", "to": "b", "when": again, "loop": {"max": 2}},
    ]
    agents = [{"name": name, "framework": "python", "entrypoint": "m:f"} for name in NAMES]
    workflow = workflow_from({"name": "t", "version": "1", "agents": agents, "handoffs": handoffs})
    plays = [ended(workflow, seed, random.Random(seed)) for seed in range(60)]
    assert any(play.state.agents["a"].round > 1 for play in plays)
    assert {play.state.agents["e"].round for play in plays} == {1}
