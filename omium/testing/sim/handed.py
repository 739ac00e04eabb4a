"""The law of handoffs, told from the entries of a journal: exactly once.

Each output is offered once to each receiver that checks it, under the epoch that completed its
giver. It is accepted or rejected once, by the attempt that owns the receiver, while it is the
latest output of its giver; and nothing is done with it before it is accepted. Who does not look at
it in time has it rejected by nobody, and not before that time. What is given in answer to a
rejection, by a person or by who stands in for the giver, or was only late, is judged anew.
"""

from __future__ import annotations

from collections import Counter

from omium.execution.events import (
    AgentCompleted,
    Created,
    Entry,
    HandoffAccepted,
    HandoffDecided,
    HandoffOffered,
    HandoffRejected,
    HandoffVoted,
    Resumed,
    RoundStarted,
    StepCompleted,
    StepStarted,
)
from omium.execution.state import ExecutionState


class HandoffLaw:
    """Sees the entries of one journal, in order. ``note`` and ``stands`` raise AssertionError.

    ``counts`` are of what was rejected since nobody had accepted it in time (``late``).
    """

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._checked: dict[str, tuple[str, ...]] = {}
        self._limits_s: dict[tuple[str, str], float | None] = {}
        # Of each agent, where its latest output is and which epoch wrote it.
        self._outputs: dict[str, tuple[int, int]] = {}
        # What was offered, by name: the giver, the receiver, and where the output is.
        self._offers: dict[str, tuple[str, str, int]] = {}
        self._names: dict[tuple[str, str, int], str] = {}
        self._latest: dict[tuple[str, str], str] = {}
        self._verdicts: dict[str, str] = {}
        self._late: set[str] = set()
        # Since when each waits to be judged, and the execution is awake.
        self._since_ms: dict[str, int] = {}
        self._awake_ms = 0

    def note(self, where: str, entry: Entry) -> None:
        """Judge one more entry, which is at ``where``."""
        event = entry.event
        match event:
            case Created():
                self._checked = {
                    agent.name: tuple(one.source for one in agent.checked) for agent in event.plan
                }
                self._limits_s = {
                    (one.source, agent.name): one.deadline_s
                    for agent in event.plan
                    for one in agent.checked
                }
                self._awake_ms = entry.at_ms
            case Resumed():
                self._awake_ms = entry.at_ms
            case HandoffOffered():
                self._offered(where, event)
                self._since_ms[event.handoff] = entry.at_ms
            case HandoffVoted() if event.validator in self._checked:
                # An agent's vote: until all of them are there, the receiver may not look.
                self._since_ms[event.handoff] = entry.at_ms
            case HandoffRejected() if not entry.epoch:
                self._overdue(where, entry.at_ms, event)
                self._judged(where, event)
            case HandoffAccepted() | HandoffRejected():
                assert entry.epoch, f"{where}: {event.handoff} is accepted by nobody"
                self._judged(where, event)
            case HandoffDecided():
                self._decided(where, entry.at_ms, event)
                self._begin_anew(event.agents)
            case RoundStarted():
                self._begin_anew(event.agents)
            case StepStarted() | StepCompleted() | AgentCompleted():
                for source in self._checked[event.agent] if entry.epoch else ():
                    self._worked(where, source, event.agent)
                if isinstance(event, AgentCompleted):
                    self._outputs[event.agent] = (entry.index, entry.epoch)
            case _:
                pass

    def _begin_anew(self, agents: tuple[str, ...]) -> None:
        for agent in agents:
            self._outputs.pop(agent, None)

    def _offered(self, where: str, event: HandoffOffered) -> None:
        assert event.agent in self._outputs, f"{where}: {event.agent} has nothing to offer"
        index, epoch = self._outputs[event.agent]
        offer = (event.agent, event.to, index)
        assert event.epoch == epoch, (
            f"{where}: offered under epoch {event.epoch}, completed under {epoch}"
        )
        assert event.handoff not in self._offers, f"{where}: {event.handoff} is offered twice"
        assert offer not in self._names, (
            f"{where}: what {event.agent} hands to {event.to} has a second name {event.handoff}"
        )
        self._offers[event.handoff] = offer
        self._names[offer] = event.handoff
        self._latest[event.agent, event.to] = event.handoff

    def _overdue(self, where: str, at_ms: int, event: HandoffRejected) -> None:
        name = event.handoff
        source, to, _ = self._offers[name]
        limit_s = self._limits_s[source, to]
        waits_ms = at_ms - max(self._since_ms[name], self._awake_ms)
        assert all(reason.code == "deadline" for reason in event.reasons), (
            f"{where}: {name} is judged by nobody who owns {event.agent}"
        )
        assert limit_s is not None and waits_ms > limit_s * 1_000, (
            f"{where}: {name} is late after {waits_ms} ms, and {limit_s} s are allowed"
        )
        self._late.add(name)
        self.counts["late"] += 1

    def _judged(self, where: str, event: HandoffAccepted | HandoffRejected) -> None:
        name = event.handoff
        source, to, index = self._offers[name]
        assert to == event.agent, f"{where}: {name} is judged by {event.agent}"
        latest = self._outputs.get(source, (0, 0))[0]
        assert latest == index, f"{where}: {name} is judged, and {source} has run again"
        assert name not in self._verdicts, f"{where}: {name} is judged a second time"
        self._verdicts[name] = "accepted" if isinstance(event, HandoffAccepted) else "rejected"

    def _decided(self, where: str, at_ms: int, event: HandoffDecided) -> None:
        name, late = event.handoff, event.handoff in self._late
        by_agent = event.decision == "answer" and not event.by
        expected = ("delegated",) if by_agent else ("rejected", "failed")
        assert self._verdicts.get(name) in expected, (
            f"{where}: {event.decision} is decided of {name}, which is not {expected[0]}"
        )
        assert event.by or not late, f"{where}: {name} is late, and nobody has decided that"
        match event.decision:
            case "approve" if not late:
                self._verdicts[name] = "accepted"
            case "answer" | "approve":
                del self._verdicts[name]
                self._late.discard(name)
                self._since_ms[name] = at_ms
            case "fail":
                self._verdicts[name] = "failed"
            case "delegate":
                self._verdicts[name] = "delegated"
            case "retry":
                pass

    def _worked(self, where: str, source: str, agent: str) -> None:
        index = self._outputs.get(source, (0, 0))[0]
        name = self._names.get((source, agent, index), "")
        assert self._verdicts.get(name) == "accepted", (
            f"{where}: {agent} works on an output of {source} that it has not accepted"
        )

    def stands(self, where: str, state: ExecutionState) -> None:
        """What the state says of each handoff is what has become of it."""
        known = {pair: handoff.name for pair, handoff in state.handoffs.items()}
        assert known == self._latest, f"{where}: the state has the handoffs {known}"
        for handoff in state.handoffs.values():
            verdict = self._verdicts.get(handoff.name, "offered")
            assert handoff.status == verdict, (
                f"{where}: the state has {handoff.name} {handoff.status}, and it is {verdict}"
            )
