"""What journals say of the handoffs between the agents of ``handoff_agents``."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmarks.handoff_agents import NAMES
from omium.execution.events import (
    AgentCompleted,
    Entry,
    HandoffAccepted,
    HandoffOffered,
    HandoffVoted,
)

EDGES = len(NAMES) - 1


@dataclass(kw_only=True)
class Tally:
    """``handoffs`` are those that were accepted. Lost is one that no receiver accepted, or whose
    receiver did not complete; duplicated is one that was offered or accepted more than once, or
    about which a validator voted more than once, or an agent that completed more than once; a
    conflict is one that was accepted of another epoch than that which completed its giver, or a
    result that is not what was handed on. ``waits_ms`` are the times from the giver's completion
    to the receiver's acceptance, by the clock of whoever led."""

    handoffs: int = 0
    lost: int = 0
    duplicated: int = 0
    conflicts: int = 0
    waits_ms: list[float] = field(default_factory=list[float])

    def judge(self, journal: Sequence[Entry], result: Any) -> None:
        """Count the handoffs of one execution, which was to complete and came to ``result``; None
        where nobody was told of one."""
        completed: dict[str, Entry] = {}
        offers: dict[str, HandoffOffered] = {}
        accepted: Counter[tuple[str, str]] = Counter()
        votes: Counter[tuple[str, str]] = Counter()
        done: Counter[str] = Counter()
        for entry in journal:
            match entry.event:
                case AgentCompleted(agent=agent):
                    completed[agent] = entry
                    done[agent] += 1
                case HandoffOffered(agent=giver, to=to) as offer:
                    self.duplicated += any(
                        (known.agent, known.to) == (giver, to) for known in offers.values()
                    )
                    offers[offer.handoff] = offer
                case HandoffVoted(handoff=name, validator=validator):
                    votes[name, validator] += 1
                case HandoffAccepted(handoff=name):
                    offer = offers[name]
                    accepted[offer.agent, offer.to] += 1
                    giver = completed[offer.agent]
                    self.conflicts += offer.epoch != giver.epoch
                    self.waits_ms.append(entry.at_ms - giver.at_ms)
                case _:
                    pass
        for edge in itertools.pairwise(NAMES):
            self.handoffs += accepted[edge] > 0
            self.lost += accepted[edge] == 0 or done[edge[1]] == 0
            self.duplicated += max(accepted[edge] - 1, 0)
        self.duplicated += sum(max(count - 1, 0) for count in (*done.values(), *votes.values()))
        handed = [[name, completed[name].epoch] for name in NAMES if name in completed]
        if result is not None:
            self.conflicts += not isinstance(result, dict) or result.get("names") != handed
