"""The law of stand-ins, told from the entries of a journal: each in its turn, and once.

What is rejected lets its giver run again by itself, as often as it may. After that, or where others
have begun to work on the same output, its stand-in is asked: once about a handoff, and it does
nothing before. It has one answer, which is what it handed over. It is skipped when it cannot be
wanted any more, and not before.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from omium.execution.events import (
    AgentCompleted,
    AgentSkipped,
    AttemptStarted,
    Created,
    Entry,
    HandoffAccepted,
    HandoffDecided,
    HandoffOffered,
    HandoffRejected,
    RoundStarted,
)
from omium.execution.records import Payload, PlannedAgent, PlannedHandoff
from omium.execution.state import ExecutionState

Way = tuple[str, str]
"""A giver and a receiver."""

BY_ITSELF = ("retry", "delegate", "answer")
"""What is decided of a handoff with nobody to decide it."""


class StandInLaw:
    """Sees the entries of one journal, in order. ``note`` and ``stands`` raise AssertionError.

    ``counts`` are of what was accepted of that which stand-ins handed over (``taken_instead``), and
    of those that were skipped (``spared``).
    """

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._plan: dict[str, PlannedAgent] = {}
        self._planned: dict[Way, PlannedHandoff] = {}
        self._ways: dict[str, Way] = {}
        # Of each way, what is offered of the present output of its giver.
        self._offers: dict[Way, str] = {}
        # What was accepted, and what only because of its deadline was not.
        self._accepted: set[str] = set()
        self._late: set[str] = set()
        # Of each way, how often it was rejected since it was accepted or a person has decided.
        self._rejections: Counter[Way] = Counter()
        # In their present rounds: who was leased, and what those have made who are done.
        self._begun: set[str] = set()
        self._made: dict[str, Payload] = {}
        # What stand-ins were asked about, what anybody has answered, and what a stand-in has.
        self._asked: set[str] = set()
        self._answered: set[str] = set()
        self._instead: set[str] = set()

    def note(self, where: str, entry: Entry) -> None:
        """Judge one more entry, which is at ``where``."""
        event = entry.event
        match event:
            case Created():
                self._plan = {agent.name: agent for agent in event.plan}
                self._planned = {
                    (one.source, agent.name): one for agent in event.plan for one in agent.checked
                }
            case AttemptStarted():
                self._leased(where, self._plan[event.agent])
                self._begun.add(event.agent)
            case AgentCompleted():
                self._made[event.agent] = event.output
            case AgentSkipped():
                self._skipped(where, self._plan[event.agent])
            case HandoffOffered():
                way = (event.agent, event.to)
                self._ways[event.handoff], self._offers[way] = way, event.handoff
            case HandoffAccepted():
                self._accepted.add(event.handoff)
                self._rejections[self._ways[event.handoff]] = 0
                self.counts["taken_instead"] += event.handoff in self._instead
            case HandoffRejected():
                self._rejections[self._ways[event.handoff]] += 1
                if not entry.epoch:
                    self._late.add(event.handoff)
            case HandoffDecided():
                self._decided(where, event)
                self._begin_anew(event.agents)
            case RoundStarted():
                self._begin_anew(event.agents)
            case _:
                pass

    def _begin_anew(self, agents: Iterable[str]) -> None:
        for agent in agents:
            self._begun.discard(agent)
            self._made.pop(agent, None)
            for way in [way for way in self._offers if way[0] == agent]:
                del self._offers[way]

    def _offer(self, agent: PlannedAgent) -> str:
        """What the giver has offered for whom ``agent`` stands in; empty where it has not."""
        (giver,) = agent.upstream
        return self._offers.get((giver, agent.stands_in or ""), "")

    def _leased(self, where: str, agent: PlannedAgent) -> None:
        if agent.stands_in is None:
            return
        name = self._offer(agent)
        assert name in self._asked and name not in self._answered, (
            f"{where}: {agent.name} begins, and is not asked to stand in"
        )

    def _skipped(self, where: str, agent: PlannedAgent) -> None:
        assert agent.stands_in is not None, f"{where}: {agent.name} is skipped"
        assert agent.stands_in in self._made or self._offer(agent) in self._accepted, (
            f"{where}: {agent.name} is skipped, and may be asked yet"
        )
        self.counts["spared"] += 1

    def _decided(self, where: str, event: HandoffDecided) -> None:
        name, way = event.handoff, self._ways[event.handoff]
        told = f"{where}: {event.decision} is decided of {name}"
        match event.decision, event.by:
            case "retry", "":
                assert name not in self._answered, f"{told}, to which there was an answer"
                assert self._may_retry(way), f"{told}, and {way[0]} may not run again"
            case "delegate", _:
                assert not event.by, f"{told} by {event.by}"
                self._delegated(told, name, way)
            case "answer", "":
                self._stood_in(told, event, way)
            case "answer", _:
                self._answered.add(name)
                self._instead.discard(name)
                self._late.discard(name)
            case "approve", _ if name in self._late:
                self._late.discard(name)
            case "approve", _:
                self._accepted.add(name)
            case _:
                pass
        assert event.by or event.decision in BY_ITSELF, f"{told} by nobody"
        if event.by:
            self._rejections[way] = 0

    def _delegated(self, told: str, name: str, way: Way) -> None:
        stand_in = self._planned[way].stand_in
        assert stand_in is not None, f"{told}, and nobody stands in"
        assert name not in self._asked, f"{told} a second time"
        assert name not in self._answered, f"{told}, to which there was an answer"
        assert stand_in not in self._made, f"{told}, and {stand_in} is done"
        assert not self._may_retry(way) or self._is_heard_elsewhere(way), (
            f"{told}, and {way[0]} may run again"
        )
        self._asked.add(name)

    def _stood_in(self, told: str, event: HandoffDecided, way: Way) -> None:
        name, stand_in = event.handoff, self._planned[way].stand_in or ""
        assert name in self._asked, f"{told} by {stand_in}, which was not asked"
        assert name not in self._answered, f"{told} a second time"
        assert event.output is not None and event.output == self._made.get(stand_in), (
            f"{told} by {stand_in}, which has handed over {self._made.get(stand_in)}"
        )
        self._answered.add(name)
        self._instead.add(name)

    def _may_retry(self, way: Way) -> bool:
        return self._rejections[way] <= self._planned[way].retries

    def _is_heard_elsewhere(self, way: Way) -> bool:
        """Whether others than the receiver have begun to work on what its giver has made."""
        giver, receiver = way
        behind = {giver}
        while more := {a.name for a in self._plan.values() if behind & {*a.upstream}} - behind:
            behind |= more
        others = (self._plan[name] for name in behind - {giver, receiver})
        return any(a.name in self._begun for a in others if not a.judges and a.stands_in is None)

    def stands(self, where: str, state: ExecutionState) -> None:
        """The state has another value for what was answered, and knows whose it is."""
        for handoff in state.handoffs.values():
            name = handoff.name
            has = (handoff.value is not None, handoff.by_agent)
            had = (name in self._answered, name in self._instead)
            assert has == had, (
                f"{where}: the state has {name} answered, by an agent: {has}, and it is {had}"
            )
