"""The state of one node of a group, and the changes of role that touch nothing else.

What a node does with it is in the modules ``election``, ``leader``, ``follower`` and ``reads``;
nothing outside of this package looks at it but for tests and ``RawNode``.
"""

from __future__ import annotations

import enum

import msgspec

from omium.consensus import confchange
from omium.consensus.config import Config
from omium.consensus.log import RaftLog
from omium.consensus.messages import Message
from omium.consensus.readonly import ReadOnly, ReadRequest, ReadState
from omium.consensus.records import NONE, ConfState, HardState
from omium.consensus.tracker import ProgressTracker
from omium.errors import ConfigError


class Role(enum.Enum):
    """What a node is in its term (paper, figure 4; pre-candidate: thesis, section 9.6)."""

    FOLLOWER = "follower"
    PRE_CANDIDATE = "pre_candidate"
    CANDIDATE = "candidate"
    LEADER = "leader"


class SoftState(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Who leads, as far as this node knows (0: nobody), and its own role. Never stored."""

    lead: int
    role: Role


class Raft:
    """One node.

    Messages are left in two boxes, and the difference is what safety rests on. What is in
    ``outbox`` may be sent at once. What is in ``outbox_after_write`` speaks of a term, a vote
    or entries of this node: it may be sent only after they are durable.
    """

    __slots__ = (
        "config",
        "election_elapsed",
        "heartbeat_elapsed",
        "id",
        "lead",
        "log",
        "outbox",
        "outbox_after_write",
        "pending_conf_index",
        "postponed_reads",
        "randomized_election_timeout",
        "read_only",
        "read_states",
        "role",
        "self_vote_due",
        "term",
        "tracker",
        "transferee",
        "uncommitted_bytes",
        "vote",
    )

    def __init__(self, config: Config) -> None:
        self.config = config
        self.id = config.id
        hard_state, conf_state = config.storage.initial_state()
        if conf_state != ConfState() and config.storage.first_index() == 1:
            raise ConfigError(
                "a group starts from a snapshot that names its members (initial_snapshot): "
                "from the log alone nobody who joins later would learn who they are"
            )
        self.log = RaftLog(config.storage, committed_bytes_max=config.committed_bytes_max)
        self.tracker = ProgressTracker(
            inflight_messages_max=config.inflight_messages_max,
            inflight_bytes_max=config.inflight_bytes_max,
        )
        members = confchange.restored(self.tracker, self.log.last_index, conf_state)
        self.tracker.adopt(*members)

        self.term = 0
        self.vote = NONE
        self.lead = NONE
        self.role = Role.FOLLOWER
        self.outbox: list[Message] = []
        self.outbox_after_write: list[Message] = []
        self.read_states: list[ReadState] = []
        # Set where this node asks for votes, its own included: that counts once it is durable.
        self.self_vote_due = False

        self.read_only = ReadOnly()
        # Reads that came before the leader had committed an entry of its own term.
        self.postponed_reads: list[ReadRequest] = []
        # The node to which leadership is being handed over.
        self.transferee = NONE
        # No change of members may be proposed before this index is applied.
        self.pending_conf_index = 0
        self.uncommitted_bytes = 0
        self.election_elapsed = 0
        self.heartbeat_elapsed = 0
        self.randomized_election_timeout = 0

        self.term = hard_state.term
        self.vote = hard_state.vote
        # The commit index on disk may be an old one: what was applied is committed too.
        self.log.commit_to(max(hard_state.commit, config.applied))
        self.log.applied_to(max(config.applied, self.log.applied))
        self.become_follower(self.term, NONE)

    # ---- what is told to the driver

    def hard_state(self) -> HardState:
        """What has to be durable."""
        return HardState(term=self.term, vote=self.vote, commit=self.log.committed)

    def soft_state(self) -> SoftState:
        """Who leads."""
        return SoftState(lead=self.lead, role=self.role)

    # ---- what a node may do

    @property
    def promotable(self) -> bool:
        """Whether this node may start an election: a voter, and no snapshot to be installed."""
        own = self.tracker.progress.get(self.id)
        return own is not None and not own.is_learner and self.log.unstable.snapshot is None

    @property
    def hears_from_leader(self) -> bool:
        """Whether a leader was heard from within the shortest election time-out."""
        return self.lead != NONE and self.election_elapsed < self.config.election_ticks

    # ---- roles

    def become_follower(self, term: int, lead: int) -> None:
        """Follow ``lead``, or nobody yet."""
        self._reset(term)
        self.lead = lead
        self.role = Role.FOLLOWER

    def become_pre_candidate(self) -> None:
        """Ask who would vote. Term and vote stay as they are (thesis, section 9.6)."""
        self.tracker.votes.clear()
        self.lead = NONE
        self.role = Role.PRE_CANDIDATE

    def become_candidate(self) -> None:
        """Start a term, and vote for oneself in it (paper, section 5.2)."""
        self._reset(self.term + 1)
        self.vote = self.id
        self.role = Role.CANDIDATE

    def become_leader(self) -> None:
        """Lead the term. The caller appends the entry that every term begins with."""
        self._reset(self.term)
        self.lead = self.id
        self.role = Role.LEADER
        own = self.tracker.progress[self.id]
        own.become_replicate()
        own.recent_active = True
        # There may be a change of members in what was not applied yet. Waiting for all of it
        # is simpler than looking, and never long.
        self.pending_conf_index = self.log.last_index

    def _reset(self, term: int) -> None:
        if term != self.term:
            self.term = term
            self.vote = NONE
        self.lead = NONE
        self.self_vote_due = False
        self.election_elapsed = 0
        self.heartbeat_elapsed = 0
        ticks = self.config.election_ticks
        self.randomized_election_timeout = ticks + self.config.draw(ticks)
        self.transferee = NONE
        self.pending_conf_index = 0
        self.uncommitted_bytes = 0
        self.tracker.reset(self.id, self.log.last_index)
        self.read_only = ReadOnly()
        self.postponed_reads = []
