"""A leader whose stream broke: who asks for its place before the time-out, when, and how often."""

from __future__ import annotations

import pytest

from omium.consensus import ConfChange, ConfChangeType, MessageType, Role
from omium.errors import StorageFull
from tests.consensus.members import Group, Host

PRE_VOTES = (MessageType.PRE_VOTE,)


@pytest.fixture
def group() -> Group:
    made = Group()
    made.elect(1)
    return made


def asked(group: Group, host: Host) -> list[MessageType]:
    """What ``host`` asks for, which is not sent."""
    host.member.work()
    messages, group.network = group.network, []
    return [message.type for message in messages if message.sender == host.id]


def test_a_leader_that_others_hear_goes_on(group: Group) -> None:
    group[2].member.suspect(1)
    group.settle()
    group.tick(3)
    assert group[1].member.leads
    assert group[1].member.node.term == 1
    assert group[2].member.node.lead == 1


def test_nobody_asks_about_who_does_not_lead(group: Group) -> None:
    group[2].member.suspect(3)
    group[2].member.suspect(2)
    group[1].member.suspect(1)
    group[1].member.suspect(2)
    group.settle()
    assert group[1].member.leads
    assert group[2].member.node.lead == 1
    group[2].member.suspect(1)
    group[2].member.work()
    group.network.clear()
    group[2].member.suspect(3)
    for _ in range(4):
        group[2].member.tick()
    assert asked(group, group[2]) == []


def test_nobody_in_particular_is_not_suspected(group: Group) -> None:
    group[2].member.node.forget_leader()
    group[2].member.suspect(0)
    for _ in range(4):
        group[2].member.tick()
    assert asked(group, group[2]) == []


def test_who_has_no_vote_asks_nobody(group: Group) -> None:
    group.add(4)
    learner = ConfChange(type=ConfChangeType.ADD_LEARNER_NODE, node_id=4)
    group[1].member.change_members(learner)
    group.tick(3)
    assert group[4].member.node.lead == 1
    group[4].member.suspect(1)
    assert asked(group, group[4]) == []
    assert group[4].member.stopped is None


def test_who_notices_first_is_elected_once_the_others_have_noticed_too(group: Group) -> None:
    """Whoever still hears the leader does not answer, and may be behind and so never win."""
    group.cut = {3}
    group[1].member.propose(b"a", lambda _: None)
    group.settle()
    group.cut = {1}
    group[2].member.suspect(1)
    group.settle()
    assert not group[2].member.leads
    group[3].member.suspect(1)
    group[2].member.suspect(1)
    group.settle()
    assert group[2].member.leads
    assert group[2].seen == [b"a"]


def test_who_is_second_has_its_turn_however_often_it_is_told(group: Group) -> None:
    group.cut = {1, 2}
    group[3].member.suspect(1)
    for _ in range(2):
        group.tick(only=[3])
        group[3].member.suspect(1)
        assert group[3].member.node.role is Role.FOLLOWER
    group.tick(only=[3])
    assert group[3].member.node.role is Role.PRE_CANDIDATE


def test_who_is_second_asks_again_at_its_next_turn(group: Group) -> None:
    group.cut = {1, 2}
    group[3].member.suspect(1)
    group.tick(3, only=[3])
    group[3].member.suspect(1)
    group[2].member.node.forget_leader()
    group.cut = {1}
    group.tick(2, only=[3])
    assert not group[3].member.leads
    group.tick(only=[3])
    assert group[3].member.leads


def test_a_turn_begins_anew_where_the_leader_was_heard_meanwhile(group: Group) -> None:
    group[3].member.suspect(1)
    group.tick(2)
    assert group[3].member.node.lead == 1
    group.cut = {1, 2}
    group[3].member.suspect(1)
    group.tick(2, only=[3])
    assert group[3].member.node.role is Role.FOLLOWER


def test_a_turn_is_over_when_the_leader_is_heard_again(group: Group) -> None:
    group[3].member.suspect(1)
    group.tick(2)
    group.network.clear()
    group[3].member.tick()
    assert asked(group, group[3]) == []


def test_nobody_asks_once_a_later_term_has_begun(group: Group) -> None:
    """Who votes in it has nobody who leads, and would disturb what it votes for."""
    group.cut = {1, 2}
    group[2].member.suspect(1)
    group.settle()
    group.cut = {1}
    group[3].member.suspect(1)
    group[2].disk.slow = True
    group.tick(3, only=[3])
    assert group[2].member.node.term == 2
    assert group[2].member.node.lead == 0
    group[2].member.suspect(1)
    group[2].disk.slow = False
    group[2].disk.catch_up()
    assert asked(group, group[2]) == [MessageType.VOTE_RESPONSE]


def test_a_turn_of_an_earlier_term_is_over(group: Group) -> None:
    group[3].member.node.forget_leader()
    group.cut = {1, 3}
    group[3].member.suspect(1)
    group[3].member.node.raft.lead = 1
    group[3].member.suspect(1)
    group.cut = {1}
    group[2].member.suspect(1)
    group[3].disk.slow = True
    group.settle()
    assert group[3].member.node.term == 2
    for _ in range(3):
        group[3].member.tick()
    group[3].disk.slow = False
    group[3].disk.catch_up()
    assert asked(group, group[3]) == [MessageType.VOTE_RESPONSE]


def test_a_candidate_waits_for_its_votes(group: Group) -> None:
    group.cut = {1}
    group[2].disk.slow = True
    group[3].member.node.forget_leader()
    group[2].member.suspect(1)
    group.settle()
    assert group[2].member.node.role is Role.CANDIDATE
    group[2].member.suspect(1)
    assert group[2].member.node.role is Role.CANDIDATE


def test_a_member_that_cannot_write_asks_nobody(group: Group) -> None:
    group.cut = {1}
    group[2].disk.error = StorageFull("no space left")
    group[1].member.propose(b"a", lambda _: None)
    group.cut = set()
    group.settle()
    assert group[2].member.failed is not None
    for _ in range(5):
        group[2].member.suspect(1)
    assert group[2].member.node.lead == 1
    assert asked(group, group[2]) == []


def test_what_waits_for_a_slow_disk_is_asked_for_once(group: Group) -> None:
    group.cut = {3}
    group[2].disk.slow = True
    group[1].member.propose(b"a", lambda _: None)
    group.settle()
    for _ in range(100):
        group[2].member.suspect(1)
        group[2].member.work()
    group[2].disk.slow = False
    group[2].disk.catch_up()
    found = [kind for kind in asked(group, group[2]) if kind in PRE_VOTES]
    assert len(found) == 2


def test_where_the_first_is_gone_too_the_second_takes_over() -> None:
    group = Group(range(1, 6))
    group.elect(1)
    group.cut = {1, 2}
    for _ in range(3):
        for node_id in (3, 4, 5):
            group[node_id].member.suspect(1)
        group.tick(only=[3, 4, 5])
    assert [node_id for node_id in (3, 4, 5) if group[node_id].member.leads] == [3]
    assert group[3].member.node.term == 2


def test_of_two_who_are_told_at_once_the_first_leads(group: Group) -> None:
    group.cut = {1}
    group[3].member.suspect(1)
    group[2].member.suspect(1)
    group.settle()
    assert [node_id for node_id in (2, 3) if group[node_id].member.leads] == [2]
