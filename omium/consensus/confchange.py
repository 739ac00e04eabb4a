"""The rules of membership change: from one set of members to the next, or a refusal.

Pure functions from members and their progress to new ones. A simple change adds or removes one
voter, so that old and new majorities overlap (thesis, section 4.1); any other goes through a
joint configuration, in which both majorities are needed (paper, section 6; thesis, section 4.3).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeAlias

from omium.consensus.membership import Membership
from omium.consensus.progress import Progress
from omium.consensus.records import (
    NONE,
    ConfChangeSingle,
    ConfChangeType,
    ConfChangeV2,
    ConfState,
)
from omium.consensus.tracker import ProgressTracker
from omium.errors import ConfChangeRefused, InvariantBroken

Changed: TypeAlias = tuple[Membership, dict[int, Progress]]
"""New members and their progress, to be handed to ``ProgressTracker.adopt``."""


def changed(tracker: ProgressTracker, last_index: int, change: ConfChangeV2) -> Changed:
    """The members after ``change``, by whichever way it asks for.

    ``last_index`` is that of the log: where a leader starts to probe a new member. Raises
    ``ConfChangeRefused``; the tracker is not touched in any case.
    """
    if change.leaves_joint:
        return leave_joint(tracker)
    if change.enters_joint:
        return enter_joint(tracker, last_index, change.changes, auto_leave=change.auto_leave)
    return simple(tracker, last_index, change.changes)


def simple(
    tracker: ProgressTracker, last_index: int, changes: Iterable[ConfChangeSingle]
) -> Changed:
    """Change at most one voter, and any number of learners. Raises ``ConfChangeRefused``."""
    before = tracker.membership
    if before.joint:
        raise ConfChangeRefused("joint")
    draft = _Draft(tracker, last_index)
    draft.apply(changes)
    if len(before.voters ^ draft.voters) > 1:
        raise ConfChangeRefused("too_many_voters")
    return draft.finish()


def enter_joint(
    tracker: ProgressTracker,
    last_index: int,
    changes: Iterable[ConfChangeSingle],
    *,
    auto_leave: bool,
) -> Changed:
    """Make a joint configuration of the present voters and those after ``changes``.

    Raises ``ConfChangeRefused``.
    """
    before = tracker.membership
    if before.joint:
        raise ConfChangeRefused("already_joint")
    if not before.voters:
        raise ConfChangeRefused("no_voters_to_join")
    draft = _Draft(tracker, last_index)
    draft.outgoing = set(before.voters)
    draft.auto_leave = auto_leave
    draft.apply(changes)
    return draft.finish()


def leave_joint(tracker: ProgressTracker) -> Changed:
    """Let the outgoing voters go. Raises ``ConfChangeRefused`` outside a joint configuration."""
    if not tracker.membership.joint:
        raise ConfChangeRefused("not_joint")
    draft = _Draft(tracker, 0)
    draft.leave()
    return draft.finish()


def restored(tracker: ProgressTracker, last_index: int, state: ConfState) -> Changed:
    """The members that ``state`` names, with nothing known about their progress."""
    membership = Membership.of(state)
    members = membership.all_voters | membership.learners
    progress = {
        node_id: _newcomer(tracker, last_index, learner=node_id in membership.learners)
        for node_id in members
    }
    _check(membership, progress)
    return membership, progress


class _Draft:
    """Members while they change. The progress of others is replaced, never altered."""

    def __init__(self, tracker: ProgressTracker, last_index: int) -> None:
        before = tracker.membership
        self._tracker = tracker
        self._last_index = last_index
        self.voters = set(before.voters)
        self.outgoing = set(before.outgoing)
        self.learners = set(before.learners)
        self.learners_next = set(before.learners_next)
        self.auto_leave = before.auto_leave
        self.progress = dict(tracker.progress)

    def apply(self, changes: Iterable[ConfChangeSingle]) -> None:
        for change in changes:
            # A driver voids a change that it wants to refuse by clearing its node.
            if change.node_id != NONE:
                _APPLY[change.type](self, change.node_id)
        if not self.voters:
            raise ConfChangeRefused("no_voters_left")

    def add_voter(self, node_id: int) -> None:
        known = self.progress.get(node_id)
        self.progress[node_id] = (
            known.with_learner(False) if known else self._newcomer(learner=False)
        )
        self.learners.discard(node_id)
        self.learners_next.discard(node_id)
        self.voters.add(node_id)

    def add_learner(self, node_id: int) -> None:
        known = self.progress.get(node_id)
        if known is not None and known.is_learner:
            return
        self.remove(node_id)
        if node_id in self.outgoing:
            # Still a voter of the outgoing half, and nobody may be both.
            self.learners_next.add(node_id)
            return
        self.progress[node_id] = known.with_learner(True) if known else self._newcomer(learner=True)
        self.learners.add(node_id)

    def remove(self, node_id: int) -> None:
        self.voters.discard(node_id)
        self.learners.discard(node_id)
        self.learners_next.discard(node_id)
        if node_id not in self.outgoing:
            self.progress.pop(node_id, None)

    def update(self, node_id: int) -> None:
        """Nothing changes here: the driver keeps what the change's context says."""

    def leave(self) -> None:
        for node_id in self.learners_next:
            self.progress[node_id] = self.progress[node_id].with_learner(True)
        self.learners |= self.learners_next
        for node_id in self.outgoing - self.voters - self.learners:
            self.progress.pop(node_id, None)
        self.learners_next.clear()
        self.outgoing.clear()
        self.auto_leave = False

    def finish(self) -> Changed:
        membership = Membership(
            voters=frozenset(self.voters),
            outgoing=frozenset(self.outgoing),
            learners=frozenset(self.learners),
            learners_next=frozenset(self.learners_next),
            auto_leave=self.auto_leave,
        )
        _check(membership, self.progress)
        return membership, self.progress

    def _newcomer(self, *, learner: bool) -> Progress:
        return _newcomer(self._tracker, self._last_index, learner=learner)


_APPLY: dict[ConfChangeType, Callable[[_Draft, int], None]] = {
    ConfChangeType.ADD_NODE: _Draft.add_voter,
    ConfChangeType.ADD_LEARNER_NODE: _Draft.add_learner,
    ConfChangeType.REMOVE_NODE: _Draft.remove,
    ConfChangeType.UPDATE_NODE: _Draft.update,
}


def _newcomer(tracker: ProgressTracker, last_index: int, *, learner: bool) -> Progress:
    # A newcomer counts as heard from: it must have the time to answer before a check of the
    # quorum. Probing at the end of the log finds out with one message what it has.
    return tracker.new_progress(next_index=max(last_index, 1), learner=learner, active=True)


def _check(membership: Membership, progress: dict[int, Progress]) -> None:
    """The laws that hold for members at any time; one that is broken is a fault of ours."""
    learners, voters = membership.learners, membership.all_voters
    laws = {
        "every member has a progress, and nobody else": voters | learners == progress.keys(),
        "nobody votes and learns": not voters & learners,
        "learners to be are outgoing voters": membership.learners_next <= membership.outgoing,
        "only a joint configuration is left by itself": membership.joint
        or not (membership.auto_leave or membership.learners_next),
        "learners are marked": all(
            one.is_learner == (n in learners) for n, one in progress.items()
        ),
    }
    for law, holds in laws.items():
        if not holds:
            raise InvariantBroken(f"{law}: {membership}")
