"""Log compaction and snapshots: paper, section 7; thesis, chapter 5."""

from __future__ import annotations

import pytest

from omium.consensus import (
    ConfChange,
    ConfChangeType,
    Config,
    ConfState,
    Entry,
    HardState,
    MemoryStorage,
    Message,
    MessageType,
    ProgressState,
    RawNode,
    Role,
    Snapshot,
    initial_snapshot,
)
from omium.errors import ConfigError, InvariantBroken, ProtocolError, SnapshotUnavailable
from tests.consensus.alone import Alone, log_of
from tests.consensus.cluster import Cluster

SNAPSHOT = MessageType.SNAPSHOT
MEMBERS = ConfState(voters=(1, 2, 3))


def _snapshot(index: int, term: int, members: ConfState = MEMBERS) -> Snapshot:
    return Snapshot(index=index, term=term, conf_state=members, data=b"state")


# ---- the follower


def test_a_snapshot_replaces_the_log() -> None:
    one = Alone(1, 1, 1, term=2)
    members = ConfState(voters=(1, 2, 4), learners=(5,))
    (answer,) = one.hear(SNAPSHOT, 2, snapshot=_snapshot(9, 2, members))
    assert (answer.type, answer.index) == (MessageType.APPEND_RESPONSE, 9)
    assert (one.storage.first_index(), one.storage.last_index()) == (10, 9)
    assert one.storage.initial_state() == (HardState(term=2, commit=9), members)
    assert one.node.raft.tracker.membership.conf_state() == members
    assert one.node.status().applied == 9
    one.hear(MessageType.APPEND, 2, index=9, log_term=2, entries=log_of(2, first=10), commit=10)
    assert one.node.status().applied == 10


def test_the_snapshot_is_synced_before_it_is_acknowledged() -> None:
    one = Alone(term=2)
    one.node.step(Message(type=SNAPSHOT, to=1, sender=2, term=2, snapshot=_snapshot(9, 2)))
    ready = one.node.ready()
    assert ready.must_sync
    assert not ready.messages
    assert [m.index for m in ready.messages_after_write] == [9]


def test_nothing_is_applied_and_nobody_campaigns_before_it_is_installed() -> None:
    one = Alone(1, 1, term=2)
    one.node.step(Message(type=SNAPSHOT, to=1, sender=2, term=2, snapshot=_snapshot(9, 2)))
    entries = log_of(2, first=10)
    one.node.step(
        Message(
            type=MessageType.APPEND,
            to=1,
            sender=2,
            term=2,
            index=9,
            log_term=2,
            entries=entries,
            commit=10,
        )
    )
    one.node.campaign()
    assert one.node.role is Role.FOLLOWER
    ready = one.node.ready()
    assert ready.snapshot is not None
    assert list(ready.entries) == entries
    assert not ready.committed_entries
    one.storage.install(ready.snapshot)
    one.storage.append(ready.entries)
    one.node.advance()
    assert list(one.node.ready().committed_entries) == entries


@pytest.mark.parametrize(
    ("snapshot", "acknowledged"),
    [
        pytest.param(_snapshot(2, 1), 2, id="nothing new"),
        pytest.param(_snapshot(3, 1), 3, id="the log has it: only commit"),
        pytest.param(_snapshot(9, 2, ConfState(voters=(2, 3))), 2, id="without this node"),
    ],
)
def test_a_snapshot_of_no_use_is_not_installed(snapshot: Snapshot, acknowledged: int) -> None:
    one = Alone(1, 1, 1, 1, term=2, commit=2)
    (answer,) = one.hear(SNAPSHOT, 2, snapshot=snapshot)
    assert (answer.index, answer.reject) == (acknowledged, False)
    assert one.terms == [1, 1, 1, 1]
    assert one.node.raft.log.committed == acknowledged
    assert all(ready.snapshot is None for ready in one.readies)


def test_a_snapshot_from_before_the_one_that_is_installed_takes_nothing_back() -> None:
    """It was under way for long, and the log no longer has what it could be compared with."""
    one = Alone(term=2)
    one.hear(SNAPSHOT, 2, snapshot=_snapshot(9, 2))
    (answer,) = one.hear(SNAPSHOT, 2, snapshot=_snapshot(5, 2))
    assert (answer.index, answer.reject) == (9, False)
    assert (one.storage.first_index(), one.storage.last_index()) == (10, 9)
    assert one.node.raft.log.committed == 9


def test_a_snapshot_message_has_a_snapshot() -> None:
    with pytest.raises(ProtocolError):
        Alone(term=1).hear(SNAPSHOT, 2)


# ---- the leader


def _behind() -> Alone:
    """A leader whose log begins behind what node 3 has."""
    one = Alone(1, 1, 1, 1, term=1, commit=4)
    one.work()
    one.lead()
    one.hear(MessageType.APPEND_RESPONSE, 2, index=5)
    one.storage.make_snapshot(5, b"state")
    one.storage.compact(5)
    sent = one.hear(MessageType.APPEND_RESPONSE, 3, index=4, reject=True, reject_hint=1)
    assert [(m.type, m.to) for m in sent] == [(SNAPSHOT, 3)]
    assert sent[0].snapshot == one.storage.snapshot()
    return one


def _state(one: Alone) -> tuple[ProgressState, int, int]:
    progress = one.node.status().progress[3]
    return progress.state, progress.match, progress.next


def test_a_follower_that_is_too_far_behind_is_sent_a_snapshot() -> None:
    one = _behind()
    assert _state(one) == (ProgressState.SNAPSHOT, 0, 6)
    one.node.propose(b"a")
    assert {m.to for m in one.work() if m.type is MessageType.APPEND} == {2}


def test_the_log_goes_on_after_the_snapshot() -> None:
    one = _behind()
    one.node.propose(b"a")
    one.work()
    sent = one.hear(MessageType.APPEND_RESPONSE, 3, index=5)
    assert [(m.type, m.to, m.index) for m in sent] == [(MessageType.APPEND, 3, 5)]
    assert _state(one) == (ProgressState.REPLICATE, 5, 7)


def test_a_snapshot_that_failed_is_tried_again_after_a_heartbeat() -> None:
    one = _behind()
    one.node.report_snapshot(3, delivered=False)
    assert one.work() == []
    assert _state(one) == (ProgressState.PROBE, 0, 1)
    sent = one.hear(MessageType.HEARTBEAT_RESPONSE, 3)
    assert [(m.type, m.to) for m in sent] == [(SNAPSHOT, 3)]


def test_a_snapshot_that_was_delivered_is_waited_for() -> None:
    one = _behind()
    one.node.report_snapshot(3, delivered=True)
    assert _state(one) == (ProgressState.PROBE, 0, 6)
    one.node.propose(b"a")
    assert {m.to for m in one.work()} == {2}


def test_no_snapshot_is_sent_to_who_is_not_heard_from() -> None:
    one = Alone(check_quorum=True)
    one.lead()
    for follower in (2, 3):
        one.hear(MessageType.APPEND_RESPONSE, follower, index=2)
    for _ in range(10):
        one.node.tick()
    one.node.report_unreachable(3)
    one.node.propose(b"a")
    one.work()
    one.hear(MessageType.APPEND_RESPONSE, 2, index=3)
    one.storage.make_snapshot(3)
    one.storage.compact(3)
    one.node.report_unreachable(3)
    one.node.raft.tracker.progress[3].flow_paused = False
    one.node.propose(b"b")
    assert {m.to for m in one.work() if m.type is not MessageType.HEARTBEAT} == {2}
    sent = one.hear(MessageType.HEARTBEAT_RESPONSE, 3)
    assert [(m.type, m.to) for m in sent] == [(SNAPSHOT, 3)]


class _Busy(MemoryStorage):
    def snapshot(self) -> Snapshot:
        raise SnapshotUnavailable("it is being made")


@pytest.mark.parametrize(
    "storage",
    [
        pytest.param(_Busy(initial_snapshot((1,))), id="it is being made"),
        pytest.param(MemoryStorage(initial_snapshot((1,))), id="it is older than the member"),
    ],
)
def test_no_snapshot_is_sent_while_there_is_none_that_fits(storage: MemoryStorage) -> None:
    one = Alone(storage=storage)
    one.node.campaign()
    one.work()
    learner = ConfChange(type=ConfChangeType.ADD_LEARNER_NODE, node_id=2)
    one.node.propose_conf_change(learner)
    assert {m.to for m in one.work()} == {2}
    assert one.hear(MessageType.APPEND_RESPONSE, 2, index=2, reject=True) == []
    assert one.hear(MessageType.HEARTBEAT_RESPONSE, 2) == []


def test_a_cluster_compacts_and_everybody_catches_up() -> None:
    cluster = Cluster()
    cluster.elect(1)
    cluster.isolate(3)
    for number in range(30):
        cluster.propose(b"%d" % number)
    cluster[1].compact(keep=5)
    assert len(cluster[1].log) == 5
    cluster.heal()
    cluster.tick(5)
    assert cluster[3].disk.state == cluster[1].disk.state
    assert cluster[3].disk.storage.first_index() > 20
    cluster[3].crash()
    cluster.propose(b"more")
    assert cluster[3].disk.state == cluster[1].disk.state


# ---- the start of a group


def test_a_group_starts_from_a_snapshot_that_names_its_members() -> None:
    storage = MemoryStorage()
    storage.set_conf_state(MEMBERS)
    with pytest.raises(ConfigError, match="initial_snapshot"):
        RawNode(Config(id=1, storage=storage, draw=lambda _: 0))
    assert initial_snapshot((3, 1, 2), (4,)) == Snapshot(
        index=1, term=0, conf_state=ConfState(voters=(1, 2, 3), learners=(4,))
    )


def test_who_knows_of_nobody_elects_nobody() -> None:
    newcomer = RawNode(Config(id=4, storage=MemoryStorage(), draw=lambda _: 0))
    for _ in range(100):
        newcomer.tick()
    newcomer.campaign()
    assert not newcomer.has_ready()


# ---- the storage in memory


def test_the_storage_keeps_what_it_is_told() -> None:
    storage = MemoryStorage(initial_snapshot((1,)))
    storage.append(log_of(1, 1, 1))
    storage.append(log_of(2, first=3))
    assert [storage.term(index) for index in range(5)] == [None, 0, 1, 2, None]
    storage.make_snapshot(2, b"two")
    storage.compact(2)
    assert (storage.first_index(), storage.last_index(), storage.term(2)) == (3, 3, 1)
    storage.compact(1)
    storage.append([Entry(term=1, index=2)])
    assert storage.entries(3, 4) == log_of(2, first=3)
    storage.install(_snapshot(1, 1))
    assert storage.snapshot().data == b"two"


def test_the_storage_refuses_what_would_break_the_log() -> None:
    storage = MemoryStorage(initial_snapshot((1,)))
    storage.append(log_of(1, 1))
    with pytest.raises(InvariantBroken, match="gap"):
        storage.append(log_of(1, first=5))
    with pytest.raises(InvariantBroken):
        storage.entries(1, 3)
    with pytest.raises(InvariantBroken):
        storage.entries(2, 5)
    with pytest.raises(InvariantBroken, match="ends before"):
        storage.compact(4)
    with pytest.raises(InvariantBroken):
        storage.make_snapshot(4)
    storage.compact(3)
    with pytest.raises(SnapshotUnavailable):
        storage.snapshot()
