"""Elections: asking for votes, and granting them (paper, sections 5.2 and 5.4.1)."""

from __future__ import annotations

from omium.consensus import replication
from omium.consensus.messages import Message, MessageType
from omium.consensus.quorum import VoteResult
from omium.consensus.records import NONE, EntryType
from omium.consensus.state import Raft, Role

_RESPONSE = {
    MessageType.VOTE: MessageType.VOTE_RESPONSE,
    MessageType.PRE_VOTE: MessageType.PRE_VOTE_RESPONSE,
}


def start(raft: Raft, *, transfer: bool = False) -> None:
    """Start an election, if this node may.

    With ``transfer`` the leader asked for it: no pre-vote then, for that leader is known to be
    alive and willing (thesis, section 3.10).
    """
    if raft.role is Role.LEADER or not raft.promotable:
        return
    # This node may be leaving, or its group may be another by now: it applies that first.
    if raft.log.has_unapplied_conf_change(raft.config.committed_bytes_max):
        return
    if raft.config.pre_vote and not transfer:
        _ask_pre_votes(raft)
    else:
        _ask_votes(raft, transfer=transfer)


def _ask_pre_votes(raft: Raft) -> None:
    raft.become_pre_candidate()
    _ask(raft, MessageType.PRE_VOTE, raft.term + 1)


def _ask_votes(raft: Raft, *, transfer: bool = False) -> None:
    raft.become_candidate()
    _ask(raft, MessageType.VOTE, raft.term, transfer=transfer)


def _ask(raft: Raft, kind: MessageType, term: int, *, transfer: bool = False) -> None:
    raft.self_vote_due = True
    last_index, last_term = raft.log.last_index, raft.log.last_term
    for voter in sorted(raft.tracker.membership.all_voters):
        if voter == raft.id:
            continue
        # Votes are asked for after the write: an answer must never find this node, after a
        # crash, with less than what it had when it asked.
        raft.outbox_after_write.append(
            Message(
                type=kind,
                to=voter,
                sender=raft.id,
                term=term,
                log_term=last_term,
                index=last_index,
                transfer=transfer,
            )
        )


def count_vote(raft: Raft, voter: int, granted: bool) -> None:
    """Count a vote, or a pre-vote, of the election that is under way."""
    result = raft.tracker.record_vote(voter, granted)
    if result is VoteResult.WON:
        if raft.role is Role.PRE_CANDIDATE:
            _ask_votes(raft)
        else:
            _lead(raft)
    elif result is VoteResult.LOST:
        # A pre-vote that is lost ends at the term that it began with.
        raft.become_follower(raft.term, NONE)


def learn_commit(raft: Raft, message: Message) -> None:
    """Take over the commit index in the answer to a vote, where the logs agree there.

    An entry that is committed and that this log has is committed here too, with all before it.
    Changes of members among them have to be applied before anything is won.
    """
    if raft.log.maybe_commit(message.commit, message.log_term):
        raft.become_follower(raft.term, NONE)


def _lead(raft: Raft) -> None:
    raft.become_leader()
    # Nothing of earlier terms is committed before an entry of this one is (section 5.4.2).
    replication.append_entries(raft, ((EntryType.NORMAL, b""),))
    replication.broadcast_append(raft)


def answer(raft: Raft, asked: Message) -> None:
    """Grant a vote or a pre-vote, or refuse it (paper, section 5.4.1; thesis, section 9.6).

    The term of the message is this node's, or for a pre-vote above it. A learner votes too if
    it is asked: it may not know yet that it was promoted.
    """
    pre_vote = asked.type is MessageType.PRE_VOTE
    free = (
        raft.vote == asked.sender
        or (raft.vote == NONE and raft.lead == NONE)
        or (pre_vote and asked.term > raft.term)
    )
    granted = free and raft.log.is_up_to_date(asked.index, asked.log_term)
    if granted and not pre_vote:
        # A pre-vote binds nobody and is no reason to wait.
        raft.election_elapsed = 0
        raft.vote = asked.sender
    commit = commit_term = 0
    if not granted and raft.id not in raft.tracker.membership.all_voters:
        # Whoever asks does not know yet that this node left, and may need its vote for ever:
        # it is told what is committed, the change that removed this node included.
        commit = raft.log.committed
        commit_term = raft.log.term(commit) or 0
    raft.outbox_after_write.append(
        Message(
            type=_RESPONSE[asked.type],
            to=asked.sender,
            sender=raft.id,
            # The grant of a pre-vote names the term that was asked about, not this node's.
            term=asked.term if granted else raft.term,
            reject=not granted,
            commit=commit,
            log_term=commit_term,
        )
    )
