"""The law of owners, told from the entries of a journal: an agent has one at a time.

Whoever is leased an agent owns it under a new epoch until the attempt ends. Nobody else writes for
it, and the state that the entries add up to knows no other owner.
"""

from __future__ import annotations

from omium.execution.events import (
    AgentCompleted,
    AttemptEnded,
    AttemptStarted,
    Cancelled,
    Entry,
    Failed,
    HandoffDecided,
    HandoffRejected,
    Paused,
    Resumed,
    RoundStarted,
)
from omium.execution.state import ExecutionState


class OwnerLaw:
    """Sees the entries of one journal, in order. ``note`` and ``stands`` raise AssertionError."""

    def __init__(self) -> None:
        self._owners: dict[str, int] = {}
        self._epoch = 0
        self._sequences: dict[int, int] = {}
        self._written = (0, 0)

    def note(self, where: str, entry: Entry) -> None:
        """Judge one more entry, which is at ``where``."""
        event = entry.event
        # Who rejects owns the agent for the rest of that append, whatever it rejects first.
        append, self._written = self._written, (entry.epoch, entry.sequence)
        if entry.epoch and self._written != append:
            self._acts(where, entry)
        match event:
            case AttemptStarted():
                assert event.epoch > self._epoch, f"{where}: epoch {event.epoch} is not new"
                assert not self._owners.get(event.agent), f"{where}: {event.agent} has an owner"
                self._epoch = self._owners[event.agent] = event.epoch
            case AttemptEnded():
                if self._owners.get(event.agent) == event.epoch:
                    del self._owners[event.agent]
            case AgentCompleted() | HandoffRejected():
                self._owners.pop(event.agent, None)
            case HandoffDecided() | RoundStarted():
                for agent in event.agents:
                    self._owners.pop(agent, None)
            case Paused() | Resumed() | Failed() | Cancelled():
                self._owners.clear()
            case _:
                pass

    def _acts(self, where: str, entry: Entry) -> None:
        agent = getattr(entry.event, "agent", None)
        owner = self._owners.get(agent or "", 0)
        assert owner == entry.epoch, (
            f"{where}: epoch {entry.epoch} writes for {agent}, whose owner is epoch {owner}"
        )
        before = self._sequences.get(entry.epoch, 0)
        assert before <= entry.sequence <= before + 1, (
            f"{where}: append {entry.sequence} of epoch {entry.epoch} came after {before}"
        )
        self._sequences[entry.epoch] = entry.sequence

    def stands(self, where: str, state: ExecutionState) -> None:
        """The state knows the owners that there are, and no others."""
        for agent in state.agents.values():
            owner = self._owners.get(agent.name, 0)
            held = agent.epoch if agent.status == "leased" else 0
            assert held == owner, (
                f"{where}: the state has epoch {held} for the owner of {agent.name}, "
                f"and it is epoch {owner}"
            )
