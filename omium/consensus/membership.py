"""Who belongs to the group: one configuration, or two while a joint one is in force."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from omium.consensus import quorum
from omium.consensus.quorum import VoteResult
from omium.consensus.records import ConfState


class Membership(msgspec.Struct, frozen=True, kw_only=True):
    """The members (paper, section 6; learners: thesis, section 4.2.1).

    ``outgoing`` is empty but in a joint configuration, in which every decision needs a majority
    of ``voters`` and one of ``outgoing``. A node is a voter (in one half or both) or a learner,
    never both; ``learners_next`` are outgoing voters that become learners when the joint
    configuration is left.
    """

    voters: frozenset[int] = frozenset()
    outgoing: frozenset[int] = frozenset()
    learners: frozenset[int] = frozenset()
    learners_next: frozenset[int] = frozenset()
    auto_leave: bool = False

    @classmethod
    def of(cls, state: ConfState) -> Membership:
        """The members that ``state`` names."""
        return cls(
            voters=frozenset(state.voters),
            outgoing=frozenset(state.voters_outgoing),
            learners=frozenset(state.learners),
            learners_next=frozenset(state.learners_next),
            auto_leave=state.auto_leave,
        )

    @property
    def joint(self) -> bool:
        """Whether two configurations are in force."""
        return bool(self.outgoing)

    @property
    def all_voters(self) -> frozenset[int]:
        """The voters of both halves."""
        return self.voters | self.outgoing if self.outgoing else self.voters

    def includes(self, node_id: int) -> bool:
        """Whether the node is a voter or a learner."""
        return node_id in self.voters or node_id in self.outgoing or node_id in self.learners

    @property
    def singleton(self) -> bool:
        """Whether one node decides alone."""
        return len(self.voters) == 1 and not self.outgoing

    def vote_result(self, votes: Mapping[int, bool]) -> VoteResult:
        """How an election stands, given who granted (True) and who refused."""
        if self.outgoing:
            return quorum.joint_vote_result(self.voters, self.outgoing, votes)
        return quorum.vote_result(self.voters, votes)

    def conf_state(self) -> ConfState:
        """The form that is stored."""
        return ConfState(
            voters=tuple(sorted(self.voters)),
            voters_outgoing=tuple(sorted(self.outgoing)),
            learners=tuple(sorted(self.learners)),
            learners_next=tuple(sorted(self.learners_next)),
            auto_leave=self.auto_leave,
        )
