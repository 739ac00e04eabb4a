"""Putting a committed change of members into force (paper, section 6; thesis, chapter 4)."""

from __future__ import annotations

import contextlib

from omium.consensus import confchange, leader, reads, replication
from omium.consensus.records import (
    NONE,
    ConfChangeV2,
    ConfState,
    EntryType,
    encode_conf_change,
)
from omium.consensus.state import Raft, Role
from omium.errors import RequestDropped


def apply(raft: Raft, change: ConfChangeV2) -> ConfState:
    """Put ``change`` into force and return the members then.

    Raises ``ConfChangeRefused`` where the change cannot be made, which no leader lets happen.
    """
    tracker = raft.tracker
    tracker.adopt(*confchange.changed(tracker, raft.log.last_index, change))
    state = tracker.membership.conf_state()
    own = tracker.progress.get(raft.id)
    if raft.role is not Role.LEADER:
        return state
    if (own is None or own.is_learner) and raft.config.step_down_on_removal:
        # A leader goes on until the change that removes it is committed (section 6), not longer.
        raft.become_follower(raft.term, NONE)
        return state
    if replication.maybe_commit(raft):
        # With fewer voters more may be committed.
        reads.release_postponed(raft)
        replication.broadcast_append(raft)
    else:
        for node_id, progress in tracker.progress.items():
            if node_id != raft.id:
                replication.send_append(raft, node_id, progress, even_if_empty=False)
    if raft.transferee not in tracker.membership.all_voters:
        raft.transferee = NONE
    return state


def applied(raft: Raft, index: int) -> None:
    """Everything up to ``index`` is applied; the leader leaves a joint configuration now.

    If it cannot (leadership is being handed over), it tries again with the next entry, and so
    does whoever leads after it.
    """
    raft.log.applied_to(max(index, raft.log.applied))
    if (
        raft.role is Role.LEADER
        and raft.tracker.membership.auto_leave
        and raft.log.applied >= raft.pending_conf_index
    ):
        with contextlib.suppress(RequestDropped):
            leader.propose(raft, (_LEAVE,))


_LEAVE: tuple[EntryType, bytes] = encode_conf_change(ConfChangeV2())
