"""The face of a node: what a driver calls, and what it is told to do.

The driver owns the clock, the disk and the network, and goes round this loop:

    node.tick(), node.step(message), node.propose(data), …
    if node.has_ready():
        ready = node.ready()
        1  send ready.messages                    (may run beside 2)
        2  in one transaction, in this order: install ready.snapshot, save ready.hard_state,
           append ready.entries; made durable where ready.must_sync
        3  send ready.messages_after_write
        4  apply ready.committed_entries, in order; for one that changes the members call
           apply_conf_change(decode_conf_change(entry)) and save what it returns
        5  serve the reads of ready.read_states whose index is applied
        node.advance()

``tick``, ``step`` and proposals may come at any time, also between ``ready`` and ``advance``.
A snapshot message is stepped when its state is at hand, and reported on the side that sent it.

Not thread-safe. Anything that raises ``InvariantBroken`` must stop the replica. A node that lost
its disk must not come back under its old id: it would vote twice, and forget what it acknowledged.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from omium.consensus import election, follower, leader, reads, reconfiguration
from omium.consensus import step as rules
from omium.consensus.config import Config
from omium.consensus.membership import Membership
from omium.consensus.messages import RESPONSES, Message, MessageType
from omium.consensus.progress import ProgressState
from omium.consensus.readonly import ReadRequest, ReadState
from omium.consensus.records import (
    NONE,
    ConfChange,
    ConfChangeV2,
    ConfState,
    Entry,
    EntryType,
    HardState,
    Snapshot,
    encode_conf_change,
    payload_bytes,
)
from omium.consensus.state import Raft, Role, SoftState
from omium.errors import InvariantBroken, PeerUnknown


class Ready(msgspec.Struct, frozen=True, kw_only=True):
    """What the driver has to do next. What is empty or None needs nothing.

    ``soft_state`` and ``hard_state`` are there when they changed. ``entries`` replace
    whatever the log holds from the first one's index on. ``must_sync`` is False where only the
    commit index changed: its loss in a crash does no harm.
    """

    soft_state: SoftState | None
    hard_state: HardState | None
    snapshot: Snapshot | None
    entries: Sequence[Entry]
    committed_entries: Sequence[Entry]
    messages: Sequence[Message]
    messages_after_write: Sequence[Message]
    read_states: Sequence[ReadState]
    must_sync: bool


class ProgressStatus(msgspec.Struct, frozen=True, kw_only=True):
    """How far one member is, in the eyes of the leader. See ``Progress`` for the fields."""

    match: int
    next: int
    state: ProgressState
    paused: bool
    pending_snapshot: int
    recent_active: bool
    inflight: int
    inflight_full: bool
    is_learner: bool


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """A look at a node. ``progress`` is of the leader only, and empty elsewhere."""

    id: int
    soft_state: SoftState
    hard_state: HardState
    first_index: int
    last_index: int
    applied: int
    transferee: int
    membership: Membership
    progress: dict[int, ProgressStatus]


class RawNode:
    """One member of a group, driven from outside."""

    __slots__ = ("_given", "_hard_state", "_self_vote", "_soft_state", "raft")

    def __init__(self, config: Config) -> None:
        self.raft = Raft(config)
        self._soft_state: SoftState = self.raft.soft_state()
        self._hard_state: HardState = self.raft.hard_state()
        self._given: Ready | None = None
        # The election in which this node's own vote becomes durable with the Ready under way.
        self._self_vote: tuple[Role, int] | None = None

    # ---- what happens to a node

    def tick(self) -> None:
        """One tick of time has passed."""
        rules.tick(self.raft)

    def step(self, message: Message) -> None:
        """Take in a message from another node.

        Raises ``RequestDropped`` for a forwarded proposal or read that is not taken,
        ``PeerUnknown`` for the answer of a node that is not (or no longer) a member, and
        ``ProtocolError`` for what no node sends. Nothing has changed then: drop the message.
        """
        if message.type in RESPONSES and message.sender not in self.raft.tracker.progress:
            raise PeerUnknown(message.sender)
        rules.step(self.raft, message)

    def campaign(self) -> None:
        """Start an election now, without waiting for the time-out."""
        election.start(self.raft)

    def forget_leader(self) -> None:
        """Take the leader for dead before its time is up, without raising the term.

        A follower then grants pre-votes at once, and goes on if its leader is heard from after
        all. Does nothing on the leader.
        """
        if self.raft.role is Role.FOLLOWER:
            self.raft.lead = NONE

    def transfer_leader(self, to: int) -> None:
        """Let the leader hand over to ``to`` (thesis, section 3.10).

        Watch ``SoftState`` for what becomes of it. Raises ``RequestDropped`` where no leader
        is known.
        """
        if self.raft.role is Role.LEADER:
            leader.transfer(self.raft, to)
        else:
            wish = Message(type=MessageType.TRANSFER_LEADER, to=NONE, sender=to)
            follower.forward(self.raft, wish)

    def report_unreachable(self, node_id: int) -> None:
        """A message to ``node_id`` could not be sent: send less until it answers."""
        if self.raft.role is Role.LEADER:
            leader.unreachable(self.raft, node_id)

    def report_snapshot(self, node_id: int, *, delivered: bool) -> None:
        """A snapshot message was delivered to ``node_id``, or it could not be.

        Every snapshot message must be reported: nothing else is sent to ``node_id`` before.
        """
        if self.raft.role is Role.LEADER:
            leader.snapshot_sent(self.raft, node_id, delivered=delivered)

    # ---- what is asked of a group

    def propose(self, *data: bytes) -> int | None:
        """Propose entries, all of them or none; more in one call cost fewer messages.

        Returns the index of the first on the leader: they are committed if what is committed
        there has the present term. Returns None where they were forwarded: their fate is not
        told. Raises ``RequestDropped``; the same call may work later, or elsewhere.
        """
        return self._propose([(EntryType.NORMAL, one) for one in data])

    def propose_conf_change(self, change: ConfChange | ConfChangeV2) -> int | None:
        """Propose a change of members; returns as ``propose`` does.

        Where it cannot be made now (one is under way, or the result would be none) an empty
        entry takes its place.
        """
        return self._propose((encode_conf_change(change),))

    def _propose(self, proposals: Sequence[tuple[EntryType, bytes]]) -> int | None:
        if not proposals:
            raise InvariantBroken("a proposal of nothing")
        if self.raft.role is Role.LEADER:
            return leader.propose(self.raft, proposals)
        entries = [Entry(term=0, index=0, type=kind, data=data) for kind, data in proposals]
        message = Message(
            type=MessageType.PROPOSE, to=self.raft.id, sender=self.raft.id, entries=entries
        )
        rules.step(self.raft, message)
        return None

    def apply_conf_change(self, change: ConfChangeV2) -> ConfState:
        """Put a committed change into force, and return the members to be saved.

        To refuse a change that was committed, pass ``ConfChangeV2`` with changes whose
        ``node_id`` is 0, on every node alike. Raises ``ConfChangeRefused`` for one that cannot
        be made, which no leader lets happen.
        """
        return reconfiguration.apply(self.raft, change)

    def read_index(self, context: bytes) -> None:
        """Ask for a linearizable read (thesis, section 6.4).

        The answer is a ``ReadState`` with the same ``context``, which must be unique in the
        group and not empty. There is none if leadership changes or a message is lost: ask
        again after a time, under another context. Every call costs a round of heartbeats:
        put reads that wait together under one. Raises ``RequestDropped``.
        """
        if self.raft.role is Role.LEADER:
            reads.request(self.raft, ReadRequest(sender=self.raft.id, context=context))
        else:
            wish = Message(type=MessageType.READ_INDEX, to=NONE, context=context)
            follower.forward(self.raft, wish)

    # ---- what a node wants done

    def has_ready(self, *, apply: bool = True) -> bool:
        """Whether there is something to do, other than to apply what was committed where that
        may wait (``apply`` False)."""
        raft = self.raft
        hard_state = raft.hard_state()
        return bool(
            raft.outbox
            or raft.outbox_after_write
            or raft.log.unstable.entries
            or raft.log.unstable.snapshot is not None
            or (apply and raft.log.has_next_committed())
            or raft.read_states
            or raft.self_vote_due
            or raft.soft_state() != self._soft_state
            or _is_promise(hard_state, self._hard_state)
            or (apply and hard_state.commit != self._hard_state.commit)
        )

    def ready(self, *, apply: bool = True) -> Ready:
        """What to do now. ``advance`` must follow before this is called again.

        Without ``apply`` no committed entries are handed out; they are with a later one.
        """
        if self._given is not None:
            raise InvariantBroken("ready() was called twice without advance()")
        raft, log = self.raft, self.raft.log
        soft_state, hard_state = raft.soft_state(), raft.hard_state()
        soft_changed = soft_state != self._soft_state
        entries, snapshot = tuple(log.unstable.entries), log.unstable.snapshot
        # How far is committed is learnt again: alone it is worth no write. With entries it must
        # be written: no change of members may be durable before it is known that the one before
        # it is committed. Else a node that crashed holds an election among members of two
        # changes ago, whose majority need not meet that of now.
        hard_changed = _is_promise(hard_state, self._hard_state) or (
            hard_state.commit != self._hard_state.commit
            and bool(apply or entries or snapshot is not None)
        )
        must_sync = bool(
            entries or snapshot is not None or _is_promise(hard_state, self._hard_state)
        )
        ready = Ready(
            soft_state=soft_state if soft_changed else None,
            hard_state=hard_state if hard_changed else None,
            snapshot=snapshot,
            entries=entries,
            committed_entries=log.next_committed() if apply else (),
            messages=raft.outbox,
            messages_after_write=raft.outbox_after_write,
            read_states=raft.read_states,
            must_sync=must_sync,
        )
        self._self_vote = (raft.role, raft.term) if raft.self_vote_due else None
        self._soft_state = soft_state
        if hard_changed:
            self._hard_state = hard_state
        raft.outbox, raft.outbox_after_write, raft.read_states = [], [], []
        raft.self_vote_due = False
        self._given = ready
        return ready

    def advance(self) -> None:
        """All that the last ``Ready`` asked for is done."""
        ready, self._given = self._given, None
        if ready is None:
            raise InvariantBroken("advance() was called without ready()")
        raft, log = self.raft, self.raft.log
        if self._self_vote == (raft.role, raft.term):
            election.count_vote(raft, raft.id, True)
        if ready.entries:
            last = ready.entries[-1]
            # Entries of this term on the leader are its own, and still there.
            if raft.role is Role.LEADER and last.term == raft.term:
                own = raft.tracker.progress.get(raft.id)
                if own is not None:
                    leader.acknowledged(raft, raft.id, own, last.index)
            log.unstable.stable_to(last.index, last.term)
        if ready.snapshot is not None:
            log.unstable.stable_snapshot_to(ready.snapshot.index)
            reconfiguration.applied(raft, ready.snapshot.index)
        if ready.committed_entries:
            raft.uncommitted_bytes -= min(
                raft.uncommitted_bytes, payload_bytes(ready.committed_entries)
            )
            reconfiguration.applied(raft, ready.committed_entries[-1].index)

    # ---- looking

    @property
    def id(self) -> int:
        """This node."""
        return self.raft.id

    @property
    def term(self) -> int:
        """The term that it is in."""
        return self.raft.term

    @property
    def lead(self) -> int:
        """Who leads, as far as it knows; 0 for nobody."""
        return self.raft.lead

    @property
    def behind(self) -> int:
        """How many entries are committed and not applied yet."""
        return self.raft.log.committed - self.raft.log.applied

    @property
    def asks_for_votes(self) -> bool:
        """Whether it is about to ask for votes: with the next ``Ready``."""
        return self.raft.self_vote_due

    @property
    def role(self) -> Role:
        """Its role."""
        return self.raft.role

    def status(self) -> Status:
        """A look at the node, for people and for metrics."""
        raft = self.raft
        progress = {
            node_id: ProgressStatus(
                match=one.match,
                next=one.next,
                state=one.state,
                paused=one.paused,
                pending_snapshot=one.pending_snapshot,
                recent_active=one.recent_active,
                inflight=len(one.inflights),
                inflight_full=one.inflights.full,
                is_learner=one.is_learner,
            )
            for node_id, one in raft.tracker.progress.items()
            if raft.role is Role.LEADER
        }
        return Status(
            id=raft.id,
            soft_state=raft.soft_state(),
            hard_state=raft.hard_state(),
            first_index=raft.log.first_index,
            last_index=raft.log.last_index,
            applied=raft.log.applied,
            transferee=raft.transferee,
            membership=raft.tracker.membership,
            progress=progress,
        )


def _is_promise(now: HardState, before: HardState) -> bool:
    """Whether a hard state says more than which entries are committed."""
    return now.term != before.term or now.vote != before.vote
