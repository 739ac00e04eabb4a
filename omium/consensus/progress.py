"""What a leader knows about one follower, and how fast it may send to it.

A follower is in one of three states, as in etcd's raft:

    probe       where the logs agree is not known: one append at a time, then wait
    replicate   it is: appends are sent ahead of their acknowledgements, in a bounded window
    snapshot    what it lacks is no longer in the log: nothing is sent until it has a snapshot
"""

from __future__ import annotations

import copy
import enum

from omium.consensus.inflights import Inflights


class ProgressState(enum.Enum):
    """How a leader sends to a follower."""

    PROBE = "probe"
    REPLICATE = "replicate"
    SNAPSHOT = "snapshot"


class Progress:
    """One follower, in the eyes of the leader.

    ``match`` is the highest index known to be durable there (paper, figure 2, ``matchIndex``),
    ``next`` the first one to send (``nextIndex``), ``sent_commit`` the highest commit index
    that it was told; ``match < next`` always. ``flow_paused`` says that nothing more is sent
    until it answers. ``recent_active`` says that it was heard from since the last check of the
    quorum. ``pending_snapshot`` is the index of the snapshot under way in that state, else 0.
    """

    __slots__ = (
        "flow_paused",
        "inflights",
        "is_learner",
        "match",
        "next",
        "pending_snapshot",
        "recent_active",
        "sent_commit",
        "state",
    )

    def __init__(
        self,
        *,
        match: int,
        next_index: int,
        inflights: Inflights,
        is_learner: bool = False,
        recent_active: bool = False,
    ) -> None:
        self.match = match
        self.next = next_index
        self.sent_commit = 0
        self.state = ProgressState.PROBE
        self.pending_snapshot = 0
        self.recent_active = recent_active
        self.flow_paused = False
        self.inflights = inflights
        self.is_learner = is_learner

    def with_learner(self, is_learner: bool) -> Progress:
        """The same progress as a learner, or as a voter."""
        changed = copy.copy(self)
        changed.is_learner = is_learner
        return changed

    # ---- states

    def become_probe(self) -> None:
        """Find out where the logs agree, starting after what is known."""
        if self.state is ProgressState.SNAPSHOT:
            self.next = max(self.match, self.pending_snapshot) + 1
        else:
            self.next = self.match + 1
        self._enter(ProgressState.PROBE)
        self.sent_commit = min(self.sent_commit, self.next - 1)

    def become_replicate(self) -> None:
        """Send ahead of the acknowledgements."""
        self._enter(ProgressState.REPLICATE)
        self.next = self.match + 1

    def become_snapshot(self, index: int) -> None:
        """A snapshot of ``index`` is on its way."""
        self._enter(ProgressState.SNAPSHOT)
        self.pending_snapshot = index
        self.next = index + 1
        self.sent_commit = index

    def _enter(self, state: ProgressState) -> None:
        self.state = state
        self.flow_paused = False
        self.pending_snapshot = 0
        self.inflights.reset()

    # ---- sending

    @property
    def paused(self) -> bool:
        """Whether nothing may be sent to this follower now, heartbeats excepted."""
        return self.flow_paused or self.state is ProgressState.SNAPSHOT

    def sent_entries(self, count: int, size_bytes: int) -> None:
        """Note that an append with ``count`` entries was sent, from ``next`` on."""
        if self.state is ProgressState.REPLICATE:
            if count:
                self.next += count
                self.inflights.add(self.next - 1, size_bytes)
            self.flow_paused = self.inflights.full
        elif count:
            self.flow_paused = True

    def can_bump_commit(self, commit: int) -> bool:
        """Whether telling the follower ``commit`` would teach it something it can use.

        It can use nothing beyond the last entry that it was sent.
        """
        return commit > self.sent_commit and self.sent_commit < self.next - 1

    # ---- answers

    def maybe_update(self, index: int) -> bool:
        """Note that everything up to ``index`` is durable there; False where that is no news."""
        if index <= self.match:
            return False
        self.match = index
        if index >= self.next:
            self.next = index + 1
        self.flow_paused = False
        return True

    def maybe_decrease(self, rejected: int, hint: int) -> bool:
        """Note that an append after ``rejected`` was refused; False where that is old news.

        ``hint`` is the last index at which the logs can agree (paper, end of section 5.3).
        """
        if self.state is ProgressState.REPLICATE:
            if rejected <= self.match:
                return False
            # What was sent ahead is void.
            self.become_probe()
            return True
        if rejected != self.next - 1:
            return False
        self.next = max(min(rejected, hint + 1), self.match + 1)
        self.sent_commit = min(self.sent_commit, self.next - 1)
        self.flow_paused = False
        return True
