"""Log replication and the commit rule: paper, sections 5.3, 5.4.2 and 5.5."""

from __future__ import annotations

import pytest

from omium.consensus import Entry, HardState, Message, MessageType
from omium.errors import InvariantBroken, ProtocolError, RequestDropped
from tests.consensus.alone import Alone, log_of
from tests.consensus.cluster import Cluster

APPEND, APPEND_RESPONSE = MessageType.APPEND, MessageType.APPEND_RESPONSE


# ---- 5.3: log replication


def test_a_leader_begins_its_term_with_an_empty_entry() -> None:
    one = Alone(1, term=1, commit=1)
    sent = one.lead()
    assert one.terms == [1, 2]
    assert [(m.type, m.index, m.log_term, m.commit) for m in sent] == [(APPEND, 1, 1, 1)] * 2
    assert [m.entries for m in sent] == [[Entry(term=2, index=2)]] * 2


def test_what_is_proposed_is_committed_and_applied_everywhere() -> None:
    cluster = Cluster()
    cluster.elect(1)
    cluster.propose(b"a", b"b")
    cluster.propose(b"c")
    for one in cluster.replicas.values():
        assert [entry.data for entry in one.applied] == [b"", b"a", b"b", b"c"]


def test_a_majority_is_enough() -> None:
    cluster = Cluster(range(1, 6))
    cluster.elect(1)
    cluster.isolate(4, 5)
    cluster.propose(b"a")
    assert cluster[1].committed == cluster[3].committed == 3
    cluster.isolate(3)
    cluster.propose(b"b")
    assert cluster[1].committed == 3, "two of five are no majority"


def test_the_leader_counts_its_own_log_only_when_it_is_durable() -> None:
    one = Alone(voters=(1, 2))
    one.lead()
    one.hear(APPEND_RESPONSE, 2, index=2)
    one.node.propose(b"a")
    ready = one.node.ready()
    assert [m.type for m in ready.messages] == [APPEND], "sent beside the write (thesis, 10.2.1)"
    # The follower is faster than the leader's own disk.
    one.node.step(Message(type=APPEND_RESPONSE, to=1, sender=2, term=1, index=3))
    assert one.node.raft.log.committed == 2
    one.node.advance()
    assert one.node.raft.log.committed == 3


def test_followers_can_commit_what_the_leader_has_not_written() -> None:
    one = Alone()
    one.lead()
    one.node.propose(b"a")
    one.storage.append(one.node.ready().entries)
    for follower in (2, 3):
        one.node.step(Message(type=APPEND_RESPONSE, to=1, sender=follower, term=1, index=3))
    assert one.node.raft.log.committed == 3
    one.node.advance()
    assert one.node.ready().committed_entries


def test_acknowledgements_wait_for_the_write() -> None:
    one = Alone()
    one.node.step(Message(type=APPEND, to=1, sender=2, term=1, index=1, entries=log_of(1)))
    ready = one.node.ready()
    assert not ready.messages
    assert [(m.type, m.index) for m in ready.messages_after_write] == [(APPEND_RESPONSE, 2)]
    assert ready.entries
    assert ready.must_sync


def test_a_commit_index_alone_needs_no_sync() -> None:
    one = Alone(1, 1, term=1)
    one.hear(APPEND, 2, index=2, log_term=1, commit=2)
    assert one.readies[0].hard_state == HardState(term=1, commit=2)
    assert not one.readies[0].must_sync


@pytest.mark.parametrize(
    ("index", "log_term", "hint"),
    [
        pytest.param(3, 3, (2, 2), id="another term there"),
        pytest.param(5, 3, (2, 2), id="the log is too short"),
        pytest.param(2, 1, (1, 1), id="later term here"),
    ],
)
def test_an_append_that_does_not_fit_is_refused(
    index: int, log_term: int, hint: tuple[int, int]
) -> None:
    one = Alone(1, 2, term=3)
    (answer,) = one.hear(APPEND, 2, index=index, log_term=log_term, entries=())
    assert (answer.type, answer.reject, answer.index) == (APPEND_RESPONSE, True, index)
    assert (answer.reject_hint, answer.log_term) == hint


@pytest.mark.parametrize(
    ("own", "previous", "sent", "after"),
    [
        pytest.param((1, 1), (2, 1), (1,), [1, 1, 1], id="one more"),
        pytest.param((0,), (1, 0), (1, 1), [0, 1, 1], id="the first"),
        pytest.param((1, 1, 1), (1, 1), (2,), [1, 2], id="a conflict drops what follows"),
        pytest.param((1, 1, 1, 1), (1, 1), (1, 1), [1, 1, 1, 1], id="an old one drops nothing"),
        pytest.param((1, 1, 2), (1, 1), (1, 3, 3), [1, 1, 3, 3], id="partly there"),
        pytest.param((1, 2), (1, 1), (), [1, 2], id="none"),
    ],
)
def test_the_log_becomes_that_of_the_leader(
    own: tuple[int, ...], previous: tuple[int, int], sent: tuple[int, ...], after: list[int]
) -> None:
    one = Alone(*own, term=4)
    index, term = previous
    entries = [Entry(term=t, index=index + n) for n, t in enumerate(sent, 1)]
    (answer,) = one.hear(APPEND, 2, index=index, log_term=term, entries=entries)
    assert not answer.reject
    assert answer.index == index + len(sent)
    assert one.terms == after


def test_the_commit_index_never_runs_ahead_of_what_was_sent() -> None:
    # Behind what the leader has sent the follower's log may be another.
    one = Alone(1, 1, 1, term=2)
    one.hear(APPEND, 2, index=1, log_term=1, commit=3)
    assert one.node.raft.log.committed == 1


def test_committed_entries_are_never_replaced() -> None:
    one = Alone(1, 1, 1, term=1, commit=3)
    (answer,) = one.hear(APPEND, 2, term=2, entries=log_of(2, 2))
    assert (answer.reject, answer.index) == (False, 3), "it says how far it cannot be wrong"
    assert one.terms == [1, 1, 1]
    with pytest.raises(InvariantBroken, match="everything up to 3 is committed"):
        one.node.raft.log.append(log_of(2))


def test_a_heartbeat_that_commits_what_is_not_there_stops_the_node() -> None:
    one = Alone(1, term=1)
    with pytest.raises(InvariantBroken, match="entries that were acknowledged are lost"):
        one.hear(MessageType.HEARTBEAT, 2, commit=2)


def test_entries_that_do_not_follow_one_another_are_refused() -> None:
    one = Alone(1, term=1)
    entries = [Entry(term=1, index=2), Entry(term=1, index=4)]
    with pytest.raises(ProtocolError):
        one.hear(APPEND, 2, index=1, log_term=1, entries=entries)
    assert one.terms == [1]


# The followers of figure 7, and the term in which the leader's log is rebuilt on each.
LEADER = (1, 1, 1, 4, 4, 5, 5, 6, 6, 6)
FIGURE_7 = {
    "a": (1, 1, 1, 4, 4, 5, 5, 6, 6),
    "b": (1, 1, 1, 4),
    "c": (1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 6),
    "d": (1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 7, 7),
    "e": (1, 1, 1, 4, 4, 4, 4),
    "f": (1, 1, 1, 2, 2, 2, 3, 3, 3, 3, 3),
}


@pytest.mark.parametrize("name", FIGURE_7)
def test_every_log_of_figure_7_becomes_that_of_the_leader(name: str) -> None:
    leader = Alone(*LEADER, term=7)
    sent = leader.lead()
    follower = Alone(*FIGURE_7[name], term=7)
    rounds = 0
    while sent:
        rounds += 1
        # The follower is node 2 for the leader and takes itself for node 1.
        answers = [
            answer
            for message in sent
            if message.to == 2
            for answer in follower.hear(
                message.type,
                2,
                term=message.term,
                index=message.index,
                log_term=message.log_term,
                entries=message.entries,
                commit=message.commit,
            )
        ]
        sent = []
        for answer in answers:
            sent += leader.hear(
                answer.type,
                2,
                term=answer.term,
                index=answer.index,
                log_term=answer.log_term,
                reject=answer.reject,
                reject_hint=answer.reject_hint,
            )
    assert follower.terms == leader.terms == [*LEADER, 8]
    assert follower.node.raft.log.committed == 11
    # Whole terms are skipped at a time: the append that is refused, the one that fits, and
    # the commit index.
    assert rounds <= 4


# ---- 5.4.2: entries of earlier terms


def test_an_earlier_term_is_not_committed_by_counting() -> None:
    """Figure 8: an entry on a majority may still be replaced, if it is of an earlier term."""
    one = Alone(1, 2, term=3, commit=1)
    one.lead()
    assert one.terms == [1, 2, 4]
    one.hear(APPEND_RESPONSE, 2, index=2)
    assert one.node.raft.log.committed == 1, "2/2 is on a majority and not committed"
    one.hear(APPEND_RESPONSE, 2, index=3)
    assert one.node.raft.log.committed == 3, "4/3 is, and all before it with it"


def test_figure_8() -> None:
    # (c) S1 leads term 4, and its entry 2/2 is on S3 as well: on a majority of five.
    only_counted = (1, 2)
    # (d) S5 has 3/2 instead. S3 may vote for it and lose 2/2: so that was not committed.
    s3 = Alone(*only_counted, term=4)
    (answer,) = s3.hear(MessageType.VOTE, 5, term=5, log_term=3, index=2)
    assert not answer.reject
    replaced = [Entry(term=3, index=2), Entry(term=5, index=3)]
    s3.hear(APPEND, 5, term=5, index=1, log_term=1, entries=replaced, commit=3)
    assert s3.terms == [1, 3, 5]
    # (e) With an entry of term 4 on a majority S5 cannot be elected any more.
    s3 = Alone(*only_counted, 4, term=4)
    (answer,) = s3.hear(MessageType.VOTE, 5, term=5, log_term=3, index=2)
    assert answer.reject


# ---- 5.5: follower and candidate crashes


def test_a_follower_that_was_down_catches_up() -> None:
    cluster = Cluster()
    cluster.elect(1)
    cluster.isolate(3)
    for number in range(20):
        cluster.propose(str(number).encode())
    cluster.heal()
    cluster[3].crash()
    cluster.tick(3)
    assert cluster[3].log == cluster[1].log
    assert cluster[3].committed == 22


def test_a_message_that_comes_twice_does_nothing_new() -> None:
    one = Alone(term=1)
    append = {"entries": log_of(1, 1), "commit": 2}
    for _ in range(2):
        (answer,) = one.hear(APPEND, 2, **append)
        assert not answer.reject
    assert one.terms == [0, 1, 1]


def test_proposals_are_refused_where_nobody_leads() -> None:
    one = Alone()
    with pytest.raises(RequestDropped, match="no leader is known"):
        one.node.propose(b"a")
    one.node.campaign()
    with pytest.raises(RequestDropped):
        one.node.propose(b"a")
    assert all(not ready.entries for ready in one.readies)


def test_a_follower_passes_proposals_on_or_refuses() -> None:
    cluster = Cluster()
    cluster.elect(1)
    assert cluster[2].node.propose(b"a") is None
    cluster.settle()
    assert cluster[2].log[-1] == (1, b"a")
    refusing = Alone(term=1, forward_proposals=False)
    refusing.hear(MessageType.HEARTBEAT, 2)
    with pytest.raises(RequestDropped, match="does not lead"):
        refusing.node.propose(b"a")


def test_the_leader_says_where_its_proposals_are() -> None:
    one = Alone()
    one.lead()
    assert one.node.propose(b"a", b"b") == 3
    assert one.node.propose(b"c") == 5


# ---- Ready and advance


def test_ready_and_advance_take_turns() -> None:
    one = Alone(voters=(1,))
    with pytest.raises(InvariantBroken):
        one.node.advance()
    one.node.campaign()
    one.node.ready()
    with pytest.raises(InvariantBroken):
        one.node.ready()


@pytest.mark.parametrize("count", [1, 2, 3])
def test_entries_that_were_replaced_while_they_were_written_are_written_again(count: int) -> None:
    one = Alone()
    one.node.step(Message(type=APPEND, to=1, sender=2, term=1, index=1, entries=log_of(1, 1)))
    ready = one.node.ready()
    one.storage.append(ready.entries)
    newer = log_of(*[2] * count)
    one.node.step(Message(type=APPEND, to=1, sender=3, term=2, index=1, entries=newer))
    one.node.advance()
    one.work()
    assert one.terms == [0] + [2] * count


def test_a_restarted_node_applies_what_it_has_not() -> None:
    one = Alone(1, 1, 1, term=1, commit=3, applied=1)
    one.work()
    assert [entry.index for entry in one.readies[0].committed_entries] == [2, 3]


def test_a_commit_index_that_was_lost_is_found_in_what_was_applied() -> None:
    one = Alone(1, 1, 1, term=1, commit=0, applied=2)
    assert one.node.raft.log.committed == 2


def test_a_log_that_ends_before_its_commit_index_is_not_used() -> None:
    with pytest.raises(InvariantBroken):
        Alone(1, term=1, commit=2)
