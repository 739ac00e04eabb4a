"""A leader's part: proposals, what followers answer, and handing leadership over."""

from __future__ import annotations

from collections.abc import Sequence

from omium.consensus import confchange, reads, replication
from omium.consensus.messages import Message, MessageType
from omium.consensus.progress import Progress, ProgressState
from omium.consensus.readonly import ReadRequest
from omium.consensus.records import NONE, Entry, EntryType, decode_conf_change
from omium.consensus.state import Raft
from omium.errors import ConfChangeRefused, CorruptRecord, RequestDropped


def step(raft: Raft, message: Message) -> None:
    """Take in a message of the leader's term, or one that was forwarded."""
    kind = message.type
    if kind is MessageType.PROPOSE:
        propose(raft, [(entry.type, entry.data) for entry in message.entries])
        return
    if kind is MessageType.READ_INDEX:
        reads.request(raft, ReadRequest(sender=message.sender, context=message.context))
        return
    progress = raft.tracker.progress.get(message.sender)
    if progress is None:
        return
    if kind is MessageType.APPEND_RESPONSE:
        progress.recent_active = True
        if message.reject:
            _refused(raft, message, progress)
        else:
            acknowledged(raft, message.sender, progress, message.index)
    elif kind is MessageType.HEARTBEAT_RESPONSE:
        _heartbeat_answered(raft, message, progress)
    elif kind is MessageType.TRANSFER_LEADER:
        transfer(raft, message.sender)


# ---- proposals


def propose(raft: Raft, proposals: Sequence[tuple[EntryType, bytes]]) -> int:
    """Append ``proposals`` and send them out; returns the index of the first.

    A change of members that cannot be made now is replaced by an empty entry. Raises
    ``RequestDropped`` where nothing was appended: this node is no longer in the group, it is
    handing leadership over, or too much waits to be committed.
    """
    if raft.id not in raft.tracker.progress:
        raise RequestDropped("proposal", "this leader was removed from the group")
    if raft.transferee != NONE:
        raise RequestDropped("proposal", f"leadership is on its way to node {raft.transferee}")
    first = raft.log.last_index + 1
    pending = raft.pending_conf_index
    allowed: list[tuple[EntryType, bytes]] = []
    for index, (kind, data) in enumerate(proposals, first):
        if kind is EntryType.NORMAL:
            allowed.append((kind, data))
        elif _may_change(raft, Entry(term=raft.term, index=index, type=kind, data=data)):
            raft.pending_conf_index = index
            allowed.append((kind, data))
        else:
            allowed.append((EntryType.NORMAL, b""))
    if not replication.append_entries(raft, allowed):
        raft.pending_conf_index = pending
        raise RequestDropped("proposal", "too much waits to be committed")
    replication.broadcast_append(raft)
    return first


def _may_change(raft: Raft, entry: Entry) -> bool:
    """Whether the change of members in ``entry`` may be made.

    One at a time: only after the one before it was applied (thesis, section 4.1). Then the
    members are those that it will meet, so it can be tried out here.
    """
    if raft.pending_conf_index > raft.log.applied:
        return False
    try:
        confchange.changed(raft.tracker, raft.log.last_index, decode_conf_change(entry))
    except (ConfChangeRefused, CorruptRecord):
        return False
    return True


# ---- what followers answer


def acknowledged(raft: Raft, node_id: int, progress: Progress, index: int) -> None:
    """Everything up to ``index`` is durable at ``node_id``; this node may be it."""
    probing = progress.state is ProgressState.PROBE
    # A probe that is answered with what was known already still shows that the logs agree.
    if not (progress.maybe_update(index) or (probing and progress.match == index)):
        return
    if probing:
        progress.become_replicate()
    elif progress.state is ProgressState.SNAPSHOT:
        # Whatever it was that brought it here, the log can take it on from now.
        if progress.match + 1 >= raft.log.first_index:
            progress.become_probe()
            progress.become_replicate()
    else:
        progress.inflights.free_to(index)

    if index > raft.log.committed and replication.maybe_commit(raft):
        reads.release_postponed(raft)
        replication.broadcast_append(raft)
    elif node_id != raft.id and progress.can_bump_commit(raft.log.committed):
        # The next heartbeat would tell it as well, later.
        replication.send_append(raft, node_id, progress)
    if node_id == raft.id:
        return
    # There may be room for more than one append now.
    while replication.send_append(raft, node_id, progress, even_if_empty=False):
        pass
    if node_id == raft.transferee and progress.match == raft.log.last_index:
        _send_timeout_now(raft, node_id)


def _refused(raft: Raft, message: Message, progress: Progress) -> None:
    hint = message.reject_hint
    if message.log_term:
        # The follower named the last entry of its log that can agree with ours. Ours may have
        # no such entry either: skip what is of later terms (paper, end of section 5.3).
        hint, _ = raft.log.last_agreement(hint, message.log_term)
    if progress.maybe_decrease(message.index, hint):
        replication.send_append(raft, message.sender, progress)


def _heartbeat_answered(raft: Raft, message: Message, progress: Progress) -> None:
    progress.recent_active = True
    progress.flow_paused = False
    # Appends to a follower that is behind may have been lost. One that is probed has to answer
    # an append, be it empty, before it is sent to freely again.
    if progress.match < raft.log.last_index or progress.state is ProgressState.PROBE:
        replication.send_append(raft, message.sender, progress)
    if message.context:
        reads.acknowledge(raft, message.sender, message.context)


def unreachable(raft: Raft, node_id: int) -> None:
    """A message to ``node_id`` was lost: appends behind it would be refused."""
    progress = raft.tracker.progress.get(node_id)
    if progress is not None and progress.state is ProgressState.REPLICATE:
        progress.become_probe()


def snapshot_sent(raft: Raft, node_id: int, *, delivered: bool) -> None:
    """The snapshot for ``node_id`` was delivered, or it failed and another may be needed."""
    progress = raft.tracker.progress.get(node_id)
    if progress is None or progress.state is not ProgressState.SNAPSHOT:
        return
    if not delivered:
        progress.pending_snapshot = 0
    progress.become_probe()
    # Delivered, it answers when it is installed; failed, the next heartbeat asks again.
    progress.flow_paused = True


# ---- leading, and ceasing to


def check_quorum(raft: Raft) -> None:
    """Step down where no quorum was heard from since the last check (thesis, section 6.2)."""
    own = raft.tracker.progress.get(raft.id)
    if own is not None:
        own.recent_active = True
    if not raft.tracker.quorum_active():
        raft.become_follower(raft.term, NONE)
    for node_id, progress in raft.tracker.progress.items():
        if node_id != raft.id:
            progress.recent_active = False


def transfer(raft: Raft, to: int) -> None:
    """Hand leadership over to ``to`` (thesis, section 3.10).

    It is brought up to date first, and no proposals are taken meanwhile. Given up after an
    election time-out. Nothing happens where ``to`` is no voter.
    """
    progress = raft.tracker.progress.get(to)
    if progress is None or progress.is_learner or raft.transferee == to:
        return
    raft.transferee = NONE
    if to == raft.id:
        return
    raft.election_elapsed = 0
    raft.transferee = to
    if progress.match == raft.log.last_index:
        _send_timeout_now(raft, to)
    else:
        progress.flow_paused = False
        replication.send_append(raft, to, progress)


def _send_timeout_now(raft: Raft, to: int) -> None:
    raft.outbox.append(Message(type=MessageType.TIMEOUT_NOW, to=to, sender=raft.id, term=raft.term))
