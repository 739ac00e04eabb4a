"""The law of handoffs, told from the entries of a journal alone: exactly once.

Each output is offered once to each receiver that checks it, under the epoch that completed its
giver. It is accepted or rejected once, by the attempt that owns the receiver, while it is the
latest output of its giver; and nothing is done with it before it is accepted. A person decides
about what was rejected, and what is given in answer is judged anew.
"""

from __future__ import annotations

from omium.execution.events import (
    AgentCompleted,
    Created,
    Entry,
    HandoffAccepted,
    HandoffDecided,
    HandoffOffered,
    HandoffRejected,
    StepCompleted,
    StepStarted,
)


class HandoffLaw:
    """Sees the entries of one journal, in order. ``note`` raises AssertionError."""

    def __init__(self) -> None:
        self._checked: dict[str, tuple[str, ...]] = {}
        # Of each agent, where its latest output is and which epoch wrote it.
        self._outputs: dict[str, tuple[int, int]] = {}
        # What was offered, by name: the giver, the receiver, and where the output is.
        self._offers: dict[str, tuple[str, str, int]] = {}
        self._verdicts: dict[str, str] = {}

    def note(self, where: str, entry: Entry) -> None:
        """Judge one more entry, which is at ``where``."""
        event = entry.event
        match event:
            case Created():
                self._checked = {
                    agent.name: tuple(one.source for one in agent.checked) for agent in event.plan
                }
            case HandoffOffered():
                self._offered(where, event)
            case HandoffAccepted() | HandoffRejected():
                self._judged(where, entry.epoch, event)
            case HandoffDecided():
                self._decided(where, event)
            case StepStarted() | StepCompleted() | AgentCompleted():
                for source in self._checked[event.agent] if entry.epoch else ():
                    self._worked(where, source, event.agent)
                if isinstance(event, AgentCompleted):
                    self._outputs[event.agent] = (entry.index, entry.epoch)
            case _:
                pass

    def _offered(self, where: str, event: HandoffOffered) -> None:
        assert event.agent in self._outputs, f"{where}: {event.agent} has nothing to offer"
        index, epoch = self._outputs[event.agent]
        offer = (event.agent, event.to, index)
        assert event.epoch == epoch, (
            f"{where}: offered under epoch {event.epoch}, completed under {epoch}"
        )
        assert event.handoff not in self._offers, f"{where}: {event.handoff} is offered twice"
        assert offer not in self._offers.values(), (
            f"{where}: what {event.agent} hands to {event.to} has a second name {event.handoff}"
        )
        self._offers[event.handoff] = offer

    def _judged(self, where: str, epoch: int, event: HandoffAccepted | HandoffRejected) -> None:
        name = event.handoff
        assert epoch, f"{where}: {name} is judged by nobody who owns {event.agent}"
        source, to, index = self._offers[name]
        assert to == event.agent, f"{where}: {name} is judged by {event.agent}"
        latest = self._outputs.get(source, (0, 0))[0]
        assert latest == index, f"{where}: {name} is judged, and {source} has run again"
        assert name not in self._verdicts, f"{where}: {name} is judged a second time"
        self._verdicts[name] = "accepted" if isinstance(event, HandoffAccepted) else "rejected"

    def _decided(self, where: str, event: HandoffDecided) -> None:
        name = event.handoff
        assert self._verdicts.get(name) in ("rejected", "failed"), (
            f"{where}: {event.decision} is decided of {name}, which is not rejected"
        )
        match event.decision:
            case "approve":
                self._verdicts[name] = "accepted"
            case "answer":
                del self._verdicts[name]
            case "fail":
                self._verdicts[name] = "failed"
            case "retry" | "delegate":
                pass
        for agent in event.agents:
            self._outputs.pop(agent, None)

    def _worked(self, where: str, source: str, agent: str) -> None:
        index = self._outputs.get(source, (0, 0))[0]
        name = next((n for n, o in self._offers.items() if o == (source, agent, index)), "")
        assert self._verdicts.get(name) == "accepted", (
            f"{where}: {agent} works on an output of {source} that it has not accepted"
        )
