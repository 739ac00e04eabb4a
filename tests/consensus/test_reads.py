"""Linearizable reads by ReadIndex: thesis, section 6.4; paper, section 8."""

from __future__ import annotations

import pytest

from omium.consensus import ConfChange, ConfChangeType, Membership, MessageType, ReadState
from omium.errors import RequestDropped
from tests.consensus.alone import Alone
from tests.consensus.cluster import Cluster

APPEND_RESPONSE, HEARTBEAT = MessageType.APPEND_RESPONSE, MessageType.HEARTBEAT
HEARTBEAT_RESPONSE = MessageType.HEARTBEAT_RESPONSE


def _leading() -> Alone:
    """A leader of three that has committed the entry of its term."""
    one = Alone()
    one.lead()
    one.hear(APPEND_RESPONSE, 2, index=2)
    one.readies.clear()
    return one


def _reads(one: Alone) -> list[ReadState]:
    return [read for ready in one.readies for read in ready.read_states]


def test_a_read_waits_until_a_quorum_has_confirmed_the_leader() -> None:
    one = _leading()
    one.node.read_index(b"r")
    sent = one.work()
    assert [(m.type, m.to, m.context) for m in sent] == [(HEARTBEAT, 2, b"r"), (HEARTBEAT, 3, b"r")]
    assert _reads(one) == []
    one.hear(HEARTBEAT_RESPONSE, 3, context=b"r")
    assert _reads(one) == [ReadState(index=2, context=b"r")]


def test_the_index_is_that_of_the_time_of_the_question() -> None:
    one = _leading()
    one.node.read_index(b"r")
    one.node.propose(b"later")
    one.work()
    one.hear(APPEND_RESPONSE, 2, index=3)
    one.hear(HEARTBEAT_RESPONSE, 2, context=b"r")
    assert _reads(one) == [ReadState(index=2, context=b"r")]


def test_other_heartbeats_confirm_nothing() -> None:
    one = _leading()
    one.node.read_index(b"r")
    one.work()
    for context in (b"", b"another"):
        one.hear(HEARTBEAT_RESPONSE, 2, context=context)
        one.hear(HEARTBEAT_RESPONSE, 3, context=context)
    assert _reads(one) == []


def test_an_answer_of_an_earlier_term_confirms_nothing() -> None:
    one = _leading()
    one.node.read_index(b"r")
    one.work()
    one.hear(HEARTBEAT_RESPONSE, 2, term=0, context=b"r")
    assert _reads(one) == []


def test_the_confirmation_of_a_read_confirms_those_before_it() -> None:
    one = _leading()
    for context in (b"1", b"2", b"3"):
        one.node.read_index(context)
    one.work()
    one.hear(HEARTBEAT_RESPONSE, 2, context=b"2")
    assert [read.context for read in _reads(one)] == [b"1", b"2"]
    one.hear(HEARTBEAT_RESPONSE, 2, context=b"2")
    one.hear(HEARTBEAT_RESPONSE, 2, context=b"3")
    assert [read.context for read in _reads(one)] == [b"1", b"2", b"3"]


def test_a_read_that_is_asked_for_twice_is_answered_once() -> None:
    one = _leading()
    one.node.read_index(b"r")
    one.node.read_index(b"r")
    one.node.read_index(b"s")
    one.work()
    one.hear(HEARTBEAT_RESPONSE, 2, context=b"r")
    one.hear(HEARTBEAT_RESPONSE, 2, context=b"s")
    assert [read.context for read in _reads(one)] == [b"r", b"s"]


def test_a_leader_that_has_committed_nothing_of_its_term_waits() -> None:
    one = Alone(1, 1, term=1, commit=1)
    one.lead()
    one.node.read_index(b"r")
    assert [m for m in one.work() if m.type is HEARTBEAT] == []
    sent = one.hear(APPEND_RESPONSE, 2, index=3)
    assert [m.context for m in sent if m.type is HEARTBEAT] == [b"r", b"r"]
    one.hear(HEARTBEAT_RESPONSE, 2, context=b"r")
    assert _reads(one) == [ReadState(index=3, context=b"r")]


def test_a_leader_that_is_alone_answers_from_its_own_commits() -> None:
    # The commit index that it found is an old one: two entries were acknowledged since.
    one = Alone(1, 1, 1, voters=(1,), term=1, commit=1)
    one.node.campaign()
    ready = one.node.ready()
    one.storage.set_hard_state(ready.hard_state or one.storage.hard_state)
    one.node.advance()
    one.node.read_index(b"r")
    one.work()
    assert _reads(one) == [ReadState(index=4, context=b"r")]
    one.node.read_index(b"s")
    one.work()
    assert _reads(one)[1:] == [ReadState(index=4, context=b"s")]


def test_a_deposed_leader_answers_nothing() -> None:
    cluster = Cluster()
    cluster.elect(1)
    cluster.isolate(1)
    cluster.tick(40, only=[2, 3])
    new = cluster.leader
    assert new.id != 1
    cluster.propose(b"new")
    cluster[1].node.read_index(b"stale")
    cluster.settle()
    cluster.heal()
    cluster.tick(5)
    assert cluster[1].reads == []
    assert cluster[1].committed == new.committed


def test_a_follower_asks_the_leader() -> None:
    cluster = Cluster()
    cluster.elect(1)
    cluster.propose(b"a")
    cluster[3].node.read_index(b"r")
    cluster.settle()
    assert cluster[3].reads == [ReadState(index=3, context=b"r")]
    assert cluster[1].reads == []


def test_a_lost_heartbeat_is_made_up_for_by_the_next() -> None:
    cluster = Cluster()
    cluster.elect(1)
    cluster.isolate(1)
    cluster[1].node.read_index(b"r")
    cluster.settle()
    cluster.heal()
    cluster.tick()
    assert [read.context for read in cluster[1].reads] == [b"r"]


def test_reads_need_a_majority_of_both_halves() -> None:
    one = _leading()
    one.node.raft.tracker.membership = Membership(
        voters=frozenset({1, 2}), outgoing=frozenset({1, 3})
    )
    one.node.read_index(b"r")
    one.work()
    one.hear(HEARTBEAT_RESPONSE, 2, context=b"r")
    assert _reads(one) == []
    one.hear(HEARTBEAT_RESPONSE, 3, context=b"r")
    assert len(_reads(one)) == 1


def test_a_leader_that_left_does_not_answer_alone() -> None:
    one = Alone(voters=(1, 2), step_down_on_removal=False)
    one.lead()
    removal = ConfChange(type=ConfChangeType.REMOVE_NODE, node_id=1)
    one.node.propose_conf_change(removal)
    one.work()
    one.hear(APPEND_RESPONSE, 2, index=3)
    assert one.node.raft.tracker.membership.singleton
    one.node.read_index(b"r")
    one.work()
    assert _reads(one) == []
    one.hear(HEARTBEAT_RESPONSE, 2, context=b"r")
    assert len(_reads(one)) == 1


def test_a_learner_confirms_nothing() -> None:
    one = Alone(voters=(1, 2, 3), learners=(4,))
    one.lead()
    one.hear(APPEND_RESPONSE, 2, index=2)
    one.node.read_index(b"r")
    one.work()
    one.hear(HEARTBEAT_RESPONSE, 4, context=b"r")
    assert _reads(one) == []


def test_reads_are_refused_where_they_cannot_be_served() -> None:
    one = Alone(pending_reads_max=2)
    with pytest.raises(RequestDropped, match="no leader is known"):
        one.node.read_index(b"r")
    one.lead()
    for context in (b"1", b"2"):
        one.node.read_index(context)
    with pytest.raises(RequestDropped, match="too many reads"):
        one.node.read_index(b"3")
    one.hear(APPEND_RESPONSE, 2, index=2)
    with pytest.raises(RequestDropped, match="too many reads"):
        one.node.read_index(b"3")
    one.hear(HEARTBEAT_RESPONSE, 2, context=b"2")
    one.node.read_index(b"3")


def test_reads_do_not_outlive_their_leader() -> None:
    one = _leading()
    one.node.read_index(b"r")
    one.work()
    one.hear(HEARTBEAT, 2, term=2)
    one.lead()
    one.hear(HEARTBEAT_RESPONSE, 2, context=b"r")
    one.hear(HEARTBEAT_RESPONSE, 3, context=b"r")
    assert _reads(one) == []
