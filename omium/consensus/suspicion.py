"""A leader that is likely dead: whether to ask for its place before the time-out, and when.

What is asked for are pre-votes, so that a suspicion comes to nothing where the others still hear
that leader. The first voter in the order of ids asks at once, each later one two ticks after the
one before. Whoever was asked may not have noticed yet, and does not answer then; so a member that
is told again asks again, at once or at its turn, while nobody leads and nobody has begun a later
term.
"""

from __future__ import annotations

from omium.consensus.raw_node import RawNode
from omium.consensus.records import NONE


class Suspicion:
    """See the module's docstring. Of one node, which it tells to campaign."""

    def __init__(self, node: RawNode) -> None:
        self._node = node
        self._suspected = NONE
        self._term = 0
        self._ticks_left: int | None = None

    def told(self, node_id: int) -> None:
        """``node_id`` is likely dead. Nothing follows where it does not lead."""
        node = self._node
        voters = sorted(node.status().membership.voters - {node_id})
        if node_id == NONE or node.id not in voters:
            return
        if node.lead == node_id:
            self._suspected, self._term = node_id, node.term
            self._ticks_left = None
            node.forget_leader()
        elif not self._lasts or node_id != self._suspected:
            return
        turn = 2 * voters.index(node.id)
        if turn == 0:
            self._ask()
        elif self._ticks_left is None:
            self._ticks_left = turn + 1

    def tick(self) -> None:
        """One tick of time has passed."""
        if self._ticks_left is None:
            return
        self._ticks_left -= 1
        if self._ticks_left <= 0:
            self._ticks_left = None
            if self._lasts:
                self._ask()

    @property
    def _lasts(self) -> bool:
        """Whether nobody is known to lead instead, nor to be a candidate: that would be in a later
        term."""
        return self._node.lead == NONE and self._node.term == self._term

    def _ask(self) -> None:
        # What waits for a slow disk says the same.
        if not self._node.asks_for_votes:
            self._node.campaign()
