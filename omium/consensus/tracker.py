"""The members of the group with the progress of each, and the votes of an election."""

from __future__ import annotations

from omium.consensus import quorum
from omium.consensus.inflights import Inflights
from omium.consensus.membership import Membership
from omium.consensus.progress import Progress
from omium.consensus.quorum import VoteResult


class ProgressTracker:
    """Who is in the group and how far each one is.

    ``progress`` is in ascending order of ids, so that what goes out to all goes out in the same
    order everywhere: a seeded simulation must come out the same.
    """

    __slots__ = ("_bytes_max", "_messages_max", "membership", "progress", "votes")

    def __init__(self, *, inflight_messages_max: int, inflight_bytes_max: int) -> None:
        self._messages_max = inflight_messages_max
        self._bytes_max = inflight_bytes_max
        self.membership = Membership()
        self.progress: dict[int, Progress] = {}
        self.votes: dict[int, bool] = {}

    def new_progress(
        self, *, next_index: int, match: int = 0, learner: bool = False, active: bool = False
    ) -> Progress:
        """The progress of a follower about which nothing else is known."""
        return Progress(
            match=match,
            next_index=next_index,
            inflights=Inflights(messages_max=self._messages_max, bytes_max=self._bytes_max),
            is_learner=learner,
            recent_active=active,
        )

    def adopt(self, membership: Membership, progress: dict[int, Progress]) -> None:
        """Put other members in force."""
        self.membership = membership
        self.progress = dict(sorted(progress.items()))

    def reset(self, own_id: int, last_index: int) -> None:
        """Forget what was known about the followers, as at the start of a term.

        The node's own log counts as durable up to ``last_index``: it asked for votes, if it
        did, only after it had written all of that.
        """
        self.votes.clear()
        for node_id, progress in self.progress.items():
            self.progress[node_id] = self.new_progress(
                next_index=last_index + 1,
                match=last_index if node_id == own_id else 0,
                learner=progress.is_learner,
            )

    def committed(self) -> int:
        """The highest index that is durable at a quorum (paper, section 5.3)."""
        progress, membership = self.progress, self.membership
        incoming = [progress[node_id].match for node_id in membership.voters]
        if not membership.outgoing:
            return quorum.committed_index(incoming)
        outgoing = [progress[node_id].match for node_id in membership.outgoing]
        return quorum.joint_committed_index(incoming, outgoing)

    def quorum_active(self) -> bool:
        """Whether a quorum of voters was heard from since the last time that was asked."""
        active = {node_id: one.recent_active for node_id, one in self.progress.items()}
        return self.membership.vote_result(active) is VoteResult.WON

    def record_vote(self, voter: int, granted: bool) -> VoteResult:
        """Count a vote, the first of each voter only, and say how the election stands."""
        self.votes.setdefault(voter, granted)
        return self.membership.vote_result(self.votes)
