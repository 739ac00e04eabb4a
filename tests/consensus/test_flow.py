"""How fast a leader sends: probing, pipelining and bounds (thesis, section 10.2.1)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from omium.consensus import (
    NO_LIMIT,
    Config,
    Entry,
    MemoryStorage,
    Message,
    MessageType,
    ProgressState,
    initial_snapshot,
)
from omium.consensus.records import ENTRY_OVERHEAD_BYTES
from omium.errors import ConfigError, RequestDropped
from tests.consensus.alone import Alone, log_of

APPEND, APPEND_RESPONSE = MessageType.APPEND, MessageType.APPEND_RESPONSE


def _leading(**options: Any) -> Alone:
    """A leader of two that has found out where the other is."""
    one = Alone(voters=(1, 2), **options)
    one.lead()
    one.hear(APPEND_RESPONSE, 2, index=2)
    return one


def _appends(messages: list[Message]) -> list[tuple[int, int]]:
    """Where each append starts, and how many entries it carries."""
    return [(m.index, len(m.entries)) for m in messages if m.type is APPEND]


def _propose(one: Alone, count: int, size: int = 1) -> list[Message]:
    sent: list[Message] = []
    for _ in range(count):
        one.node.propose(b"x" * size)
        sent += one.work()
    return sent


# ---- probe and replicate


def test_a_follower_is_probed_with_one_append_at_a_time() -> None:
    one = Alone(voters=(1, 2))
    assert _appends(one.lead()) == [(1, 1)]
    assert _appends(_propose(one, 3)) == []
    sent = one.hear(APPEND_RESPONSE, 2, index=2)
    assert _appends(sent)[0] == (2, 3), "all that it lacks, at once"


def test_a_follower_that_keeps_up_is_not_waited_for() -> None:
    one = _leading()
    assert _appends(_propose(one, 3)) == [(2, 1), (3, 1), (4, 1)]


def test_a_lost_probe_is_made_up_for_after_a_heartbeat() -> None:
    one = Alone(voters=(1, 2))
    one.lead()
    assert _appends(one.hear(MessageType.HEARTBEAT_RESPONSE, 2)) == [(1, 1)]


def test_a_refusal_leads_back_to_probing() -> None:
    one = _leading()
    _propose(one, 3)
    sent = one.hear(APPEND_RESPONSE, 2, index=4, reject=True, reject_hint=2)
    assert one.node.status().progress[2].state is ProgressState.PROBE
    assert _appends(sent) == [(2, 3)]


def test_an_old_refusal_is_ignored() -> None:
    one = _leading()
    _propose(one, 3)
    one.hear(APPEND_RESPONSE, 2, index=5)
    assert one.hear(APPEND_RESPONSE, 2, index=3, reject=True, reject_hint=2) == []
    assert one.node.status().progress[2].state is ProgressState.REPLICATE
    probing = Alone(1, 1, 1, voters=(1, 2), term=1)
    probing.lead()
    assert probing.hear(APPEND_RESPONSE, 2, index=1, reject=True, reject_hint=0) == []


def test_an_unreachable_follower_is_probed() -> None:
    one = _leading()
    _propose(one, 2)
    one.node.report_unreachable(2)
    assert one.node.status().progress[2].state is ProgressState.PROBE
    assert _appends(_propose(one, 2)) == [(2, 3)]
    one.node.report_unreachable(9)


def test_a_follower_that_answers_a_probe_with_nothing_new_is_replicated_to() -> None:
    one = _leading()
    one.node.report_unreachable(2)
    assert _appends(one.hear(MessageType.HEARTBEAT_RESPONSE, 2)) == [(2, 0)]
    one.hear(APPEND_RESPONSE, 2, index=2)
    assert one.node.status().progress[2].state is ProgressState.REPLICATE


def test_the_commit_index_is_told_once() -> None:
    one = Alone()
    one.lead()
    one.hear(APPEND_RESPONSE, 2, index=2)
    assert {m.commit for m in one.hear(APPEND_RESPONSE, 3, index=2)} == {2}
    assert one.hear(APPEND_RESPONSE, 3, index=2) == []


# ---- bounds


def test_the_window_is_bounded_in_messages() -> None:
    one = _leading(inflight_messages_max=2)
    assert _appends(_propose(one, 5)) == [(2, 1), (3, 1)]
    progress = one.node.status().progress[2]
    assert (progress.inflight, progress.inflight_full, progress.paused) == (2, True, True)
    assert _appends(one.hear(APPEND_RESPONSE, 2, index=3)) == [(4, 3)]


def test_the_window_is_bounded_in_bytes() -> None:
    one = _leading(inflight_bytes_max=100)
    assert len(_appends(_propose(one, 10, size=30))) == 4, "the one that reaches the bound goes"
    sent = _appends(one.hear(APPEND_RESPONSE, 2, index=3))
    assert sent == [(6, 6)]


def test_a_full_window_lets_an_empty_append_through_after_a_heartbeat() -> None:
    one = _leading(inflight_messages_max=2)
    _propose(one, 5)
    sent = one.hear(MessageType.HEARTBEAT_RESPONSE, 2)
    assert _appends(sent) == [(4, 0)]
    # All of them were lost: it is refused, and everything goes out again.
    sent = one.hear(APPEND_RESPONSE, 2, index=4, reject=True, reject_hint=2)
    assert _appends(sent) == [(2, 5)]


def test_appends_are_bounded_in_bytes() -> None:
    entry = 10 + ENTRY_OVERHEAD_BYTES
    one = Alone(voters=(1, 2), message_bytes_max=3 * entry)
    one.lead()
    one.node.propose(*[b"x" * 10] * 8, b"y" * 1000, b"z")
    one.work()
    sent = one.hear(APPEND_RESPONSE, 2, index=2)
    assert [count for _, count in _appends(sent)] == [3, 3, 2, 1, 1]


def test_what_is_applied_at_once_is_bounded_in_bytes() -> None:
    one = Alone(voters=(1,), committed_bytes_max=2 * (10 + ENTRY_OVERHEAD_BYTES))
    one.node.campaign()
    one.work()
    one.readies.clear()
    one.node.propose(*[b"x" * 10] * 5)
    one.work()
    assert [n for n in (len(r.committed_entries) for r in one.readies) if n] == [2, 2, 1]


def test_what_is_not_committed_is_bounded_in_bytes() -> None:
    one = _leading(uncommitted_bytes_max=100)
    one.node.propose(b"x" * 60)
    one.node.propose(b"x" * 40)
    with pytest.raises(RequestDropped, match="too much waits to be committed"):
        one.node.propose(b"x")
    assert one.node.propose(b"") == 5, "nothing is lost by letting what is empty through"
    one.work()
    one.hear(APPEND_RESPONSE, 2, index=3)
    assert one.node.propose(b"x" * 60) == 6


def test_a_single_proposal_may_be_larger_than_the_bound() -> None:
    one = _leading(uncommitted_bytes_max=100)
    one.node.propose(b"x" * 1000)
    with pytest.raises(RequestDropped):
        one.node.propose(b"x")


def test_a_proposal_is_taken_whole_or_not_at_all() -> None:
    one = _leading(uncommitted_bytes_max=100)
    one.node.propose(b"x")
    with pytest.raises(RequestDropped):
        one.node.propose(b"x" * 50, b"x" * 50)
    one.work()
    assert one.storage.last_index() == 3


class _Counting(MemoryStorage):
    """Counts the entries that are read."""

    read = 0

    def entries(self, low: int, high: int, bytes_max: int = NO_LIMIT) -> Sequence[Entry]:
        found = super().entries(low, high, bytes_max)
        self.read += len(found)
        return found


def test_a_long_backlog_is_read_in_pieces() -> None:
    storage = _Counting(initial_snapshot((1, 2)))
    storage.append(log_of(*[1] * 200))
    one = Alone(storage=storage, term=1, message_bytes_max=10 * (5 + ENTRY_OVERHEAD_BYTES))
    one.lead()
    storage.read = 0
    one.hear(APPEND_RESPONSE, 2, index=201, reject=True, reject_hint=1)
    assert 0 < storage.read < 15


@pytest.mark.parametrize(
    "wrong",
    [
        {"id": 0},
        {"heartbeat_ticks": 0},
        {"election_ticks": 1},
        {"message_bytes_max": 0},
        {"inflight_messages_max": 0},
    ],
)
def test_a_config_that_cannot_work_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        Config(**{"id": 1, "storage": MemoryStorage(), "draw": lambda _: 0} | wrong)
