"""A leader that is likely dead: whether to ask for its place before the time-out, and when.

What is asked for are pre-votes, so that a suspicion comes to nothing where the others still hear
that leader. The first voter in the order of ids asks at once, each later one two ticks after the
one before. Whoever was asked may not have noticed yet, and does not answer then; so a member that
is told again asks again, while nobody leads and nobody has begun a later term.
"""

from __future__ import annotations

from omium.consensus.raw_node import RawNode
from omium.consensus.records import NONE
from omium.consensus.state import Role

_MAY_ASK = (Role.FOLLOWER, Role.PRE_CANDIDATE)
"""A candidate's term had better come to its end."""


class Suspicion:
    """See the module's docstring. Of one node, which it tells to campaign."""

    def __init__(self, node: RawNode) -> None:
        self._node = node
        self._of = (NONE, 0)
        self._ticks_left: int | None = None

    def of(self, node_id: int) -> bool:
        """``node_id`` is likely dead. Whether that changes anything."""
        node = self._node
        voters = sorted(node.status().membership.voters - {node_id})
        if node_id == node.id or node.id not in voters or node.role not in _MAY_ASK:
            return False
        if node.lead == node_id:
            self._of = (node_id, node.term)
            self._ticks_left = None
            node.forget_leader()
        elif node.lead != NONE or self._of != (node_id, node.term):
            # Somebody leads, or is voted for in a later term: that is not to be disturbed.
            return False
        turn = 2 * voters.index(node.id)
        if turn == 0:
            node.campaign()
        elif self._ticks_left is None:
            self._ticks_left = turn + 1
        return True

    def tick(self) -> None:
        """One tick of time has passed."""
        if self._ticks_left is None:
            return
        self._ticks_left -= 1
        if self._ticks_left <= 0:
            self._ticks_left = None
            if self._node.lead == NONE and self._node.role in _MAY_ASK:
                self._node.campaign()
