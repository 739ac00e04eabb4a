"""The laws of a member's disk, stated once; every ``LogStore`` runs them all.

A backend's test module subclasses ``LogStoreConformance`` under a name that pytest collects, and
overrides the fixture ``backend``. Needs pytest.
"""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from omium.consensus import (
    NO_LIMIT,
    Batch,
    ConfChange,
    ConfChangeType,
    ConfState,
    Entry,
    EntryType,
    HardState,
    LogStore,
    Snapshot,
    encode_conf_change,
    initial_snapshot,
)
from omium.errors import InvariantBroken, OmiumError

START = initial_snapshot([1, 2, 3])
KEPT = 16
"""Applied entries that the stores under test keep at least."""


class LogStoreBackend(ABC):
    """How stores of one kind are made, and looked into."""

    @abstractmethod
    def open(self, name: str, start: Snapshot | None = START) -> LogStore[Any]:
        """Open the store ``name``, with the log bounded by ``KEPT``; a new one begins with
        ``start``. One that is open is closed before, as in a restart."""

    @abstractmethod
    def command(self, number: int) -> bytes:
        """A command that the state machine takes; each number changes the state in its way."""

    @abstractmethod
    def state(self, store: LogStore[Any]) -> object:
        """All that was applied, comparable."""

    @abstractmethod
    def ship(self, source: LogStore[Any], target: LogStore[Any]) -> Snapshot:
        """A snapshot of ``source`` as ``target`` is handed it, its state at hand."""


def written(store: LogStore[Any], batch: Batch) -> Sequence[Any]:
    """Write ``batch`` and return the results. Raises what the store says."""
    told: list[Any] = []
    store.write(batch, told.append)
    (result,) = told
    if isinstance(result, OmiumError):
        raise result
    return result


def now_and_after(
    store: LogStore[Any], backend: LogStoreBackend, name: str
) -> Iterator[LogStore[Any]]:
    """The store as it is, and then as it is after a restart."""
    yield store
    yield backend.open(name)


class LogStoreConformance:
    """See the module's docstring."""

    @pytest.fixture
    def backend(self) -> LogStoreBackend:
        raise NotImplementedError

    def log(self, store: LogStore[Any]) -> list[Entry]:
        storage = store.storage
        first, last = storage.first_index(), storage.last_index()
        return list(storage.entries(first, last + 1, NO_LIMIT)) if first <= last else []

    def test_a_first_member_begins_with_who_they_are(self, backend: LogStoreBackend) -> None:
        store = backend.open("one")
        assert store.storage.initial_state()[1] == START.conf_state
        assert (store.storage.first_index(), store.storage.last_index()) == (2, 1)
        assert (store.storage.term(1), store.storage.term(2), store.applied) == (0, None, 1)

    def test_a_newcomer_begins_with_nothing(self, backend: LogStoreBackend) -> None:
        store = backend.open("one", None)
        assert store.storage.initial_state() == (HardState(), ConfState())
        assert (store.storage.first_index(), store.storage.last_index()) == (1, 0)
        assert (store.storage.term(0), store.applied) == (0, 0)

    def test_entries_are_found_again(self, backend: LogStoreBackend) -> None:
        entries = [_entry(index, 1 + index // 4, backend) for index in range(2, 10)]
        store = backend.open("one")
        written(store, Batch(entries=entries[:3]))
        written(store, Batch(entries=entries[3:]))
        for found in now_and_after(store, backend, "one"):
            storage = found.storage
            assert self.log(found) == entries
            assert storage.entries(4, 7, NO_LIMIT) == entries[2:5]
            assert [storage.term(index) for index in range(1, 11)] == [
                0,
                *[entry.term for entry in entries],
                None,
            ]
            assert storage.last_index() == 9
            assert found.applied == 1

    def test_bytes_are_bounded_and_one_entry_always_comes(self, backend: LogStoreBackend) -> None:
        entries = [_entry(index, 1, backend) for index in range(2, 10)]
        store = backend.open("one")
        written(store, Batch(entries=entries))
        assert store.storage.entries(3, 9, 1) == entries[1:2]
        two = sum(len(entry.data) + 16 for entry in entries[1:3])
        assert store.storage.entries(3, 9, two) == entries[1:3]
        assert store.storage.entries(3, 9, two + 1) == entries[1:3]

    def test_what_follows_is_replaced(self, backend: LogStoreBackend) -> None:
        old = [_entry(index, 1, backend) for index in range(2, 8)]
        new = [_entry(index, 2, backend) for index in range(4, 6)]
        store = backend.open("one")
        written(store, Batch(entries=old))
        written(store, Batch(entries=new))
        for found in now_and_after(store, backend, "one"):
            assert self.log(found) == [*old[:2], *new]
            assert found.storage.last_index() == 5
            assert found.storage.term(6) is None

    def test_a_gap_is_refused(self, backend: LogStoreBackend) -> None:
        store = backend.open("one")
        with pytest.raises(InvariantBroken, match="gap"):
            written(store, Batch(entries=[_entry(3, 1, backend)]))
        assert self.log(store) == []

    def test_nothing_outside_of_the_log_is_read(self, backend: LogStoreBackend) -> None:
        store = backend.open("one")
        written(store, Batch(entries=[_entry(2, 1, backend)]))
        for low, high in ((1, 2), (2, 4), (3, 2)):
            with pytest.raises(InvariantBroken):
                store.storage.entries(low, high, NO_LIMIT)

    def test_term_and_vote_are_found_again(self, backend: LogStoreBackend) -> None:
        store = backend.open("one")
        state = HardState(term=7, vote=2, commit=1)
        written(store, Batch(hard_state=state))
        assert store.storage.initial_state() == (state, START.conf_state)
        assert backend.open("one").storage.initial_state() == (state, START.conf_state)

    def test_what_is_committed_is_applied_in_the_same_batch(self, backend: LogStoreBackend) -> None:
        change = ConfChange(type=ConfChangeType.ADD_LEARNER_NODE, node_id=4)
        kind, data = encode_conf_change(change)
        entries = [
            Entry(term=1, index=2),
            _entry(3, 1, backend),
            Entry(term=1, index=4, type=kind, data=data),
            _entry(5, 1, backend),
            _entry(6, 1, backend),
        ]
        members = ConfState(voters=(1, 2, 3), learners=(4,))
        store = backend.open("one")
        before = backend.state(store)
        results = written(store, Batch(entries=entries, committed=entries[:4], conf_state=members))
        assert len(results) == 4
        assert [result is None for result in results] == [True, False, True, False]
        after = backend.state(store)
        assert after != before
        for found in now_and_after(store, backend, "one"):
            assert found.applied == 5
            assert found.storage.initial_state()[1] == members
            assert backend.state(found) == after
        store = backend.open("one")
        assert len(written(store, Batch(committed=entries[4:], must_sync=False))) == 1
        assert store.applied == 6
        assert backend.state(store) != after

    def test_what_is_applied_has_no_gap(self, backend: LogStoreBackend) -> None:
        entries = [_entry(index, 1, backend) for index in range(2, 6)]
        store = backend.open("one")
        written(store, Batch(entries=entries))
        with pytest.raises(InvariantBroken):
            written(store, Batch(committed=entries[1:2]))

    def test_the_log_is_bounded(self, backend: LogStoreBackend) -> None:
        store = backend.open("one")
        for index in range(2, 6 * KEPT):
            entry = _entry(index, 1 + index // KEPT, backend)
            written(store, Batch(entries=[entry], committed=[entry]))
        for found in now_and_after(store, backend, "one"):
            first = found.storage.first_index()
            assert KEPT <= found.applied - first + 1 <= 3 * KEPT
            assert found.storage.term(first - 1) == 1 + (first - 1) // KEPT
            assert found.storage.term(first - 2) is None
            assert [entry.index for entry in self.log(found)] == [*range(first, 6 * KEPT)]
            with pytest.raises(InvariantBroken):
                found.storage.entries(first - 1, first + 1, NO_LIMIT)

    def test_a_snapshot_is_of_now(self, backend: LogStoreBackend) -> None:
        store = backend.open("one")
        entries = [_entry(index, 3, backend) for index in range(2, 6)]
        members = ConfState(voters=(1, 2, 3, 4))
        written(store, Batch(entries=entries, committed=entries[:3], conf_state=members))
        snapshot = store.storage.snapshot()
        assert (snapshot.index, snapshot.term, snapshot.conf_state) == (4, 3, members)

    def test_a_snapshot_takes_the_place_of_log_and_state(self, backend: LogStoreBackend) -> None:
        source, target = backend.open("source"), backend.open("target")
        entries = [_entry(index, 2, backend) for index in range(2, 9)]
        members = ConfState(voters=(1, 2, 3, 4))
        written(source, Batch(entries=entries, committed=entries[:5], conf_state=members))
        other = [_entry(index, 1, backend) for index in range(2, 20)]
        written(target, Batch(entries=other, committed=other[:2]))
        snapshot = backend.ship(source, target)
        hard_state = HardState(term=5, vote=4, commit=6)
        written(target, Batch(snapshot=snapshot, hard_state=hard_state))
        for found in now_and_after(target, backend, "target"):
            assert found.storage.initial_state() == (hard_state, members)
            assert (found.storage.first_index(), found.storage.last_index()) == (7, 6)
            assert (found.storage.term(6), found.applied) == (2, 6)
            assert backend.state(found) == backend.state(source)
        target = backend.open("target")
        written(target, Batch(entries=entries[5:], committed=entries[5:]))
        written(source, Batch(committed=entries[5:]))
        assert backend.state(target) == backend.state(source)

    def test_an_old_snapshot_takes_nothing_back(self, backend: LogStoreBackend) -> None:
        source, target = backend.open("source"), backend.open("target")
        entries = [_entry(index, 2, backend) for index in range(2, 9)]
        written(source, Batch(entries=entries[:2], committed=entries[:2]))
        snapshot = backend.ship(source, target)
        written(target, Batch(entries=entries, committed=entries[:5]))
        state = backend.state(target)
        written(target, Batch(snapshot=snapshot))
        assert (backend.state(target), target.applied) == (state, 6)
        assert self.log(target) == entries

    @pytest.mark.parametrize("seed", range(10))
    def test_it_is_what_a_list_would_be(self, backend: LogStoreBackend, seed: int) -> None:
        chance = random.Random(seed)
        store, model, applied, term = backend.open("one"), list[Entry](), 1, 1
        for _ in range(60):
            last = model[-1].index if model else 1
            first = chance.randint(applied + 1, last + 1)
            term += first <= last or chance.random() < 0.2
            entries = [
                _entry(index, term, backend) for index in range(first, first + chance.randint(0, 4))
            ]
            if entries:
                model = [entry for entry in model if entry.index < first] + entries
            upto = chance.randint(applied, model[-1].index if model else 1)
            committed = [entry for entry in model if applied < entry.index <= upto]
            written(
                store,
                Batch(entries=entries, committed=committed, must_sync=bool(entries)),
            )
            applied = upto
            if chance.random() < 0.2:
                store = backend.open("one")
            first_kept = store.storage.first_index()
            assert self.log(store) == [entry for entry in model if entry.index >= first_kept]
            assert store.applied == applied


def _entry(index: int, term: int, backend: LogStoreBackend) -> Entry:
    data = backend.command(index * 1_000 + term)
    return Entry(term=term, index=index, type=EntryType.NORMAL, data=data)
