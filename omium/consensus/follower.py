"""What a follower and a candidate do with what they are sent (paper, figure 2)."""

from __future__ import annotations

from omium.consensus import confchange, election
from omium.consensus.membership import Membership
from omium.consensus.messages import Message, MessageType
from omium.consensus.readonly import ReadState
from omium.consensus.records import NONE, Snapshot
from omium.consensus.state import Raft, Role
from omium.errors import ProtocolError, RequestDropped

_FROM_LEADER = (MessageType.APPEND, MessageType.HEARTBEAT, MessageType.SNAPSHOT)


def step(raft: Raft, message: Message) -> None:
    """Take in a message of this node's term, or one to be forwarded to the leader."""
    kind = message.type
    if kind in _FROM_LEADER:
        if raft.role is not Role.FOLLOWER:
            # Somebody else won this term (paper, section 5.2).
            raft.become_follower(message.term, message.sender)
        raft.election_elapsed = 0
        raft.lead = message.sender
        if kind is MessageType.APPEND:
            _append(raft, message)
        elif kind is MessageType.HEARTBEAT:
            _heartbeat(raft, message)
        else:
            _snapshot(raft, message)
    elif kind is MessageType.VOTE_RESPONSE:
        election.learn_commit(raft, message)
        if raft.role is Role.CANDIDATE:
            election.count_vote(raft, message.sender, not message.reject)
    elif kind is MessageType.PRE_VOTE_RESPONSE:
        election.learn_commit(raft, message)
        if raft.role is Role.PRE_CANDIDATE:
            election.count_vote(raft, message.sender, not message.reject)
    elif raft.role is Role.FOLLOWER:
        _step_follower(raft, message)
    elif kind is MessageType.PROPOSE:
        raise RequestDropped("proposal", "there is an election")


def _step_follower(raft: Raft, message: Message) -> None:
    kind = message.type
    if kind is MessageType.PROPOSE:
        if not raft.config.forward_proposals:
            raise RequestDropped("proposal", "this node does not lead")
        forward(raft, message)
    elif kind is MessageType.READ_INDEX or kind is MessageType.TRANSFER_LEADER:
        forward(raft, message)
    elif kind is MessageType.READ_INDEX_RESPONSE:
        raft.read_states.append(ReadState(index=message.index, context=message.context))
    elif kind is MessageType.TIMEOUT_NOW:
        election.start(raft, transfer=True)


def forward(raft: Raft, message: Message) -> None:
    """Pass ``message`` on to the leader. Raises ``RequestDropped`` where none is known."""
    if raft.lead == NONE:
        raise RequestDropped(message.type.name.lower(), "no leader is known")
    raft.outbox.append(
        Message(
            type=message.type,
            to=raft.lead,
            sender=message.sender or raft.id,
            entries=message.entries,
            context=message.context,
        )
    )


def _append(raft: Raft, message: Message) -> None:
    log, previous = raft.log, message.index
    entries = message.entries
    if entries and (
        entries[0].index != previous + 1 or entries[-1].index != previous + len(entries)
    ):
        raise ProtocolError(f"the entries after {previous} do not follow one another")
    if previous < log.committed:
        # It agrees with the leader at least this far: nothing committed is ever replaced.
        _acknowledge(raft, message.sender, log.committed)
        return
    last = log.maybe_append(previous, message.log_term, entries, message.commit)
    if last is not None:
        _acknowledge(raft, message.sender, last)
        return
    hint, hint_term = log.last_agreement(min(previous, log.last_index), message.log_term)
    raft.outbox_after_write.append(
        Message(
            type=MessageType.APPEND_RESPONSE,
            to=message.sender,
            sender=raft.id,
            term=raft.term,
            index=previous,
            reject=True,
            reject_hint=hint,
            log_term=hint_term,
        )
    )


def _acknowledge(raft: Raft, to: int, index: int) -> None:
    raft.outbox_after_write.append(
        Message(
            type=MessageType.APPEND_RESPONSE, to=to, sender=raft.id, term=raft.term, index=index
        )
    )


def _heartbeat(raft: Raft, message: Message) -> None:
    raft.log.commit_to(message.commit)
    raft.outbox.append(
        Message(
            type=MessageType.HEARTBEAT_RESPONSE,
            to=message.sender,
            sender=raft.id,
            term=raft.term,
            context=message.context,
        )
    )


def _snapshot(raft: Raft, message: Message) -> None:
    if message.snapshot is None:
        raise ProtocolError("a snapshot message without a snapshot")
    restored = _restore(raft, message.snapshot)
    _acknowledge(raft, message.sender, raft.log.last_index if restored else raft.log.committed)


def _restore(raft: Raft, snapshot: Snapshot) -> bool:
    """Start over from ``snapshot`` (paper, section 7); False where it brings nothing new."""
    log, state = raft.log, snapshot.conf_state
    if snapshot.index <= log.committed:
        return False
    if not Membership.of(state).includes(raft.id):
        # It would take this node out of the group, which only the log may do.
        return False
    if log.matches(snapshot.index, snapshot.term):
        log.commit_to(snapshot.index)
        return False
    log.restore(snapshot)
    raft.tracker.adopt(*confchange.restored(raft.tracker, log.last_index, state))
    return True
