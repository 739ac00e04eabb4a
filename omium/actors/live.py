"""Live extras: pieces of answers on their way, for whoever watches an execution right now.

Kept in memory, bounded, and for a moment only. They are no part of the journal: the committed
event that follows supersedes them, and a watcher that falls behind is told how many it missed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from omium.actors.messages import Delta
from omium.types import ExecutionId

DELTAS_KEPT = 256
"""For each execution: at twenty a second and agent, some seconds of a few agents."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveNews:
    """``dropped`` deltas are gone that one who watched all the time would have seen;
    ``newest`` is the number to ask with next."""

    deltas: tuple[Delta, ...]
    dropped: int
    newest: int


@dataclass(slots=True)
class _Tail:
    """The latest deltas of one execution. ``next`` is the number that the next one gets; 1 is
    nobody's, so that whoever has watched has a number above 0."""

    next: int = 2
    deltas: deque[tuple[int, Delta]] = field(
        default_factory=lambda: deque[tuple[int, Delta]](maxlen=DELTAS_KEPT)
    )


class LiveTails:
    """The deltas of all executions that somebody watches. Numbers count from 1 in each."""

    def __init__(self) -> None:
        self._tails: dict[ExecutionId, _Tail] = {}

    def add(self, execution_id: ExecutionId, deltas: Iterable[Delta]) -> bool:
        """Keep deltas, where somebody watches; says whether somebody does."""
        tail = self._tails.get(execution_id)
        if tail is None:
            return False
        for delta in deltas:
            tail.deltas.append((tail.next, delta))
            tail.next += 1
        return True

    def after(self, execution_id: ExecutionId, number: int) -> LiveNews:
        """What came after ``number``, which is 0 for one who begins to watch.

        A number from before a restart is taken for the latest there is.
        """
        tail = self._tails.setdefault(execution_id, _Tail())
        newest = tail.next - 1
        if not 0 < number < newest:
            number = newest
        kept = tuple(delta for at, delta in tail.deltas if at > number)
        return LiveNews(deltas=kept, dropped=newest - number - len(kept), newest=newest)

    def forget(self, execution_id: ExecutionId) -> None:
        """The execution has stopped: nothing more will come."""
        self._tails.pop(execution_id, None)
