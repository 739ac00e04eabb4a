"""The law of receipts, told from the entries of a journal: who works has what was handed to it.

Every output of a simulated agent says which attempt, or person, has made it, and of whom its maker
got what. So the entries tell whether a receiver worked on what it had accepted, whether a vote is
about what is offered, an older output or none, and whether what was handed over in place of another
output got to anybody else.
"""

from __future__ import annotations

from collections.abc import Collection

import msgspec

from omium.execution.events import (
    AgentCompleted,
    Created,
    Entry,
    HandoffDecided,
    HandoffOffered,
    HandoffVoted,
    RoundStarted,
)
from omium.execution.records import PlannedAgent
from omium.execution.state import ExecutionState
from omium.execution.votes import ANSWERED
from omium.testing.sim.flows import about, made_by, made_of
from omium.types import AgentName


class ReceiptLaw:
    """Sees the entries of one journal, in order. ``note`` and ``stands`` raise AssertionError."""

    def __init__(self) -> None:
        self._plan: dict[str, PlannedAgent] = {}
        # Of each agent that is done, who made its output; and of its round before.
        self._made: dict[str, str] = {}
        self._before: dict[str, str] = {}
        # Of what is offered, by name and by way, who made that which is handed over.
        self._offers: dict[str, str] = {}
        self._ways: dict[tuple[str, str], str] = {}
        # Who made what a stand-in hands over: on each way where that is offered, and ever.
        self._instead: dict[tuple[str, str], str] = {}
        self._stood_in: set[str] = set()

    def note(self, where: str, entry: Entry) -> None:
        """Judge one more entry, which is at ``where``."""
        event = entry.event
        match event:
            case Created():
                self._plan = {agent.name: agent for agent in event.plan}
            case AgentCompleted() if self._plan[event.agent].judges:
                vote = msgspec.convert(event.output.inline, dict[str, str])
                made = self._to_judge(self._plan[event.agent])
                self._is_about(where, event.agent, vote.get("reason"), made)
            case AgentCompleted():
                self._worked(where, event)
                self._made[event.agent] = made_by(event.output)
                if self._plan[event.agent].stands_in is not None:
                    self._stood_in.add(made_by(event.output))
            case HandoffOffered():
                self._offers[event.handoff] = self._made[event.agent]
                self._ways[event.agent, event.to] = event.handoff
            case HandoffVoted() if event.reason != ANSWERED:
                made = self._offers[event.handoff]
                self._is_about(where, event.validator, event.reason, made)
            case HandoffDecided():
                if event.output is not None:
                    self._answered(event, made_by(event.output))
                self._begin_anew(event.agents)
            case RoundStarted():
                self._begin_anew(event.agents)
            case _:
                pass

    def _begin_anew(self, agents: Collection[AgentName]) -> None:
        for agent in agents:
            self._before[agent] = self._made.pop(agent, "")
        self._instead = {way: by for way, by in self._instead.items() if way[0] not in agents}

    def _answered(self, event: HandoffDecided, by: str) -> None:
        (way,) = (way for way, name in self._ways.items() if name == event.handoff)
        self._offers[event.handoff] = by
        self._instead.pop(way, None)
        if not event.by:
            self._instead[way] = by

    def _to_judge(self, judge: PlannedAgent) -> str:
        """Who made what a judge is to vote about."""
        (giver,) = judge.upstream
        instead = (self._instead.get((giver, receiver)) for receiver in judge.judges)
        return next((made for made in instead if made is not None), self._made[giver])

    def _worked(self, where: str, event: AgentCompleted) -> None:
        got, agent = made_of(event.output), self._plan[event.agent]
        checked = {one.source for one in agent.checked}
        for source in agent.upstream:
            made = self._made[source]
            if source in checked:
                made = self._offers[self._ways[source, agent.name]]
            assert got.get(source) == made, (
                f"{where}: {agent.name} has worked on {got.get(source)} of {source}, "
                f"and what is handed to it is {made}"
            )
        for source, made in got.items():
            assert made not in self._stood_in or source in (*checked, agent.name), (
                f"{where}: {agent.name} is given {made} for {source}, and it is handed to another"
            )
        own = got.get(agent.name, "")
        assert own in ("", self._before.get(agent.name)), (
            f"{where}: {agent.name} is given {own} for its output of the round before"
        )

    def _is_about(self, where: str, judge: str, reason: object, made: str) -> None:
        assert reason == about(made), (
            f"{where}: {judge} votes {reason!r}, and what is handed over is {made}"
        )

    def stands(self, where: str, state: ExecutionState) -> None:
        """What is handed over by the state is what was last said to be."""
        for handoff in state.handoffs.values():
            if handoff.value is not None:
                made, handed = self._offers[handoff.name], made_by(handoff.value)
                assert handed == made, f"{where}: {handoff.name} hands over {handed}, not {made}"
