"""After a coordinator has taken over: who of the workers may still come back.

Workers outlive the coordinator that started them, and say hello to the next one. Until they had
the time for it, nobody takes over what they work on, and nobody is started in their place. Who is
not known to live is not waited for: of a coordinator that is killed every few seconds nothing
would come otherwise.
"""

from __future__ import annotations

from collections.abc import Set
from math import inf

from omium.types import WorkerId


class Returning:
    """Times are seconds of a monotonic clock. Before ``begin`` nobody is waited for."""

    def __init__(self) -> None:
        self._until_s = float("-inf")
        self._missing: set[WorkerId] | None = None

    def begin(self, until_s: float) -> None:
        """Wait for whoever may live, until then at the latest."""
        self._until_s = until_s

    def know(self, living: Set[WorkerId], connected: Set[WorkerId]) -> None:
        """``living`` are all that may come. Whoever was not among them before is not awaited."""
        known = living if self._missing is None else self._missing & living
        self._missing = set(known - connected)

    def came(self, worker: WorkerId) -> None:
        """A worker has said hello."""
        if self._missing is not None:
            self._missing.discard(worker)

    def excuse(self, seconds: float) -> None:
        """Give so much more time."""
        self._until_s += seconds

    def may_come(self, worker: WorkerId | None, now_s: float) -> bool:
        """Whether a worker that is not connected may still come."""
        return now_s < self._until_s and (self._missing is None or worker in self._missing)

    def awaited(self, now_s: float) -> float:
        """How many may still come: infinitely many while nobody knows who lives."""
        if now_s >= self._until_s:
            return 0
        return inf if self._missing is None else len(self._missing)
