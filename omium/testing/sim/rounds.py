"""The law of rounds, told from the entries of a journal: what is done once, and how often again.

An agent is completed or skipped once in a round and a step done once, an attempt starts a step
once, an execution is created and completed once, a signal is sent once. A loop begins anew when all
of it is done and its end hands back, no more often than it may; and whoever waits for it to be left
does.
"""

from __future__ import annotations

from collections import Counter

from omium.execution.events import (
    AgentCompleted,
    AgentSkipped,
    AttemptStarted,
    Completed,
    Created,
    Entry,
    Event,
    Failed,
    HandoffDecided,
    Resumed,
    RoundStarted,
    Signalled,
    StepCompleted,
    StepStarted,
)
from omium.execution.records import PlannedAgent, PlannedLoop
from omium.execution.routing import ROUNDS_EXHAUSTED


class RoundLaw:
    """Sees the entries of one journal, in order. ``note`` raises AssertionError.

    ``counts`` are of the loops that began anew (``rounds``) and of those that were not left in
    time (``exhausted``). It knows no loop inside of another one, and nobody who is skipped but
    those who stand in.
    """

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._once: set[tuple[str, ...]] = set()
        self._rounds: Counter[str] = Counter()
        self._plan: dict[str, PlannedAgent] = {}
        # Of each agent that is done, to whom it hands on a condition that is fulfilled.
        self._done: dict[str, tuple[str, ...]] = {}
        self._taken: Counter[tuple[str, str]] = Counter()

    def note(self, where: str, entry: Entry) -> None:
        """Judge one more entry, which is at ``where``."""
        event = entry.event
        self._is_once(where, entry.epoch, event)
        match event:
            case Created():
                self._plan = {agent.name: agent for agent in event.plan}
            case AttemptStarted():
                self._leased(where, event)
            case AgentCompleted():
                self._done[event.agent] = event.fits
            case AgentSkipped():
                self._done[event.agent] = ()
            case RoundStarted():
                self._began(where, event)
            case HandoffDecided():
                for source, loop in self._loops():
                    if set(loop.agents) <= {*event.agents}:
                        self._taken[source, loop.to] = 0
                self._begin_anew(*event.agents)
            case Resumed():
                # Trying again is what it means, so what failed for want of rounds has some.
                for source, loop in self._loops():
                    used_up = self._wants(source, loop) and self._left(source, loop) == 0
                    if used_up and loop.then == "fail":
                        self._taken[source, loop.to] = 0
            case Failed(failure=failure) if failure.kind == ROUNDS_EXHAUSTED:
                assert any(
                    self._wants(source, loop) and not self._left(source, loop)
                    for source, loop in self._loops()
                    if loop.then == "fail" and source == failure.agent
                ), f"{where}: {failure.agent} has rounds left"
                self.counts["exhausted"] += 1
            case Completed():
                assert self._done.keys() == self._plan.keys(), f"{where}: somebody is not done"
                self._nobody_hands_back(where, set(self._plan))
            case _:
                pass

    def _is_once(self, where: str, epoch: int, event: Event) -> None:
        match event:
            case Created() | Completed():
                what: tuple[str, ...] = (type(event).__name__,)
            case AgentCompleted(agent=agent) | AgentSkipped(agent=agent):
                what = ("agent", agent, str(self._rounds[agent]))
            case StepStarted(agent=agent, step=step):
                what = ("start", agent, step, str(epoch))
            case StepCompleted(agent=agent, step=step):
                what = ("step", agent, step)
            case Signalled(name=name):
                what = ("signal", name)
            case _:
                return
        assert what not in self._once, f"{where}: {' '.join(what)} a second time"
        self._once.add(what)

    # ---- loops

    def _loops(self) -> list[tuple[str, PlannedLoop]]:
        return [(agent.name, loop) for agent in self._plan.values() for loop in agent.loops]

    def _left(self, source: str, loop: PlannedLoop) -> int:
        return loop.rounds_max - self._taken[source, loop.to]

    def _wants(self, source: str, loop: PlannedLoop) -> bool:
        fits = self._done.get(source)
        return fits is not None and (not loop.conditional or loop.to in fits)

    def _began(self, where: str, event: RoundStarted) -> None:
        loop = next(
            (one for source, one in self._loops() if (source, one.to) == (event.agent, event.to)),
            None,
        )
        told = f"{where}: round {event.round} of {event.agent} and {event.to}"
        assert loop is not None, f"{told}, which are no loop"
        assert set(event.agents) == set(loop.agents), f"{told} is of {event.agents}"
        assert self._done.keys() >= set(loop.agents), f"{told} begins, and not all are done"
        assert self._wants(event.agent, loop), f"{told} begins, and nothing is handed back"
        assert self._left(event.agent, loop) > 0, f"{told} is one too many"
        self._taken[event.agent, event.to] += 1
        self._begin_anew(*event.agents)
        self.counts["rounds"] += 1

    def _begin_anew(self, *agents: str) -> None:
        self._rounds.update(agents)
        for agent in agents:
            self._done.pop(agent, None)

    def _leased(self, where: str, event: AttemptStarted) -> None:
        before = set(self._plan[event.agent].upstream)
        assert self._done.keys() >= before, f"{where}: {event.agent} runs before {before}"
        self._nobody_hands_back(where, before, beside=event.agent)

    def _nobody_hands_back(self, where: str, agents: set[str], beside: str = "") -> None:
        """The loops that these are in, and ``beside`` is not, are left."""
        for source, loop in self._loops():
            if agents.intersection(loop.agents) and beside not in loop.agents:
                left = self._left(source, loop)
                goes_on = not self._wants(source, loop) or (not left and loop.then == "continue")
                assert goes_on, f"{where}: {source} hands back to {loop.to}, which is not heard"
