"""What a leader sends: appends, snapshots and heartbeats (paper, sections 5.3 and 7)."""

from __future__ import annotations

from collections.abc import Sequence

from omium.consensus.membership import Membership
from omium.consensus.messages import Message, MessageType
from omium.consensus.progress import Progress, ProgressState
from omium.consensus.records import Entry, EntryType, payload_bytes
from omium.consensus.state import Raft
from omium.errors import SnapshotUnavailable


def append_entries(raft: Raft, entries: Sequence[tuple[EntryType, bytes]]) -> bool:
    """Append to the leader's own log; False where too much is not committed yet.

    An entry without data is never refused: with it leaders start their term and leave joint
    configurations. Otherwise one proposal is let through at any size when nothing else waits.
    """
    size = sum([len(data) for _, data in entries])
    waiting = raft.uncommitted_bytes
    if waiting and size and waiting + size > raft.config.uncommitted_bytes_max:
        return False
    raft.uncommitted_bytes = waiting + size
    term, index = raft.term, raft.log.last_index
    raft.log.append(
        [
            Entry(term=term, index=index + n, type=kind, data=data)
            for n, (kind, data) in enumerate(entries, 1)
        ]
    )
    return True


def maybe_commit(raft: Raft) -> bool:
    """Commit what a quorum has, if it is of this term (paper, section 5.4.2)."""
    return raft.log.maybe_commit(raft.tracker.committed(), raft.term)


def broadcast_append(raft: Raft) -> None:
    """Send each follower what it lacks, or at least the commit index."""
    for node_id, progress in raft.tracker.progress.items():
        if node_id != raft.id:
            send_append(raft, node_id, progress)


def send_append(raft: Raft, to: int, progress: Progress, *, even_if_empty: bool = True) -> bool:
    """Send ``to`` the next entries, or a snapshot where they are no longer there.

    Returns whether anything was sent. Without ``even_if_empty`` an append must carry entries.
    """
    if progress.paused:
        return False
    log = raft.log
    previous = progress.next - 1
    previous_term = log.term(previous)
    if previous_term is None:
        return _send_snapshot(raft, to, progress)
    entries: Sequence[Entry] = []
    # Where the window is full, an empty append still gets through, once for each heartbeat
    # that was answered. If all that filled the window was lost, its refusal opens it again.
    if progress.state is not ProgressState.REPLICATE or not progress.inflights.full:
        entries = log.entries_from(progress.next, raft.config.message_bytes_max)
    if not entries and not even_if_empty:
        return False
    raft.outbox.append(
        Message(
            type=MessageType.APPEND,
            to=to,
            sender=raft.id,
            term=raft.term,
            log_term=previous_term,
            index=previous,
            entries=entries,
            commit=log.committed,
        )
    )
    progress.sent_entries(len(entries), payload_bytes(entries))
    progress.sent_commit = log.committed
    return True


def _send_snapshot(raft: Raft, to: int, progress: Progress) -> bool:
    # A follower that is not heard from would not take it in: it waits for its answer.
    if not progress.recent_active:
        return False
    try:
        snapshot = raft.log.snapshot()
    except SnapshotUnavailable:
        return False
    if not Membership.of(snapshot.conf_state).includes(to):
        # It was made before this follower joined, which could not find itself in it.
        return False
    raft.outbox.append(
        Message(type=MessageType.SNAPSHOT, to=to, sender=raft.id, term=raft.term, snapshot=snapshot)
    )
    progress.become_snapshot(snapshot.index)
    return True


def broadcast_heartbeat(raft: Raft, context: bytes = b"") -> None:
    """Tell each follower that this node leads; ``context`` names a read to be confirmed."""
    for node_id, progress in raft.tracker.progress.items():
        if node_id == raft.id:
            continue
        # Never more than the follower is known to have: its log behind that may be another.
        commit = min(progress.match, raft.log.committed)
        raft.outbox.append(
            Message(
                type=MessageType.HEARTBEAT,
                to=node_id,
                sender=raft.id,
                term=raft.term,
                commit=commit,
                context=context,
            )
        )
        progress.sent_commit = commit
