"""Changes of members: paper, section 6; thesis, chapter 4 (learners: section 4.2.1)."""

from __future__ import annotations

import msgspec
import pytest

from omium.consensus import (
    ConfChange,
    ConfChangeSingle,
    ConfChangeTransition,
    ConfChangeType,
    ConfChangeV2,
    ConfState,
    Entry,
    EntryType,
    Message,
    MessageType,
    Role,
    confchange,
    decode_conf_change,
    encode_conf_change,
)
from omium.errors import ConfChangeRefused, CorruptRecord, PeerUnknown, RequestDropped
from tests.consensus.alone import Alone
from tests.consensus.cluster import Cluster
from tests.consensus.describe import changes_of, members

AUTO, IMPLICIT, EXPLICIT = ConfChangeTransition


def _change(text: str, transition: ConfChangeTransition = AUTO) -> ConfChangeV2:
    return ConfChangeV2(transition=transition, changes=tuple(changes_of(text)))


def _members(cluster: Cluster, node_id: int) -> str:
    return members(cluster[node_id].node.raft.tracker.membership)


# ---- thesis 4.1: one voter at a time


def test_a_voter_is_added_and_catches_up() -> None:
    cluster = Cluster()
    cluster.elect(1)
    cluster.propose(b"a")
    cluster[1].compact()
    cluster.add(4)
    cluster.change(_change("v4"))
    cluster.tick(3)
    assert {_members(cluster, n) for n in (1, 2, 3, 4)} == {"voters=(1 2 3 4)"}
    assert cluster[4].disk.state == cluster[1].disk.state
    cluster.isolate(2)
    cluster.propose(b"three of four")
    assert cluster[4].committed == cluster[1].committed


def test_a_voter_is_removed() -> None:
    cluster = Cluster()
    cluster.elect(1)
    cluster.change(ConfChange(type=ConfChangeType.REMOVE_NODE, node_id=3))
    assert _members(cluster, 1) == _members(cluster, 2) == "voters=(1 2)"
    cluster.isolate(3)
    cluster.propose(b"a")
    assert cluster[1].committed == 4


@pytest.mark.parametrize(
    ("joint", "changes", "refusal"),
    [
        pytest.param(False, "v4 v5", "too_many_voters", id="two more"),
        pytest.param(False, "r1 r2", "too_many_voters", id="two less"),
        pytest.param(False, "r1 v4", "too_many_voters", id="one for another"),
        pytest.param(False, "l1 l2 v4", "too_many_voters", id="two demoted, one more"),
        pytest.param(False, "r1 r2 r3", "no_voters_left", id="none left"),
        pytest.param(True, "v5", "joint", id="in a joint configuration"),
    ],
)
def test_a_simple_change_is_of_one_voter(joint: bool, changes: str, refusal: str) -> None:
    tracker = Alone().node.raft.tracker
    if joint:
        tracker.adopt(*confchange.enter_joint(tracker, 1, changes_of("v4"), auto_leave=False))
    with pytest.raises(ConfChangeRefused) as refused:
        confchange.simple(tracker, 1, changes_of(changes))
    assert refused.value.reason == refusal


def test_a_simple_change_is_of_any_number_of_learners() -> None:
    tracker = Alone(learners=(4, 5)).node.raft.tracker
    membership, _ = confchange.simple(tracker, 1, changes_of("r4 l6 l7 v5 r0"))
    assert members(membership) == "voters=(1 2 3 5) learners=(6 7)"


def test_who_was_removed_disturbs_nobody() -> None:
    cluster = Cluster()
    cluster.elect(1)
    cluster.isolate(3)
    cluster.change(_change("r3"))
    cluster.heal()
    cluster.tick(60)
    assert (cluster.leader.id, cluster.leader.node.term) == (1, 1)


def test_an_answer_of_a_stranger_is_refused() -> None:
    one = Alone()
    one.lead()
    with pytest.raises(PeerUnknown):
        one.hear(MessageType.APPEND_RESPONSE, 9, index=1)


def test_one_change_at_a_time() -> None:
    one = Alone()
    one.lead()
    first = one.node.propose_conf_change(_change("v4"))
    second = one.node.propose_conf_change(_change("v5"))
    assert (first, second) == (3, 4)
    one.work()
    kinds = [entry.type for entry in one.storage.entries(2, 5)]
    assert kinds == [EntryType.NORMAL, EntryType.CONF_CHANGE_V2, EntryType.NORMAL]
    one.hear(MessageType.APPEND_RESPONSE, 2, index=4)
    assert one.node.propose_conf_change(_change("v5")) == 5
    one.work()
    assert one.storage.entries(5, 6)[0].type is EntryType.CONF_CHANGE_V2


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(_change("r1 r2 r3"), id="no voters"),
        pytest.param(_change("l1 l2 l3", EXPLICIT), id="learners only"),
        pytest.param(ConfChangeV2(), id="leave what is not joint"),
    ],
)
def test_a_change_that_cannot_be_made_is_never_committed(change: ConfChangeV2) -> None:
    cluster = Cluster()
    cluster.elect(1)
    cluster.change(change)
    assert [entry.type for entry in cluster[1].applied] == [EntryType.NORMAL] * 2
    assert _members(cluster, 1) == "voters=(1 2 3)"


def test_a_change_that_nobody_can_read_is_never_committed() -> None:
    one = Alone()
    one.lead()
    forged = Entry(term=0, index=0, type=EntryType.CONF_CHANGE_V2, data=b"\xc1")
    one.hear(MessageType.PROPOSE, 2, term=0, entries=[forged])
    assert one.storage.entries(3, 4)[0].data == b""
    with pytest.raises(CorruptRecord):
        decode_conf_change(forged)


def test_no_election_before_a_committed_change_is_applied() -> None:
    kind, data = encode_conf_change(_change("r1"))
    one = Alone(term=1)
    entries = [Entry(term=1, index=2, type=kind, data=data)]
    one.node.step(
        Message(type=MessageType.APPEND, to=1, sender=2, term=1, index=1, entries=entries, commit=2)
    )
    one.node.campaign()
    assert one.node.role is Role.FOLLOWER
    one.work()
    assert members(one.node.raft.tracker.membership) == "voters=(2 3)"


# ---- paper 6: joint consensus


def test_two_voters_are_replaced_at_once() -> None:
    cluster = Cluster()
    cluster.elect(1)
    for newcomer in (4, 5):
        cluster.add(newcomer)
    cluster.change(_change("r2 r3 v4 v5"))
    cluster.tick(5)
    assert {_members(cluster, n) for n in (1, 4, 5)} == {"voters=(1 4 5)"}
    kinds = [entry.type for entry in cluster[1].applied]
    assert kinds.count(EntryType.CONF_CHANGE_V2) == 2, "into the joint configuration and out"
    cluster.isolate(2, 3)
    cluster.propose(b"a")
    assert cluster[5].committed == cluster[1].committed


def test_joint_decisions_need_both_majorities() -> None:
    cluster = Cluster()
    cluster.elect(1)
    for newcomer in (4, 5):
        cluster.add(newcomer)
    cluster.change(_change("r2 r3 v4 v5", EXPLICIT))
    cluster.tick(5)
    assert _members(cluster, 1) == "voters=(1 4 5)&&(1 2 3)"
    for cut_off, enough in ((4, 5), False), ((2, 3), False), ((3, 5), True):
        before = cluster[1].committed
        cluster.isolate(*cut_off)
        cluster.propose(b"a")
        assert (cluster[1].committed > before) is enough, cut_off
        cluster.heal()
        cluster.tick(3)
        assert cluster[1].committed == before + 1
    cluster.change(ConfChangeV2())
    assert _members(cluster, 1) == "voters=(1 4 5)"


def test_elections_in_a_joint_configuration_need_both_majorities() -> None:
    one = Alone(voters=(1, 2, 3))
    one.node.apply_conf_change(_change("r2 r3 v4 v5", EXPLICIT))
    one.node.campaign()
    assert {m.to for m in one.work()} == {2, 3, 4, 5}
    for voter in (4, 5):
        one.hear(MessageType.VOTE_RESPONSE, voter)
    assert one.node.role is Role.CANDIDATE
    one.hear(MessageType.VOTE_RESPONSE, 2)
    assert one.node.role is Role.LEADER


def test_a_new_leader_leaves_the_joint_configuration() -> None:
    cluster = Cluster()
    cluster.elect(1)
    cluster.add(4)
    # The leader is cut off as soon as the joint configuration is committed.
    cluster[1].node.propose_conf_change(_change("v4 r3", IMPLICIT))
    while not cluster[2].node.raft.tracker.membership.joint:
        cluster.work()
        cluster.deliver()
    cluster.isolate(1)
    cluster.tick(60)
    assert cluster.leader.id in (2, 3, 4)
    assert _members(cluster, 2) == "voters=(1 2 4)"


def test_auto_leave_waits_for_a_transfer() -> None:
    one = Alone(voters=(1, 2))
    one.lead()
    one.hear(MessageType.APPEND_RESPONSE, 2, index=2)
    one.node.propose_conf_change(_change("v3 v4"))
    one.work()
    one.node.transfer_leader(2)
    one.hear(MessageType.APPEND_RESPONSE, 2, index=3)
    assert one.node.raft.tracker.membership.auto_leave
    assert one.storage.last_index() == 3, "proposals are refused during the transfer"
    for _ in range(10):
        one.node.tick()
    one.node.propose(b"next")
    one.work()
    for voter in (2, 3, 4):
        one.hear(MessageType.APPEND_RESPONSE, voter, index=4)
    assert one.storage.entries(5, 6)[0].type is EntryType.CONF_CHANGE_V2


def test_a_joint_configuration_is_left_once() -> None:
    one = Alone()
    one.lead()
    one.node.propose_conf_change(_change("v4 v5"))
    one.node.propose(b"a", b"b", b"c")
    one.work()
    one.hear(MessageType.APPEND_RESPONSE, 2, index=3)
    assert one.storage.last_index() == 7
    for voter in (2, 4, 5):
        for index in (4, 5, 6):
            one.hear(MessageType.APPEND_RESPONSE, voter, index=index)
    assert one.node.status().applied == 6
    assert one.storage.last_index() == 7, "what is applied meanwhile prompts nothing more"


def test_leaving_a_joint_configuration_is_never_refused_for_size() -> None:
    one = Alone(voters=(1,), uncommitted_bytes_max=1)
    one.node.campaign()
    one.work()
    one.node.propose_conf_change(_change("v2 v3", EXPLICIT))
    one.work()
    one.node.propose(b"a" * 100)
    with pytest.raises(RequestDropped):
        one.node.propose(b"b")
    assert one.node.propose_conf_change(ConfChangeV2()) is not None


def test_the_leader_may_be_removed() -> None:
    cluster = Cluster()
    cluster.elect(1)
    cluster.propose(b"a")
    cluster.change(_change("r1"))
    assert cluster[1].node.role is Role.FOLLOWER, "it steps down when it has committed that"
    cluster.tick(60)
    assert cluster.leader.id in (2, 3)
    cluster.propose(b"b")
    assert _members(cluster, 2) == "voters=(2 3)"


def test_who_was_left_alone_learns_of_it_from_who_left() -> None:
    # The leader of two removes itself, and the other does not hear that this is committed. It
    # needs a vote of the one that left, whose log is longer.
    cluster = Cluster((1, 2))
    cluster.elect(1)
    cluster[1].node.propose_conf_change(_change("r1"))
    cluster[1].node.propose(b"never committed")
    cluster.lost = lambda message: (
        message.type is MessageType.APPEND
        and (len(message.entries) == 0 or message.entries[0].data == b"never committed")
    )
    cluster.settle()
    assert (_members(cluster, 1), cluster[1].node.role) == ("voters=(2)", Role.FOLLOWER)
    assert _members(cluster, 2) == "voters=(1 2)"
    assert len(cluster[1].log) > len(cluster[2].log)
    cluster.heal()
    cluster[1].crash()
    cluster.tick(60)
    assert (cluster.leader.id, _members(cluster, 2)) == (2, "voters=(2)")
    cluster.propose(b"a")


def test_a_commit_index_is_learned_only_where_the_logs_agree() -> None:
    for log_term, learned in ((1, False), (2, True)):
        one = Alone(1, 2, 2, term=2, commit=1)
        one.node.campaign()
        one.work()
        one.hear(MessageType.VOTE_RESPONSE, 2, reject=True, commit=3, log_term=log_term)
        assert (one.node.raft.log.committed == 3) is learned
        assert (one.node.role is Role.FOLLOWER) is learned


def test_a_removed_leader_that_goes_on_does_not_count_itself() -> None:
    one = Alone(step_down_on_removal=False)
    one.lead()
    one.node.propose_conf_change(_change("r1"))
    one.work()
    one.hear(MessageType.APPEND_RESPONSE, 2, index=3)
    assert (one.node.role, members(one.node.raft.tracker.membership)) == (
        Role.LEADER,
        "voters=(2 3)",
    )
    with pytest.raises(RequestDropped, match="was removed"):
        one.node.propose(b"a")


def test_a_committed_change_can_be_voided() -> None:
    one = Alone()
    void = ConfChangeSingle(type=ConfChangeType.REMOVE_NODE, node_id=0)
    assert one.node.apply_conf_change(ConfChangeV2(changes=(void,))) == ConfState(voters=(1, 2, 3))


def test_fewer_voters_commit_more() -> None:
    one = Alone(voters=(1, 2, 3, 4))
    one.lead()
    one.node.propose_conf_change(_change("r4"))
    one.node.propose(b"a")
    one.work()
    one.hear(MessageType.APPEND_RESPONSE, 2, index=4)
    assert one.node.raft.log.committed == 1
    sent = one.hear(MessageType.APPEND_RESPONSE, 3, index=3)
    assert one.node.raft.log.committed == 4, "4 is on two of the three that are left"
    assert max(m.commit for m in sent) == 4


# ---- thesis 4.2.1: learners


def test_a_learner_gets_the_log_and_has_no_say() -> None:
    cluster = Cluster((1, 2, 3), learners=(4,))
    cluster.elect(1)
    cluster.propose(b"a")
    assert cluster[4].log == cluster[1].log
    cluster.isolate(2, 3)
    cluster.propose(b"b")
    assert cluster[1].committed == 3
    cluster.tick(100, only=[4])
    assert cluster[4].node.role is Role.FOLLOWER


def test_a_learner_is_promoted() -> None:
    cluster = Cluster((1, 2), learners=(3,))
    cluster.elect(1)
    cluster.change(_change("v3"))
    assert _members(cluster, 3) == "voters=(1 2 3)"
    cluster.isolate(2)
    cluster.propose(b"a")
    assert cluster[3].committed == cluster[1].committed == 4


def test_a_learner_votes_when_it_is_asked() -> None:
    # It may have been promoted without knowing (thesis, section 4.2.1; etcd's raft).
    one = Alone(voters=(2, 3), learners=(1,), term=1)
    (answer,) = one.hear(MessageType.VOTE, 2, term=2)
    assert not answer.reject


def test_a_voter_becomes_a_learner_only_when_the_joint_configuration_is_left() -> None:
    cluster = Cluster()
    cluster.elect(1)
    cluster.change(_change("l3 l2", EXPLICIT))
    assert _members(cluster, 1) == "voters=(1)&&(1 2 3) learners_next=(2 3)"
    cluster.change(ConfChangeV2())
    assert _members(cluster, 1) == "voters=(1) learners=(2 3)"
    cluster.propose(b"a")
    assert cluster[3].log == cluster[1].log


# ---- records


@pytest.mark.parametrize(
    "change",
    [
        ConfChange(type=ConfChangeType.ADD_NODE, node_id=7, context=b"c"),
        _change("v1 l2 r3 u4", EXPLICIT),
        ConfChangeV2(),
        ConfChangeV2(context=b"why"),
    ],
)
def test_changes_are_read_back(change: ConfChange | ConfChangeV2) -> None:
    kind, data = encode_conf_change(change)
    found = decode_conf_change(Entry(term=1, index=1, type=kind, data=data))
    assert found == (change.as_v2() if isinstance(change, ConfChange) else change)
    assert (data == b"") == (change == ConfChangeV2())


def test_negative_ids_are_not_decoded() -> None:
    data = msgspec.msgpack.encode({"type": 0, "node_id": -1})
    with pytest.raises(CorruptRecord):
        decode_conf_change(Entry(term=1, index=1, type=EntryType.CONF_CHANGE, data=data))
