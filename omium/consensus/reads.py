"""Linearizable reads through the leader: ReadIndex (thesis, section 6.4)."""

from __future__ import annotations

from omium.consensus.messages import Message, MessageType
from omium.consensus.quorum import VoteResult
from omium.consensus.readonly import ReadRequest, ReadState
from omium.consensus.replication import broadcast_heartbeat
from omium.consensus.state import Raft
from omium.errors import RequestDropped


def request(raft: Raft, read: ReadRequest) -> None:
    """Take in a read, on the leader. Raises ``RequestDropped`` where too many wait."""
    if len(raft.read_only) + len(raft.postponed_reads) >= raft.config.pending_reads_max:
        raise RequestDropped("read", "too many reads wait for their confirmation")
    if raft.log.term(raft.log.committed) != raft.term:
        # Until it has committed an entry of its own a leader does not know what is committed,
        # not even one that is alone: the commit index that it found on disk may be an old one.
        raft.postponed_reads.append(read)
        return
    _start(raft, read)


def release_postponed(raft: Raft) -> None:
    """Go on with the reads that came too early, once an entry of this term is committed."""
    if raft.postponed_reads and raft.log.term(raft.log.committed) == raft.term:
        postponed, raft.postponed_reads = raft.postponed_reads, []
        for read in postponed:
            _start(raft, read)


def _start(raft: Raft, read: ReadRequest) -> None:
    membership = raft.tracker.membership
    if membership.singleton and raft.id in membership.voters:
        _answer(raft, read, raft.log.committed)
        return
    raft.read_only.add(read, raft.log.committed)
    raft.read_only.acknowledge(raft.id, read.context)
    broadcast_heartbeat(raft, read.context)


def acknowledge(raft: Raft, node_id: int, context: bytes) -> None:
    """``node_id`` answered the heartbeat that asks to confirm the read ``context``."""
    acks = raft.read_only.acknowledge(node_id, context)
    if raft.tracker.membership.vote_result(acks) is VoteResult.WON:
        for read, index in raft.read_only.confirm(context):
            _answer(raft, read, index)


def _answer(raft: Raft, read: ReadRequest, index: int) -> None:
    if read.sender == raft.id:
        raft.read_states.append(ReadState(index=index, context=read.context))
        return
    raft.outbox.append(
        Message(
            type=MessageType.READ_INDEX_RESPONSE,
            to=read.sender,
            sender=raft.id,
            term=raft.term,
            index=index,
            context=read.context,
        )
    )
