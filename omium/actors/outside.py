"""Who acts in place of what is outside of a runtime, where that must not act itself: in replays.

Owns the shape of these alone. Whether anybody does is for the caller of a runtime to say.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from omium.execution.records import CallKey
from omium.types import AgentName, Json

StandIn = Callable[[], Json]
"""Gives the result of one tool call, or raises, in place of the tool."""


class StandIns(Protocol):
    """Act in place of tools, and of those who send signals."""

    def tool(self, agent: AgentName, key: CallKey) -> StandIn | None:
        """Who acts in place of this call's tool; None lets the tool act."""
        ...

    def signals(self, agent: AgentName, key: CallKey) -> list[Json]:
        """What this call takes in place of the signals that have come, whenever it is made: of
        each the fields of ``frameworks.people.Signal``."""
        ...
