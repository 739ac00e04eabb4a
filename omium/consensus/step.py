"""The two ways in which anything happens to a node: a tick of its clock, and a message."""

from __future__ import annotations

from omium.consensus import election, follower, leader, replication
from omium.consensus.messages import Message, MessageType
from omium.consensus.records import NONE
from omium.consensus.state import Raft, Role

_VOTES = (MessageType.VOTE, MessageType.PRE_VOTE)
_FORWARDED = (MessageType.PROPOSE, MessageType.READ_INDEX, MessageType.TRANSFER_LEADER)
_FROM_LEADER = (MessageType.APPEND, MessageType.HEARTBEAT, MessageType.SNAPSHOT)
_FROM_STALE_LEADER = (MessageType.APPEND, MessageType.HEARTBEAT)


def tick(raft: Raft) -> None:
    """One tick of time has passed."""
    raft.election_elapsed += 1
    if raft.role is not Role.LEADER:
        if raft.promotable and raft.election_elapsed >= raft.randomized_election_timeout:
            raft.election_elapsed = 0
            election.start(raft)
        return
    raft.heartbeat_elapsed += 1
    if raft.election_elapsed >= raft.config.election_ticks:
        raft.election_elapsed = 0
        if raft.config.check_quorum:
            leader.check_quorum(raft)
        # Who did not take over by now will not: take proposals again (thesis, section 3.10).
        raft.transferee = NONE
    if raft.role is Role.LEADER and raft.heartbeat_elapsed >= raft.config.heartbeat_ticks:
        raft.heartbeat_elapsed = 0
        # Repeating the newest read covers the loss of the heartbeats that were to confirm it.
        replication.broadcast_heartbeat(raft, raft.read_only.newest)


def step(raft: Raft, message: Message) -> None:
    """Take in a message (paper, figure 2, "rules for servers").

    Raises ``RequestDropped`` for a proposal or read that is not taken, and ``ProtocolError``
    for a message that no node sends; nothing has changed then.
    """
    kind = message.type
    if kind not in _FORWARDED:
        if message.term > raft.term:
            if not _newer_term(raft, message):
                return
        elif message.term < raft.term:
            _older_term(raft, message)
            return
    if kind in _VOTES:
        election.answer(raft, message)
    elif raft.role is Role.LEADER:
        leader.step(raft, message)
    else:
        follower.step(raft, message)


def _newer_term(raft: Raft, message: Message) -> bool:
    """Adopt the term of a message; False where the message is to be ignored."""
    kind = message.type
    lease = raft.config.check_quorum and raft.hears_from_leader
    if lease and kind in _VOTES and not message.transfer:
        # A node that was cut off must not depose a leader that others still hear
        # (thesis, section 4.2.3).
        return False
    if kind is MessageType.PRE_VOTE:
        return True
    if kind is MessageType.PRE_VOTE_RESPONSE and not message.reject:
        # The grant of a pre-vote names the term to come, which begins only when it is won.
        return True
    raft.become_follower(message.term, message.sender if kind in _FROM_LEADER else NONE)
    return True


def _older_term(raft: Raft, message: Message) -> None:
    """Answer a message of an earlier term where that is needed; it is ignored otherwise."""
    kind = message.type
    if kind in _FROM_STALE_LEADER and (raft.config.check_quorum or raft.config.pre_vote):
        # This node is at a later term that nobody else joined, for the others do not hear it
        # or ignore its votes. Its answer makes that leader step down, so that one election
        # takes in both; without it neither would ever get on.
        raft.outbox_after_write.append(
            Message(
                type=MessageType.APPEND_RESPONSE, to=message.sender, sender=raft.id, term=raft.term
            )
        )
    elif kind is MessageType.PRE_VOTE:
        # Tells a node that is behind of the term, so that its next election can be won.
        raft.outbox_after_write.append(
            Message(
                type=MessageType.PRE_VOTE_RESPONSE,
                to=message.sender,
                sender=raft.id,
                term=raft.term,
                reject=True,
            )
        )
