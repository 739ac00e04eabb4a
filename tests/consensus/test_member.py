"""A member at work: what it sends when, what it tells whom, and what it does about its disk."""

from __future__ import annotations

from typing import Any

import pytest

from omium.consensus import (
    ConfChangeSingle,
    ConfChangeType,
    ConfChangeV2,
    Config,
    Member,
    MessageType,
)
from omium.consensus import member as module
from omium.errors import (
    CorruptRecord,
    InvariantBroken,
    NotLeading,
    OmiumError,
    StorageFull,
    Unavailable,
)
from tests.consensus.members import Group, Host

VOTES = (MessageType.VOTE, MessageType.PRE_VOTE)


@pytest.fixture
def group() -> Group:
    made = Group()
    made.elect(1)
    return made


def propose(host: Host, *data: bytes) -> list[Any]:
    """Propose each of ``data``; what becomes of them is in the list, in the order told."""
    told: list[Any] = []
    for one in data:
        host.member.propose(one, told.append)
    return told


def test_every_member_applies_the_same_and_who_asked_is_told(group: Group) -> None:
    told = propose(group[1], b"a", b"b")
    assert told == []
    group.settle()
    assert told == ["3:a", "4:b"]
    group.tick()
    assert [host.seen for host in group.hosts.values()] == [[b"a", b"b"]] * 3


def test_what_waits_together_is_one_write_and_one_message(group: Group) -> None:
    writes = len(group[1].disk.batches)
    told = propose(group[1], *[b"%d" % number for number in range(50)])
    group[1].member.work()
    appends = [message for message in group.network if message.type is MessageType.APPEND]
    assert [len(message.entries) for message in appends] == [50, 50]
    assert len(group[1].disk.batches) == writes + 1
    group.settle()
    assert len(told) == 50


def test_a_follower_applies_once_a_tick_and_writes_what_comes_at_once(group: Group) -> None:
    follower = group[2]
    group.tick()
    writes = len(follower.disk.batches)
    for number in range(5):
        propose(group[1], b"%d" % number)
        group.settle()
    assert group[1].seen == [b"0", b"1", b"2", b"3", b"4"]
    assert follower.seen == []
    assert [len(batch.entries) for batch in follower.disk.batches[writes:]] == [1] * 5
    follower.member.tick()
    follower.member.work()
    assert follower.seen == group[1].seen
    assert [len(batch.committed) for batch in follower.disk.batches[writes:]] == [0] * 5 + [5]


def test_what_is_committed_is_durable_with_the_entries_after_it(group: Group) -> None:
    """Though a follower has yet to apply it: or it could go on, after a power cut, with members
    of two changes ago, and elect a leader beside that of the members of now."""
    follower = group[2]
    group.tick()
    propose(group[1], b"first")
    group.settle()
    first = group[1].member.node.raft.log.committed
    writes = len(follower.disk.batches)
    propose(group[1], b"second")
    group.settle()
    (batch,) = follower.disk.batches[writes:]
    assert [entry.data for entry in batch.entries] == [b"second"]
    assert batch.committed == ()
    assert batch.hard_state is not None
    assert batch.hard_state.commit == first


def test_a_follower_is_never_far_behind(group: Group, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "APPLY_BEHIND_MAX", 3)
    group.tick()
    for number in range(10):
        propose(group[1], b"%d" % number)
        group.settle()
        assert group[2].member.node.behind < 3
    assert len(group[2].seen) >= 7


def test_who_is_elected_has_applied_what_it_had_put_off(group: Group) -> None:
    group.tick()
    propose(group[1], b"a", b"b")
    group.settle()
    assert group[2].seen == []
    group[1].member.transfer(2)
    group.settle()
    assert group[2].member.leads
    assert group[2].seen == [b"a", b"b"]


def test_a_leader_sends_before_its_write_and_a_follower_answers_after_it(group: Group) -> None:
    group[1].disk.slow = group[2].disk.slow = True
    propose(group[1], b"a")
    group[1].member.work()
    assert {message.to for message in group.network} == {2, 3}
    group.cut = {3}
    group.deliver()
    group[2].member.work()
    assert group.network == []
    group[2].disk.catch_up()
    assert [(m.type, m.to) for m in group.network] == [(MessageType.APPEND_RESPONSE, 1)]


def test_a_vote_is_sent_after_its_write() -> None:
    group = Group()
    for host in group.hosts.values():
        host.disk.slow = True
    group[1].member.campaign()
    group.settle()
    # Pre-votes change nothing that is stored, so that they need no write.
    group[1].disk.catch_up()
    group.settle()
    votes = [host for host in group.hosts.values() if host.disk.waiting]
    assert votes
    assert not any(host.told for host in group.hosts.values())
    for _ in range(5):
        for host in group.hosts.values():
            host.disk.catch_up()
        group.settle()
    assert group[1].told == ["led 1"]


def test_nothing_is_told_before_a_majority_has_it(group: Group) -> None:
    group.cut = {2, 3}
    told = propose(group[1], b"a")
    group.settle()
    assert told == []
    group.cut = {3}
    group.tick(2)
    assert told == ["3:a"]


def test_a_leader_says_so_only_once_it_has_applied_all_that_came_before(group: Group) -> None:
    told = propose(group[1], b"a")
    group.settle()
    group.cut = {1}
    group[2].disk.slow = True
    group[2].member.suspect(1)
    group[3].member.suspect(1)
    for _ in range(20):
        group.settle()
        group.tick(only=[2, 3])
        leads = group[2].member.leads
        assert not leads or group[2].seen == [b"a"]
        if leads:
            break
        group[2].disk.catch_up()
    assert told == ["3:a"]
    assert group[2].member.leads or group[3].member.leads


def test_followers_refuse_and_say_who_leads(group: Group) -> None:
    told = propose(group[2], b"a")
    group[2].member.read(told.append)
    assert [type(one) for one in told] == [NotLeading, NotLeading]
    assert told[0].lead == 1
    assert not told[0].unknown


def test_a_deposed_leader_leaves_open_what_became_of_it(group: Group) -> None:
    group.cut = {1}
    told = propose(group[1], b"lost")
    group.settle()
    group[2].member.suspect(1)
    group[3].member.suspect(1)
    group.settle()
    assert group[2].member.leads
    after = propose(group[2], b"kept")
    group.settle()
    assert after == ["4:kept"]
    group.cut = set()
    group.tick(3)
    (error,) = told
    assert isinstance(error, NotLeading)
    assert error.unknown
    assert group[1].told == ["led 1", "deposed"]
    assert [host.seen for host in group.hosts.values()] == [[b"kept"]] * 3


def test_a_leader_that_hears_nobody_steps_down(group: Group) -> None:
    group.cut = {1}
    told = propose(group[1], b"a")
    group[1].member.read(told.append)
    group.tick(25, only=[1])
    assert group[1].told == ["led 1", "deposed"]
    assert [type(one) for one in told] == [NotLeading, NotLeading]


# ---------------------------------------------------------------------- reads


def test_reads_that_wait_together_are_one_round_of_heartbeats(group: Group) -> None:
    told: list[OmiumError | None] = []
    for _ in range(5):
        group[1].member.read(told.append)
    group[1].member.work()
    assert [message.type for message in group.network] == [MessageType.HEARTBEAT] * 2
    group.settle()
    assert told == [None] * 5


def test_a_read_sees_what_was_acknowledged_before_it(group: Group) -> None:
    seen: list[list[bytes]] = []
    group[1].member.propose(
        b"a", lambda _: group[1].member.read(lambda _: seen.append(list(group[1].seen)))
    )
    group.settle()
    assert seen == [[b"a"]]


def test_a_read_waits_until_what_was_committed_before_it_is_applied() -> None:
    group = Group(committed_bytes_max=1)
    leader = group.elect(1)
    told = propose(leader, b"a", b"b", b"c", b"d")
    leader.disk.slow = True
    group.settle()
    leader.disk.catch_up()
    # All is committed, and each write brings one entry of it into the state.
    seen: list[list[bytes]] = []
    leader.member.read(lambda _: seen.append(list(leader.seen)))
    for _ in range(8):
        group.settle()
        leader.disk.catch_up()
    assert len(told) == 4
    assert seen == [[b"a", b"b", b"c", b"d"]]


def test_a_read_that_nobody_confirms_is_asked_for_again(group: Group) -> None:
    told: list[OmiumError | None] = []
    group.cut = {1}
    group[1].member.read(told.append)
    group.settle()
    group.cut = set()
    group.tick(module.READ_TICKS - 2, only=[2, 3])
    assert told == []
    group.tick(module.READ_TICKS + 1, only=[1])
    assert told == [None]


# ---------------------------------------------------------------------- bounds


def test_what_waits_is_bounded(group: Group, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WAITING_MAX", 4)
    told = propose(group[1], *[b"%d" % number for number in range(6)])
    assert [type(one) for one in told] == [Unavailable] * 2
    group.settle()
    assert len(told) == 6


def test_what_the_group_does_not_take_yet_waits() -> None:
    group = Group(uncommitted_bytes_max=10)
    group.elect(1)
    told = propose(group[1], b"x" * 9)
    group[1].member.work()
    more = propose(group[1], b"y" * 9)
    group[1].member.work()
    assert (told, more) == ([], [])
    group.settle()
    group.tick()
    assert (len(told), len(more)) == (1, 1)
    assert group[1].seen == [b"x" * 9, b"y" * 9]


# ---------------------------------------------------------------------- the disk


def test_a_write_that_fails_is_tried_again_and_nothing_else_is_done(group: Group) -> None:
    group[1].disk.error = StorageFull("no space left")
    told = propose(group[1], b"a")
    group.settle()
    # Another member may have space, and lead; whether this is carried out then is open.
    (failed,) = told
    assert isinstance(failed, NotLeading)
    assert failed.unknown
    assert group[1].told == ["led 1", "deposed"]
    (refused,) = propose(group[1], b"b")
    assert isinstance(refused, NotLeading)
    assert not refused.unknown
    group.tick(30)
    leader = next(host for host in group.hosts.values() if host.member.leads)
    assert leader.id != 1
    after = propose(leader, b"c")
    group.settle()
    assert len(after) == 1
    group[1].disk.error = None
    group.tick(module.RETRY_TICKS + 3)
    assert group[1].member.failed is None
    assert group[1].seen == leader.seen
    assert leader.seen[-1] == b"c"


@pytest.mark.parametrize("error", [CorruptRecord("log@3", "wrong"), InvariantBroken("a gap")])
def test_a_disk_that_lies_stops_the_member(group: Group, error: OmiumError) -> None:
    group[1].disk.error = error
    told = propose(group[1], b"a")
    group.settle()
    assert group[1].stopped_for is error
    assert group[1].member.stopped is error
    assert told == [error]
    group[1].disk.error = None
    group.tick(30)
    assert not group[1].member.leads
    assert propose(group[1], b"b") == [error]


def test_a_disk_whose_fsync_failed_stops_the_member(group: Group) -> None:
    group[1].disk.error = StorageFull("EIO, say")
    group[1].disk.halted = True
    propose(group[1], b"a")
    group.settle()
    assert group[1].stopped_for is group[1].disk.error


def test_a_member_is_started_from_the_log_that_it_writes(group: Group) -> None:
    config = Config(id=1, storage=group[2].disk.storage, draw=lambda _: 0)
    with pytest.raises(InvariantBroken, match="the log that it writes"):
        Member(config, group[1].disk, group[1])


def test_another_life_goes_on_where_the_disk_ends(group: Group) -> None:
    propose(group[1], b"a")
    group.settle()
    host = group.restart(1)
    assert host.seen == [b"a"]
    group.tick(30)
    leader = next(one for one in group.hosts.values() if one.member.leads)
    told = propose(leader, b"b")
    group.settle()
    group.tick(2)
    assert len(told) == 1
    assert host.seen == [b"a", b"b"]


# ---------------------------------------------------------------------- members


def test_a_lost_member_is_replaced_under_another_id() -> None:
    group = Group(kept=4)
    group.elect(1)
    propose(group[1], *[b"%d" % number for number in range(20)])
    group.settle()
    del group.hosts[3]
    newcomer = group.add(19)
    change = ConfChangeV2(
        changes=(
            ConfChangeSingle(type=ConfChangeType.REMOVE_NODE, node_id=3),
            ConfChangeSingle(type=ConfChangeType.ADD_NODE, node_id=19),
        )
    )
    group[1].member.change_members(change)
    group.settle()
    group.tick(5)
    assert group[1].member.status().membership.voters == {1, 2, 19}
    assert newcomer.seen == group[1].seen
    group.cut = {2}
    told = propose(group[1], b"with the newcomer")
    group.tick(2)
    assert len(told) == 1


def test_what_was_meant_for_its_predecessor_is_none_of_a_members_business(group: Group) -> None:
    propose(group[1], b"a")
    group.settle()
    del group.hosts[3]
    newcomer = group.add(19)
    group[1].member.tick()
    group[1].member.work()
    (heartbeat,) = [m for m in group.network if m.to == 3 and m.type is MessageType.HEARTBEAT]
    assert heartbeat.commit > 0
    newcomer.member.step(heartbeat)
    newcomer.member.work()
    assert newcomer.stopped_for is None
    assert newcomer.member.node.term == 0


def test_leadership_is_handed_over(group: Group) -> None:
    group[1].member.transfer(3)
    group.settle()
    assert group[1].told == ["led 1", "deposed"]
    assert group[3].told == ["led 2"]
