"""Leadership transfer: thesis, section 3.10."""

from __future__ import annotations

import pytest

from omium.consensus import MessageType, Role
from omium.errors import RequestDropped
from tests.consensus.alone import Alone
from tests.consensus.cluster import Cluster

TIMEOUT_NOW = MessageType.TIMEOUT_NOW


def test_leadership_goes_to_who_is_up_to_date() -> None:
    cluster = Cluster()
    cluster.elect(1)
    cluster.propose(b"a")
    cluster[1].node.transfer_leader(3)
    cluster.settle()
    assert (cluster.leader.id, cluster.leader.node.term) == (3, 2)
    assert cluster[1].node.role is Role.FOLLOWER
    cluster.propose(b"b")
    assert cluster[1].committed == 5


def test_who_is_behind_is_brought_up_to_date_first() -> None:
    cluster = Cluster()
    cluster.elect(1)
    cluster.isolate(3)
    cluster.propose(b"a")
    cluster.heal()
    cluster[1].node.transfer_leader(3)
    cluster.settle()
    assert cluster.leader.id == 3
    assert cluster[3].log[:2] == [(1, b""), (1, b"a")]


def test_a_follower_passes_the_wish_on() -> None:
    cluster = Cluster()
    cluster.elect(1)
    cluster[2].node.transfer_leader(3)
    cluster.settle()
    assert cluster.leader.id == 3
    with pytest.raises(RequestDropped, match="no leader is known"):
        Alone().node.transfer_leader(2)


def test_no_proposals_are_taken_meanwhile_and_it_ends_in_time() -> None:
    cluster = Cluster()
    cluster.elect(1)
    cluster.isolate(3)
    cluster[1].node.transfer_leader(3)
    with pytest.raises(RequestDropped, match="on its way to node 3"):
        cluster[1].node.propose(b"a")
    assert cluster[1].node.status().transferee == 3
    cluster.tick(10)
    assert cluster[1].node.status().transferee == 0
    cluster.propose(b"a")
    assert cluster[1].node.role is Role.LEADER


def test_another_wish_replaces_the_first() -> None:
    one = Alone()
    one.lead()
    one.node.transfer_leader(2)
    one.node.transfer_leader(3)
    one.work()
    assert one.node.status().transferee == 3
    one.node.transfer_leader(1)
    assert one.node.status().transferee == 0
    assert one.hear(MessageType.APPEND_RESPONSE, 3, index=1)[0].type is not TIMEOUT_NOW


def test_leadership_is_not_handed_to_who_cannot_lead() -> None:
    one = Alone(voters=(1, 2), learners=(4,))
    one.lead()
    for other in (4, 9, 1):
        one.node.transfer_leader(other)
        assert one.node.status().transferee == 0
    one.node.propose(b"a")


def test_who_is_told_campaigns_without_asking_first() -> None:
    one = Alone(term=1, pre_vote=True, check_quorum=True)
    one.hear(MessageType.HEARTBEAT, 2)
    asked = one.hear(TIMEOUT_NOW, 2)
    assert [(m.type, m.transfer) for m in asked] == [(MessageType.VOTE, True)] * 2
    learner = Alone(voters=(2, 3), learners=(1,), term=1)
    assert learner.hear(TIMEOUT_NOW, 2) == []
