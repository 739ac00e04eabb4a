"""Laws of the parts, for any input: each against an oracle that is too simple to be wrong."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product

import msgspec
from hypothesis import given, note, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from omium.consensus import (
    ConfChangeSingle,
    ConfChangeTransition,
    ConfChangeType,
    ConfChangeV2,
    ConfState,
    Entry,
    EntryType,
    Membership,
    MemoryStorage,
    Message,
    MessageType,
    ProgressState,
    Snapshot,
    initial_snapshot,
    quorum,
)
from omium.consensus.confchange import changed, restored
from omium.consensus.inflights import Inflights
from omium.consensus.log import RaftLog
from omium.consensus.progress import Progress
from omium.consensus.quorum import INFINITE_INDEX, VoteResult
from omium.consensus.records import ENTRY_OVERHEAD_BYTES, NO_LIMIT
from omium.consensus.tracker import ProgressTracker
from omium.errors import ConfChangeRefused

IDS = st.integers(1, 7)
VOTERS = st.frozensets(IDS, max_size=6)
INDEXES = st.dictionaries(IDS, st.integers(0, 9))
_QUICK = settings(max_examples=30, stateful_step_count=40)


# ---- quorums


def _majority(voters: frozenset[int], agreeing: set[int]) -> bool:
    return 2 * len(voters & agreeing) > len(voters)


@given(VOTERS, VOTERS, INDEXES)
def test_what_is_committed_is_on_every_majority_that_has_a_say(
    incoming: frozenset[int], outgoing: frozenset[int], indexes: dict[int, int]
) -> None:
    def committed(index: int) -> bool:
        have = {voter for voter, own in indexes.items() if own >= index}
        return all(not half or _majority(half, have) for half in (incoming, outgoing))

    found = quorum.joint_committed_index(
        [indexes.get(voter, 0) for voter in incoming],
        [indexes.get(voter, 0) for voter in outgoing],
    )
    if not incoming and not outgoing:
        assert found == INFINITE_INDEX
    else:
        assert found == max([index for index in range(1, 10) if committed(index)], default=0)


@given(VOTERS, VOTERS, st.dictionaries(IDS, st.booleans()))
def test_an_election_is_over_when_no_vote_can_change_it(
    incoming: frozenset[int], outgoing: frozenset[int], votes: dict[int, bool]
) -> None:
    def won(all_votes: Mapping[int, bool]) -> bool:
        granting = {voter for voter, granted in all_votes.items() if granted}
        return all(not half or _majority(half, granting) for half in (incoming, outgoing))

    missing = sorted((incoming | outgoing) - votes.keys())
    ends = {
        won(votes | dict(zip(missing, rest, strict=True)))
        for rest in product((True, False), repeat=len(missing))
    }
    found = quorum.joint_vote_result(incoming, outgoing, votes)
    expected = {
        (True,): VoteResult.WON,
        (False,): VoteResult.LOST,
        (False, True): VoteResult.PENDING,
    }[tuple(sorted(ends))]
    assert found is expected
    if not outgoing:
        assert quorum.vote_result(incoming, votes) is expected


# ---- members


CHANGES = st.builds(
    ConfChangeV2,
    transition=st.sampled_from(ConfChangeTransition),
    changes=st.lists(
        st.builds(
            ConfChangeSingle, type=st.sampled_from(ConfChangeType), node_id=st.integers(0, 5)
        ),
        max_size=4,
    ).map(tuple),
)


@given(st.lists(CHANGES, max_size=12))
def test_any_two_majorities_in_a_row_overlap(changes: list[ConfChangeV2]) -> None:
    tracker = ProgressTracker(inflight_messages_max=4, inflight_bytes_max=NO_LIMIT)
    tracker.adopt(*restored(tracker, 1, ConfState(voters=(1, 2, 3))))
    for change in changes:
        before = tracker.membership
        progress = dict(tracker.progress)
        learners = {node_id: one.is_learner for node_id, one in progress.items()}
        try:
            found = changed(tracker, 5, change)
        except ConfChangeRefused as refused:
            note(str(refused))
            found = None
        assert (tracker.membership, tracker.progress) == (before, progress)
        assert {n: one.is_learner for n, one in progress.items()} == learners
        if found is None:
            continue
        tracker.adopt(*found)
        after = tracker.membership
        assert after.voters
        if not before.joint and not after.joint:
            assert len(before.voters ^ after.voters) <= 1
        elif after.joint:
            assert after.outgoing == before.voters
        else:
            assert after.voters == before.voters
        assert list(tracker.progress) == sorted(after.all_voters | after.learners)
        # Who stays a member keeps what is known about it.
        removed = {one.node_id for one in change.changes if one.type is ConfChangeType.REMOVE_NODE}
        for node_id in (progress.keys() & tracker.progress.keys()) - removed:
            assert tracker.progress[node_id].inflights is progress[node_id].inflights
        # What is stored says the same.
        assert Membership.of(after.conf_state()) == after
        again, _ = restored(tracker, 5, after.conf_state())
        assert again == after


# ---- the window and the progress


class WindowMachine(RuleBasedStateMachine):
    """A window, and the plain list of what is in it."""

    def __init__(self) -> None:
        super().__init__()
        self.window = Inflights(messages_max=4, bytes_max=100)
        self.sent: list[tuple[int, int]] = []
        self.last = 0

    @precondition(lambda self: not self.window.full)
    @rule(step=st.integers(1, 3), size=st.integers(0, 120))
    def add(self, step: int, size: int) -> None:
        self.last += step
        self.window.add(self.last, size)
        self.sent.append((self.last, size))

    @rule(index=st.integers(0, 40))
    def free(self, index: int) -> None:
        self.window.free_to(index)
        self.sent = [one for one in self.sent if one[0] > index]

    @rule()
    def reset(self) -> None:
        self.window.reset()
        self.sent = []

    @invariant()
    def is_what_it_says(self) -> None:
        assert len(self.window) == len(self.sent)
        size = sum(size for _, size in self.sent)
        assert self.window.full == (len(self.sent) >= 4 or size >= 100)


TestWindow = WindowMachine.TestCase
TestWindow.settings = _QUICK


class ProgressMachine(RuleBasedStateMachine):
    """A follower and any order of what can happen to it."""

    def __init__(self) -> None:
        super().__init__()
        window = Inflights(messages_max=3, bytes_max=NO_LIMIT)
        self.progress = Progress(match=0, next_index=1, inflights=window)
        self.match = 0

    @rule(count=st.integers(0, 3))
    def send(self, count: int) -> None:
        one = self.progress
        if not one.paused:
            full = one.state is ProgressState.REPLICATE and one.inflights.full
            one.sent_entries(0 if full else count, 1)

    @rule(index=st.integers(0, 30))
    def acknowledge(self, index: int) -> None:
        one = self.progress
        news = one.maybe_update(index)
        assert news == (index > self.match)
        self.match = max(self.match, index)
        if news:
            assert not one.flow_paused
            if one.state is ProgressState.REPLICATE:
                one.inflights.free_to(index)

    @rule(rejected=st.integers(0, 30), hint=st.integers(0, 30))
    def refuse(self, rejected: int, hint: int) -> None:
        one, before = self.progress, self.progress.next
        if one.maybe_decrease(rejected, hint):
            assert one.next <= before
            assert rejected >= self.match
        else:
            assert one.next == before

    @rule()
    def heartbeat(self) -> None:
        self.progress.flow_paused = False

    @rule(state=st.sampled_from(ProgressState), ahead=st.integers(0, 5))
    def become(self, state: ProgressState, ahead: int) -> None:
        if state is ProgressState.SNAPSHOT:
            self.progress.become_snapshot(self.match + ahead)
        elif state is ProgressState.PROBE:
            self.progress.become_probe()
        else:
            self.progress.become_replicate()
        assert self.progress.state is state

    @invariant()
    def what_is_known_is_never_sent_again(self) -> None:
        one = self.progress
        assert one.match == self.match
        assert one.match < one.next
        assert (one.pending_snapshot > 0) <= (one.state is ProgressState.SNAPSHOT)
        if one.state is not ProgressState.REPLICATE:
            assert len(one.inflights) == 0


TestProgress = ProgressMachine.TestCase
TestProgress.settings = _QUICK


# ---- the log


class LogMachine(RuleBasedStateMachine):
    """A log with a disk that lags behind it, and the plain list of its entries.

    Leaders of growing terms append, each to a log that holds all that is committed.
    """

    def __init__(self) -> None:
        super().__init__()
        self.storage = MemoryStorage(initial_snapshot((1,)))
        self.log = RaftLog(self.storage, committed_bytes_max=3 * ENTRY_OVERHEAD_BYTES)
        self.terms = [-1, 0]
        self.term = 1
        self.committed = 1
        self.first = 2

    @rule(data=st.data(), newer=st.booleans(), count=st.integers(0, 4))
    def append(self, data: st.DataObject, newer: bool, count: int) -> None:
        self.term += newer
        last = len(self.terms) - 1
        previous: int = data.draw(st.integers(self.committed, last))
        if not newer:
            # The same leader only sends what it has: this log, or more.
            sent = (self.terms[previous + 1 :] + [self.term] * count)[:count]
        else:
            sent = [self.term] * count
        commit: int = data.draw(st.integers(0, last + count))
        entries = [Entry(term=t, index=previous + n) for n, t in enumerate(sent, 1)]
        found = self.log.maybe_append(previous, self.terms[previous], entries, commit)
        assert found is not None
        assert found == previous + len(sent)
        if self.terms[previous + 1 : previous + 1 + len(sent)] != sent:
            self.terms = self.terms[: previous + 1] + sent
        self.committed = max(self.committed, min(commit, found))

    @rule(previous=st.integers(0, 30), term=st.integers(0, 30))
    def refuse(self, previous: int, term: int) -> None:
        known = self.log.term(previous)
        if known != term:
            entry = Entry(term=self.term, index=previous + 1)
            assert self.log.maybe_append(previous, term, [entry], 0) is None

    @rule(data=st.data())
    def write(self, data: st.DataObject) -> None:
        """Write what is unstable; meanwhile it may be replaced."""
        entries = list(self.log.unstable.entries)
        if not entries:
            return
        count = data.draw(st.integers(1, len(entries)))
        self.storage.append(entries[:count])
        self.log.unstable.stable_to(entries[count - 1].index, entries[count - 1].term)

    @rule()
    def apply(self) -> None:
        page = self.log.next_committed()
        expected = range(self.log.applied + 1, self.committed + 1)[:3]
        assert [entry.index for entry in page] == list(expected)
        stable = [entry for entry in page if entry.index <= self.storage.last_index()]
        if stable and stable[-1].index < self.log.unstable.offset:
            self.log.applied_to(stable[-1].index)

    @rule(data=st.data())
    def compact(self, data: st.DataObject) -> None:
        index = data.draw(st.integers(1, self.log.applied))
        self.storage.compact(index)
        self.first = max(self.first, index + 1)

    @rule(ahead=st.integers(1, 5))
    def restore(self, ahead: int) -> None:
        index = len(self.terms) - 1 + ahead
        self.term += 1
        snapshot = Snapshot(index=index, term=self.term)
        self.log.restore(snapshot)
        assert not self.log.next_committed()
        self.storage.install(snapshot)
        self.log.unstable.stable_snapshot_to(index)
        self.log.applied_to(index)
        self.terms += [0] * (ahead - 1) + [self.term]
        self.committed, self.first = index, index + 1

    @rule(low=st.integers(0, 6), high=st.integers(0, 6), entries=st.integers(1, 8))
    def read(self, low: int, high: int, entries: int) -> None:
        last = len(self.terms) - 1
        low, high = min(self.first + low, last + 1), min(self.first + high, last + 1)
        found = self.log.slice(low, high, entries * ENTRY_OVERHEAD_BYTES)
        expected = list(range(low, high))[:entries]
        assert [(e.index, e.term) for e in found] == [(i, self.terms[i]) for i in expected]

    @rule(index=st.integers(0, 30), term=st.integers(0, 30))
    def agree(self, index: int, term: int) -> None:
        index = min(index, len(self.terms) - 1)
        found, own = self.log.last_agreement(index, term)
        assert found <= index
        if own:
            assert (own, own <= term) == (self.terms[found], True)
            assert all(self.terms[i] > term for i in range(found + 1, index + 1))

    @invariant()
    def is_what_it_says(self) -> None:
        last = len(self.terms) - 1
        assert (self.log.first_index, self.log.last_index) == (self.first, last)
        assert self.log.committed == self.committed
        for index in range(last + 3):
            known = self.first - 1 <= index <= last
            assert self.log.term(index) == (self.terms[index] if known else None)
        assert self.log.is_up_to_date(last, self.terms[last])
        assert not self.log.is_up_to_date(last - 1, self.terms[last])


TestLog = LogMachine.TestCase
TestLog.settings = _QUICK


# ---- messages


NATURALS = st.integers(0, 2**63 - 1)
ENTRIES = st.builds(
    Entry,
    term=NATURALS,
    index=NATURALS,
    type=st.sampled_from(EntryType),
    data=st.binary(max_size=20),
)
SNAPSHOTS = st.builds(
    Snapshot,
    index=NATURALS,
    term=NATURALS,
    conf_state=st.builds(ConfState, voters=st.lists(IDS).map(tuple), auto_leave=st.booleans()),
    data=st.binary(max_size=20),
)
MESSAGES = st.builds(
    Message,
    type=st.sampled_from(MessageType),
    to=NATURALS,
    sender=NATURALS,
    term=NATURALS,
    log_term=NATURALS,
    index=NATURALS,
    commit=NATURALS,
    entries=st.lists(ENTRIES, max_size=3),
    reject=st.booleans(),
    reject_hint=NATURALS,
    context=st.binary(max_size=8),
    transfer=st.booleans(),
    snapshot=st.none() | SNAPSHOTS,
)


@given(MESSAGES)
def test_messages_survive_the_wire(message: Message) -> None:
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(message), type=Message) == message


@given(st.sampled_from(MessageType), NATURALS)
def test_what_a_message_leaves_out_survives_too(kind: MessageType, to: int) -> None:
    message = Message(type=kind, to=to)
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(message), type=Message) == message
