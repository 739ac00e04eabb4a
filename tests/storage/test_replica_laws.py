"""Replicas that apply the same log reach the same state, whatever else happens to them."""

from __future__ import annotations

import copy
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from omium.execution import events as ev
from omium.execution.state import ExecutionState
from omium.storage.replica import Replica, Written
from omium.storage.rows import row_of
from tests.execution.strategies import appends, creation

EXECUTIONS = ("exe_1", "exe_2")


class ReplicaMachine(RuleBasedStateMachine):
    """One replica commits in batches and lives long. The other gets the same log one append at
    a time, and is closed and opened again in between."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = tempfile.TemporaryDirectory()
        self.one = self._open("one")
        self.other = self._open("other")
        self.commit([creation(name) for name in EXECUTIONS])

    def _open(self, name: str) -> Replica:
        return Replica.open(Path(self.directory.name) / name, owner="test")

    def teardown(self) -> None:
        self.one.close()
        self.other.close()
        self.directory.cleanup()

    def _state(self, name: str) -> ExecutionState:
        state = self.one.state(name)
        assert state is not None
        return state

    def commit(self, batch: list[ev.Append]) -> None:
        before = {name: copy.deepcopy(self.one.state(name)) for name in EXECUTIONS}
        outcomes = self.one.commit(batch)
        assert [self.other.commit([append])[0] for append in batch] == outcomes
        for name in EXECUTIONS:
            written = [
                entry.index
                for append, outcome in zip(batch, outcomes, strict=True)
                if isinstance(outcome, Written) and append.execution_id == name
                for entry in outcome.entries
            ]
            state = before[name]
            start = state.index if state is not None else 0
            assert written == [*range(start + 1, start + 1 + len(written))]
            if not written:
                assert self.one.state(name) == state, "a refused append changed something"

    @rule(data=st.data(), names=st.lists(st.sampled_from(EXECUTIONS), min_size=1, max_size=4))
    def append(self, data: st.DataObject, names: list[str]) -> None:
        self.commit([data.draw(appends(self._state(name))) for name in names])

    @rule()
    def open_again(self) -> None:
        self.other.close()
        self.other = self._open("other")

    @rule(name=st.sampled_from(EXECUTIONS), data=st.data())
    def break_a_batch(self, name: str, data: st.DataObject) -> None:
        """A batch that cannot be encoded is not written, and the replica goes on."""
        unencodable: Any = ev.Resumed(by=2**80)  # pyright: ignore
        good = data.draw(appends(self._state(name)))
        bad = ev.Append(execution_id=good.execution_id, events=(unencodable,))
        before = copy.deepcopy(self.one.state(name))
        with pytest.raises(OverflowError):
            self.one.commit([good, bad])
        assert self.one.state(name) == before

    @invariant()
    def replicas_agree(self) -> None:
        for name in EXECUTIONS:
            state = self._state(name)
            assert self.other.state(name) == state
            assert self.one.journal.fold(name) == state
            assert self.one.journal.executions(execution_id=name) == [row_of(state)]
        assert self.one.journal.executions() == self.other.journal.executions()

    @invariant()
    def unfinished_are_those_listed(self) -> None:
        listed = self.one.journal.executions(statuses=["queued", "running", "paused"])
        assert [state.id for state in self.one.unfinished()] == sorted(row.id for row in listed)


@pytest.mark.timeout(180)
def test_replicas_of_one_log_agree() -> None:
    run_state_machine_as_test(
        ReplicaMachine,
        settings=settings(max_examples=20, stateful_step_count=25, deadline=None),
    )
