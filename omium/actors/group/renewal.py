"""Who takes the place of a member whose disk was lost: decisions, and no more.

A newcomer asks to join. The leader takes it in as a learner, which has no vote and costs no
majority anything, and once it has caught up lets it take the seat of whoever had it before, in
one change of two (thesis, sections 4.2.1 and 4.3). A seat of the runtime and a member of the
simulator decide by it.
"""

from __future__ import annotations

from omium.actors.group.talk import seat_of
from omium.consensus import ConfChangeSingle, ConfChangeType, ConfChangeV2, ProgressState, Status

LAG_MAX = 256
"""Entries by which a learner may be behind to be given a vote."""
RENEWAL_TICKS = 5
"""How often a member looks whether anybody is to join or to be seated."""


def is_outside(status: Status) -> bool:
    """Whether a member belongs to no group that it knows of, and so asks to be taken in."""
    members = status.membership
    return status.id not in members.voters | members.learners


def taken_in(status: Status, node_id: int) -> ConfChangeV2 | None:
    """What to propose for a newcomer; None where nothing is to be done."""
    members = status.membership
    known = members.voters | members.outgoing | members.learners
    if node_id in known or any(
        seat_of(other) == seat_of(node_id) and other > node_id for other in known
    ):
        # Of two newcomers in one seat the later one counts: the other's disk was lost as well.
        return None
    stale = [other for other in members.learners if seat_of(other) == seat_of(node_id)]
    return _change(
        *[(ConfChangeType.REMOVE_NODE, other) for other in stale],
        (ConfChangeType.ADD_LEARNER_NODE, node_id),
    )


def seated(status: Status, *, lag_max: int = LAG_MAX) -> ConfChangeV2 | None:
    """What to propose for a learner that has caught up but for ``lag_max`` entries; None where
    there is none."""
    members = status.membership
    if members.outgoing:
        return None
    for node_id in sorted(members.learners):
        progress = status.progress.get(node_id)
        if (
            progress is not None
            and progress.state is ProgressState.REPLICATE
            and progress.recent_active
            and progress.match + lag_max >= status.last_index
        ):
            before = [one for one in sorted(members.voters) if seat_of(one) == seat_of(node_id)]
            return _change(
                *[(ConfChangeType.REMOVE_NODE, one) for one in before],
                (ConfChangeType.ADD_NODE, node_id),
            )
    return None


def _change(*changes: tuple[ConfChangeType, int]) -> ConfChangeV2:
    return ConfChangeV2(
        changes=tuple(ConfChangeSingle(type=kind, node_id=node_id) for kind, node_id in changes)
    )
