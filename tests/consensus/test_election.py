"""Elections: paper, sections 5.1, 5.2 and 5.4.1; pre-vote and leader stickiness: thesis, 4.2.3
and 9.6; check of the quorum: thesis, 6.2."""

from __future__ import annotations

import pytest

from omium.consensus import HardState, Message, MessageType, RawNode, Role
from tests.consensus.alone import Alone
from tests.consensus.cluster import Cluster

VOTE, VOTE_RESPONSE = MessageType.VOTE, MessageType.VOTE_RESPONSE
PRE_VOTE, PRE_VOTE_RESPONSE = MessageType.PRE_VOTE, MessageType.PRE_VOTE_RESPONSE


# ---- 5.1: terms


@pytest.mark.parametrize("role", [Role.FOLLOWER, Role.CANDIDATE, Role.LEADER])
def test_a_higher_term_makes_any_node_a_follower(role: Role) -> None:
    one = Alone()
    if role is Role.CANDIDATE:
        one.node.campaign()
        one.work()
    elif role is Role.LEADER:
        one.lead()
    assert one.node.role is role
    one.hear(MessageType.APPEND, 2, term=5)
    assert (one.node.role, one.node.term, one.node.lead) == (Role.FOLLOWER, 5, 2)


def test_a_stale_leader_is_not_followed() -> None:
    one = Alone(term=3)
    assert one.hear(MessageType.APPEND, 2, term=2, entries=[]) == []
    assert (one.node.term, one.node.lead) == (3, 0)


# ---- 5.2: leader election


def test_a_node_starts_as_a_follower_without_a_leader() -> None:
    one = Alone(term=2)
    assert (one.node.role, one.node.term, one.node.lead) == (Role.FOLLOWER, 2, 0)
    assert not one.node.has_ready()


def test_a_follower_campaigns_after_its_time_out() -> None:
    one = Alone(1, 1, term=1, commit=1)
    for _ in range(18):
        one.node.tick()
    assert one.work() == []
    one.node.tick()
    asked = one.work()
    assert [(m.type, m.to, m.term, m.index, m.log_term) for m in asked] == [
        (VOTE, 2, 2, 2, 1),
        (VOTE, 3, 2, 2, 1),
    ]
    assert one.storage.hard_state == HardState(term=2, vote=1, commit=1)


def test_a_leader_is_heard_and_no_election_starts() -> None:
    one = Alone(term=1)
    for _ in range(100):
        one.node.tick()
        one.hear(MessageType.HEARTBEAT, 2)
    assert one.node.role is Role.FOLLOWER
    assert one.node.term == 1


def test_the_time_outs_are_spread() -> None:
    cluster = Cluster(range(1, 6), seed=7)
    timeouts = {one.node.raft.randomized_election_timeout for one in cluster.replicas.values()}
    assert timeouts <= set(range(10, 20))
    assert len(timeouts) > 1


def test_the_leader_sends_heartbeats_with_every_tick() -> None:
    one = Alone()
    one.lead()
    one.node.tick()
    assert [(m.type, m.to) for m in one.work()] == [
        (MessageType.HEARTBEAT, 2),
        (MessageType.HEARTBEAT, 3),
    ]


@pytest.mark.parametrize(
    ("voters", "votes", "role"),
    [
        ((1,), {}, Role.LEADER),
        ((1, 2, 3), {2: True}, Role.LEADER),
        ((1, 2, 3), {2: False}, Role.CANDIDATE),
        ((1, 2, 3), {2: False, 3: False}, Role.FOLLOWER),
        ((1, 2, 3, 4, 5), {2: True}, Role.CANDIDATE),
        ((1, 2, 3, 4, 5), {2: True, 3: True}, Role.LEADER),
        ((1, 2, 3, 4, 5), {2: False, 3: False, 4: False}, Role.FOLLOWER),
        ((1, 2), {}, Role.CANDIDATE),
    ],
)
def test_a_majority_decides(voters: tuple[int, ...], votes: dict[int, bool], role: Role) -> None:
    one = Alone(voters=voters)
    one.node.campaign()
    one.work()
    for voter, granted in votes.items():
        one.hear(VOTE_RESPONSE, voter, reject=not granted)
    assert one.node.role is role


def test_a_vote_counts_once() -> None:
    one = Alone(voters=(1, 2, 3, 4, 5))
    one.node.campaign()
    one.work()
    for _ in range(3):
        one.hear(VOTE_RESPONSE, 2)
    assert one.node.role is Role.CANDIDATE


def test_the_vote_of_a_term_is_given_once() -> None:
    one = Alone()
    (first,) = one.hear(VOTE, 2, term=1)
    (second,) = one.hear(VOTE, 3, term=1)
    (again,) = one.hear(VOTE, 2, term=1)
    assert [first.reject, second.reject, again.reject] == [False, True, False]
    (next_term,) = one.hear(VOTE, 3, term=2)
    assert not next_term.reject


def test_the_first_answer_of_a_voter_counts() -> None:
    one = Alone()
    one.node.campaign()
    one.work()
    one.hear(VOTE_RESPONSE, 2, reject=True)
    one.hear(VOTE_RESPONSE, 2)
    assert one.node.role is Role.CANDIDATE
    one.hear(VOTE_RESPONSE, 3)
    assert one.node.role is Role.LEADER


def test_no_vote_is_given_in_a_term_that_has_a_leader() -> None:
    one = Alone(term=1)
    one.hear(MessageType.HEARTBEAT, 2)
    (answer,) = one.hear(VOTE, 3)
    assert answer.reject
    assert one.storage.hard_state.vote == 0


def test_a_vote_survives_a_crash() -> None:
    one = Alone()
    one.hear(VOTE, 2, term=1)
    found = Alone(term=one.storage.hard_state.term, vote=one.storage.hard_state.vote)
    (answer,) = found.hear(VOTE, 3, term=1)
    assert answer.reject


def test_a_term_and_a_vote_are_synced_each_for_itself() -> None:
    one = Alone()
    one.hear(VOTE, 3, term=1, index=0)
    assert one.readies[-1].hard_state == HardState(term=1, vote=0, commit=1)
    assert one.readies[-1].must_sync
    one.hear(VOTE, 2)
    assert one.readies[-1].hard_state == HardState(term=1, vote=2, commit=1)
    assert one.readies[-1].must_sync


def test_votes_wait_for_the_write_and_heartbeats_do_not() -> None:
    one = Alone()
    one.node.step(Message(type=VOTE, to=1, sender=2, term=1, index=1))
    ready = one.node.ready()
    assert (list(ready.messages), len(ready.messages_after_write)) == ([], 1)
    assert ready.hard_state == HardState(term=1, vote=2, commit=1)
    assert ready.must_sync

    other = Alone()
    other.node.campaign()
    ready = other.node.ready()
    assert list(ready.messages) == [], "a vote is asked for only when the term is durable"
    assert [m.type for m in ready.messages_after_write] == [VOTE, VOTE]

    leader = Alone()
    leader.lead()
    leader.node.tick()
    assert len(leader.node.ready().messages) == 2


def test_the_own_vote_counts_only_when_it_is_durable() -> None:
    one = Alone(voters=(1,))
    one.node.campaign()
    ready = one.node.ready()
    assert one.node.role is Role.CANDIDATE
    assert ready.hard_state == HardState(term=1, vote=1, commit=1)
    one.node.advance()
    assert one.node.role is Role.LEADER


def test_the_own_vote_of_a_term_that_is_over_does_not_count() -> None:
    one = Alone(voters=(1,), learners=(2,))
    one.node.campaign()
    one.node.ready()
    one.node.step(Message(type=MessageType.HEARTBEAT, to=1, sender=2, term=9))
    one.node.advance()
    assert (one.node.role, one.node.term) == (Role.FOLLOWER, 9)


def test_a_candidate_follows_who_won_its_term() -> None:
    one = Alone()
    one.node.campaign()
    one.work()
    one.hear(MessageType.HEARTBEAT, 3)
    assert (one.node.role, one.node.lead, one.node.term) == (Role.FOLLOWER, 3, 1)
    assert one.storage.hard_state.vote == 1


def test_a_split_vote_ends_in_another_election() -> None:
    cluster = Cluster((1, 2, 3, 4), pre_vote=False, check_quorum=False)
    cluster[1].node.campaign()
    cluster[2].node.campaign()
    cluster.cut = {(1, 4), (2, 3), (2, 4)}
    cluster.settle()
    assert {one.node.role for one in cluster.replicas.values()} == {Role.FOLLOWER, Role.CANDIDATE}
    cluster.heal()
    cluster.tick(60)
    assert cluster.leader.node.term > 1


# ---- 5.4.1: election restriction


@pytest.mark.parametrize(
    ("own", "last_term", "last_index", "granted"),
    [
        ((1, 1, 2), 2, 3, True),
        ((1, 1, 2), 2, 4, True),
        ((1, 1, 2), 3, 1, True),
        ((1, 1, 2), 2, 2, False),
        ((1, 1, 2), 1, 9, False),
        ((0,), 0, 1, True),
        ((0,), 0, 0, False),
    ],
)
def test_only_a_log_that_is_up_to_date_gets_votes(
    own: tuple[int, ...], last_term: int, last_index: int, granted: bool
) -> None:
    one = Alone(*own, term=3)
    (answer,) = one.hear(VOTE, 2, term=4, log_term=last_term, index=last_index)
    assert answer.reject is not granted
    assert one.storage.hard_state.vote == (2 if granted else 0)
    assert answer.term == 4


# ---- thesis 9.6: pre-vote


def test_a_pre_vote_raises_no_term() -> None:
    one = Alone(1, term=1, pre_vote=True)
    one.node.campaign()
    asked = one.work()
    assert {(m.type, m.term) for m in asked} == {(PRE_VOTE, 2)}
    assert (one.node.role, one.node.term) == (Role.PRE_CANDIDATE, 1)
    votes = one.hear(PRE_VOTE_RESPONSE, 2, term=2)
    assert {(m.type, m.term) for m in votes} == {(VOTE, 2)}
    assert (one.node.role, one.node.term) == (Role.CANDIDATE, 2)


def test_pre_votes_bind_nobody() -> None:
    one = Alone(pre_vote=True)
    for candidate in (2, 3, 2):
        (answer,) = one.hear(PRE_VOTE, candidate, term=1)
        assert (answer.reject, answer.term) == (False, 1)
    assert one.storage.hard_state == HardState()


def test_a_lost_pre_vote_leaves_everything_as_it_was() -> None:
    one = Alone(1, term=1, vote=2, pre_vote=True)
    one.node.campaign()
    one.work()
    for voter in (2, 3):
        one.hear(PRE_VOTE_RESPONSE, voter, reject=True)
    assert one.node.role is Role.FOLLOWER
    assert one.storage.hard_state == HardState(term=1, vote=2)
    assert (one.node.term, one.node.raft.vote) == (1, 2)


def test_votes_of_another_kind_do_not_count() -> None:
    one = Alone(pre_vote=True)
    one.node.campaign()
    one.work()
    one.hear(VOTE_RESPONSE, 2)
    assert one.node.role is Role.PRE_CANDIDATE


def test_a_node_that_comes_back_disturbs_nobody() -> None:
    cluster = Cluster()
    cluster.elect(1)
    cluster.isolate(3)
    cluster.tick(100)
    cluster.propose(b"meanwhile")
    cluster.heal()
    cluster.tick(100)
    assert (cluster.leader.id, cluster.leader.node.term) == (1, 1)
    assert cluster[3].log == cluster[1].log


def test_a_pre_vote_of_the_past_is_told_the_term() -> None:
    one = Alone(1, 3, term=3, pre_vote=True)
    (answer,) = one.hear(PRE_VOTE, 2, term=2, log_term=1, index=1)
    assert (answer.type, answer.reject, answer.term) == (PRE_VOTE_RESPONSE, True, 3)


# ---- thesis 4.2.3 and 6.2: a leader that is heard, a leader that is not


def test_votes_are_ignored_while_a_leader_is_heard() -> None:
    one = Alone(term=1, check_quorum=True)
    one.hear(MessageType.HEARTBEAT, 2)
    assert one.hear(VOTE, 3, term=5) == []
    assert (one.node.term, one.node.lead) == (1, 2)
    for _ in range(10):
        one.node.tick()
    (answer,) = one.hear(VOTE, 3, term=5)
    assert not answer.reject


def test_a_vote_that_the_leader_wants_is_not_ignored() -> None:
    one = Alone(term=1, check_quorum=True)
    one.hear(MessageType.HEARTBEAT, 2)
    (answer,) = one.hear(VOTE, 3, term=2, transfer=True)
    assert not answer.reject


def test_a_leader_without_a_quorum_steps_down() -> None:
    one = Alone(check_quorum=True)
    one.lead()
    one.hear(MessageType.HEARTBEAT_RESPONSE, 2)
    for _ in range(10):
        one.node.tick()
    assert one.node.role is Role.LEADER, "one of two others is enough"
    for _ in range(10):
        one.node.tick()
    assert (one.node.role, one.node.term) == (Role.FOLLOWER, 1)


def test_a_node_that_is_ahead_of_its_leader_gets_on() -> None:
    # It raised the term while nobody heard it; the others still follow their leader.
    cluster = Cluster(pre_vote=False)
    cluster.elect(1)
    cluster.isolate(3)
    cluster.tick(40, only=[3])
    ahead = cluster[3].node.term
    assert ahead > 1
    cluster.heal()
    cluster.tick(100)
    assert cluster.leader.node.term > ahead
    assert {one.node.term for one in cluster.replicas.values()} == {cluster.leader.node.term}


def test_forgetting_the_leader_frees_the_vote() -> None:
    one = Alone(term=1, check_quorum=True, pre_vote=True)
    one.hear(MessageType.HEARTBEAT, 2)
    assert one.hear(PRE_VOTE, 3, term=2) == []
    one.node.forget_leader()
    (answer,) = one.hear(PRE_VOTE, 3, term=2)
    assert not answer.reject
    one.hear(MessageType.HEARTBEAT, 2)
    assert (one.node.lead, one.node.term) == (2, 1)


def test_a_leader_does_not_forget_itself() -> None:
    one = Alone()
    one.lead()
    one.node.forget_leader()
    assert (one.node.role, one.node.lead) == (Role.LEADER, 1)


def test_who_is_no_voter_starts_no_election() -> None:
    learner = Alone(voters=(2, 3), learners=(1,))
    stranger = Alone(voters=(2, 3))
    for one in (learner, stranger):
        for _ in range(100):
            one.node.tick()
        one.node.campaign()
        assert one.work() == []
        assert one.node.role is Role.FOLLOWER


def test_status_of_a_group() -> None:
    def roles(nodes: list[RawNode]) -> list[Role]:
        return [node.status().soft_state.role for node in nodes]

    cluster = Cluster()
    cluster.elect(2)
    nodes = [one.node for one in cluster.replicas.values()]
    assert roles(nodes) == [Role.FOLLOWER, Role.LEADER, Role.FOLLOWER]
    assert {node.status().soft_state.lead for node in nodes} == {2}
    status = nodes[1].status()
    assert {node_id: one.match for node_id, one in status.progress.items()} == {1: 2, 2: 2, 3: 2}
    assert (status.id, status.last_index, status.applied) == (2, 2, 2)
    assert nodes[0].status().progress == {}
