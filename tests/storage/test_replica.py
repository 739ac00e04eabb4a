"""What a replica does with appends: outcomes, states, log, cache, recovery."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from omium.errors import CorruptRecord, PlatformError
from omium.execution import events as ev
from omium.execution.commands import encode_command
from omium.execution.machine import Refusal
from omium.execution.records import Payload, Writer
from omium.storage import replica as module
from omium.storage.replica import FILE_NAME, Replica, Written
from omium.storage.sqlite import checksum, open_writer
from omium.types import ExecutionId, WorkerId
from tests.storage.replica_child import created


def append(execution: str, *events: ev.Event, writer: Writer | None = None) -> ev.Append:
    return ev.Append(execution_id=ExecutionId(execution), events=events, writer=writer, at_ms=1)


def lease(epoch: int) -> ev.AttemptStarted:
    return ev.AttemptStarted(agent="a", epoch=epoch, worker=WorkerId("w"), cause="first")


def step(name: str) -> ev.StepStarted:
    return ev.StepStarted(agent="a", step=name)


def by(epoch: int, sequence: int) -> Writer:
    return Writer(agent="a", epoch=epoch, sequence=sequence)


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Callable[[], Replica]]:
    """Opens the replica of the test, again after closing the one before."""
    replicas: list[Replica] = []

    def reopen() -> Replica:
        while replicas:
            replicas.pop().close()
        replicas.append(Replica.open(tmp_path, owner="test"))
        return replicas[0]

    yield reopen
    for replica in replicas:
        replica.close()


def raw(tmp_path: Path, statement: str, values: Sequence[Any] = ()) -> list[Any]:
    """Run one statement on the file, past the replica."""
    connection = sqlite3.connect(tmp_path / FILE_NAME, isolation_level=None)
    try:
        return connection.execute(statement, values).fetchall()
    finally:
        connection.close()


def test_a_batch_has_one_outcome_for_each_append(opened: Callable[[], Replica]) -> None:
    replica = opened()
    outcomes = replica.commit(
        [
            append("exe_1", created()),
            append("exe_1", created()),
            append("exe_2", step("s1")),
            append("exe_1", lease(1), step("s1")),
            append("exe_1", step("s2"), writer=by(1, 1)),
            append("exe_1", step("s2"), writer=by(1, 1)),
        ]
    )
    told = [o.code if isinstance(o, Refusal) else getattr(o, "last_index", 0) for o in outcomes]
    assert told == [1, "exists", "not_found", 3, 4, "duplicate"]
    assert [entry.index for entry in replica.journal.entries("exe_1")] == [1, 2, 3, 4]
    assert replica.commit([]) == []


def test_the_list_shows_each_execution_as_it_is(opened: Callable[[], Replica]) -> None:
    """Whether its status has changed, and has changed back, within a batch or not."""
    replica = opened()
    listed: dict[str, tuple[list[tuple[str, int]], ...]] = {}

    def commit(moment: str, *appends: ev.Append) -> None:
        assert all(isinstance(outcome, Written) for outcome in replica.commit(appends))
        listed[moment] = tuple(
            [(row.id, row.last_index) for row in replica.journal.executions(statuses=[status])]
            for status in ("queued", "running", "paused")
        )

    paused, resumed = ev.Paused(reason="question"), ev.Resumed()
    commit("created", append("exe_1", created()), append("exe_2", created()))
    commit("leased", append("exe_1", lease(1)))
    commit("at work", append("exe_1", step("s1"), writer=by(1, 1)))
    commit("paused", append("exe_1", paused))
    commit("and back", append("exe_1", resumed), append("exe_1", paused), append("exe_1", resumed))
    told = ev.Signalled(name="n", payload=Payload(inline=1))
    commit("and told", append("exe_1", paused), append("exe_1", told))
    assert listed == {
        "created": ([("exe_2", 1), ("exe_1", 1)], [], []),
        "leased": ([("exe_2", 1)], [("exe_1", 2)], []),
        "at work": ([("exe_2", 1)], [("exe_1", 3)], []),
        "paused": ([("exe_2", 1)], [], [("exe_1", 4)]),
        "and back": ([("exe_2", 1), ("exe_1", 7)], [], []),
        "and told": ([("exe_2", 1)], [], [("exe_1", 9)]),
    }


def test_a_row_that_is_gone_from_the_list_is_noticed(
    tmp_path: Path, opened: Callable[[], Replica]
) -> None:
    replica = opened()
    replica.commit([append("exe_1", created(), lease(1))])
    raw(tmp_path, "DELETE FROM executions")
    with pytest.raises(CorruptRecord, match="1 of 1 rows"):
        replica.commit([append("exe_1", step("s1"), writer=by(1, 1))])
    assert raw(tmp_path, "SELECT count(*) FROM journal") == [(2,)]


def test_an_attempt_goes_on_after_a_restart(opened: Callable[[], Replica]) -> None:
    replica = opened()
    replica.commit(
        [append("exe_1", created(), lease(1)), append("exe_1", step("1"), writer=by(1, 1))]
    )
    before = replica.state("exe_1")
    replica = opened()
    assert replica.state("exe_1") == before
    again, gap, following = replica.commit(
        [
            append("exe_1", step("1"), writer=by(1, 1)),
            append("exe_1", step("3"), writer=by(1, 3)),
            append("exe_1", step("2"), writer=by(1, 2)),
        ]
    )
    assert isinstance(again, Refusal)
    assert again.code == "duplicate"
    assert isinstance(gap, Refusal)
    assert gap.code == "conflict"
    assert isinstance(following, Written)


def test_an_attempt_goes_on_after_a_failed_commit(
    opened: Callable[[], Replica], monkeypatch: pytest.MonkeyPatch
) -> None:
    replica = opened()
    replica.commit(
        [append("exe_1", created(), lease(1)), append("exe_1", step("1"), writer=by(1, 1))]
    )

    def broken(_: ev.Event) -> bytes:
        raise PlatformError("no encoder today")

    with monkeypatch.context() as patch:
        patch.setattr(module, "encode_event", broken)
        with pytest.raises(PlatformError, match="no encoder today"):
            replica.commit(
                [append("exe_1", step("2"), writer=by(1, 2)), append("exe_2", created())]
            )
    state = replica.state("exe_1")
    assert state is not None
    assert (state.index, state.agents["a"].sequence) == (3, 1)
    assert replica.state("exe_2") is None
    (outcome,) = replica.commit([append("exe_1", step("2"), writer=by(1, 2))])
    assert isinstance(outcome, Written)


def test_unfinished_executions_the_oldest_first(opened: Callable[[], Replica]) -> None:
    replica = opened()
    replica.commit([append(f"exe_{n}", created()) for n in (3, 1, 2, 4)])
    replica.commit(
        [append("exe_2", ev.Cancelled()), append("exe_3", ev.Paused(reason="requested"))]
    )
    assert [state.id for state in replica.unfinished()] == ["exe_1", "exe_3", "exe_4"]
    assert [state.id for state in opened().unfinished()] == ["exe_1", "exe_3", "exe_4"]


# ---------------------------------------------------------------------- the log


def log_row(index: int, entry: ev.Append) -> tuple[int, int, bytes, int]:
    body = encode_command(entry)
    return index, 7, body, checksum(body, "log", index, 7)


INSERT = "INSERT INTO log (idx, term, body, crc) VALUES (?,?,?,?)"


def ahead(tmp_path: Path, opened: Callable[[], Replica]) -> list[tuple[int, int, bytes, int]]:
    """Rows of the log that a leader's followers have and have not applied."""
    replica = opened()
    replica.commit([append("exe_1", created(), lease(1))])
    replica.commit([append("exe_1", step("1"), writer=by(1, 1))])
    replica.close()
    return [
        log_row(3, append("exe_1", step("2"), writer=by(1, 2))),
        log_row(4, append("exe_1", step("2"), writer=by(1, 2))),
        log_row(5, append("exe_2", created())),
        log_row(6, append("exe_1", ev.StepCompleted(agent="a", step="1", state=Payload()))),
    ]


@pytest.fixture
def closed(tmp_path: Path) -> Callable[[], Replica]:
    return lambda: Replica.open(tmp_path, owner="test")


def test_what_the_log_is_ahead_is_applied(tmp_path: Path, closed: Callable[[], Replica]) -> None:
    for row in ahead(tmp_path, closed):
        raw(tmp_path, INSERT, row)
    for _ in range(2):
        replica = closed()
        state = replica.state("exe_1")
        assert state is not None
        assert state.agents["a"].sequence == 2
        assert [e.event for e in replica.journal.entries("exe_1", after=2)] == [
            step("1"),
            step("2"),
            ev.StepCompleted(agent="a", step="1", state=Payload()),
        ]
        assert [row.id for row in replica.journal.executions()] == ["exe_2", "exe_1"]
        replica.close()
    assert raw(tmp_path, "SELECT value FROM meta") == [(6,)]
    replica = closed()
    replica.commit([append("exe_3", created())])
    replica.close()
    assert raw(tmp_path, "SELECT max(idx) FROM log") == [(7,)]


@pytest.mark.parametrize(
    ("statement", "place"),
    [
        ("DELETE FROM log WHERE idx = 4", "log@4: missing"),
        ("UPDATE log SET crc = crc + 1 WHERE idx = 5", "log@5: its checksum does not match"),
        ("UPDATE log SET term = 8 WHERE idx = 3", "log@3: its checksum does not match"),
        ("UPDATE log SET body = zeroblob(9) WHERE idx = 6", "log@6: its checksum does not match"),
        ("UPDATE log SET idx = 9 WHERE idx = 6", "log@6: missing"),
        ("UPDATE meta SET value = 5", "meta.applied: its checksum does not match"),
        ("DELETE FROM meta", "meta.applied: missing"),
    ],
)
def test_a_damaged_log_is_named_and_nothing_of_it_applied(
    tmp_path: Path, closed: Callable[[], Replica], statement: str, place: str
) -> None:
    for row in ahead(tmp_path, closed):
        raw(tmp_path, INSERT, row)
    raw(tmp_path, statement)
    applied = raw(tmp_path, "SELECT * FROM meta")
    with pytest.raises(CorruptRecord, match=place):
        closed()
    assert raw(tmp_path, "SELECT * FROM meta") == applied
    assert raw(tmp_path, "SELECT count(*) FROM journal") == [(3,)]


def test_the_log_is_trimmed(
    tmp_path: Path, opened: Callable[[], Replica], monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = 16
    monkeypatch.setattr(module, "LOG_ROWS_KEPT", kept)
    replica = opened()
    replica.commit([append("exe_1", created())])
    sizes: list[int] = []
    for number in range(60):
        batch = [append("exe_1", step(f"{number}.{part}")) for part in range(number % 5 + 1)]
        replica.commit(batch)
        ((first, last, count),) = raw(tmp_path, "SELECT min(idx), max(idx), count(*) FROM log")
        assert last - first + 1 == count
        sizes.append(count)
    assert max(sizes) <= 2 * kept
    assert min(sizes[20:]) >= kept
    before = replica.state("exe_1")
    assert opened().state("exe_1") == before


# ---------------------------------------------------------------------- the cache


def cached(replica: Replica) -> set[str]:
    return set(vars(replica)["_states"])


def test_finished_states_in_memory_are_bounded_and_unfinished_are_kept(
    opened: Callable[[], Replica], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CACHED_STATES_MAX", 8)
    replica = opened()
    waiting = {f"exe_w{n}" for n in range(4)}
    replica.commit([append(name, created()) for name in sorted(waiting)])
    for number in range(30):
        replica.commit([append(f"exe_{number}", created(), ev.Cancelled())])
        assert len(cached(replica)) <= 8
        assert waiting <= cached(replica)
    for number in range(30):
        state = replica.state(f"exe_{number}")
        assert state is not None
        assert state.status == "cancelled"
        assert len(cached(replica)) <= 8


def test_states_of_a_batch_stay_until_it_is_written(
    opened: Callable[[], Replica], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CACHED_STATES_MAX", 2)
    replica = opened()
    count = 10
    batch = [append(f"exe_{n}", created(), lease(1), ev.Cancelled()) for n in range(count)]
    ended = ev.AttemptEnded(agent="a", epoch=1, end="cancelled")
    batch += [append(f"exe_{n}", ended) for n in range(count)]
    outcomes = replica.commit(batch)
    assert [o.last_index for o in outcomes if isinstance(o, Written)] == [3] * count + [4] * count
    assert len(cached(replica)) <= 2


# ---------------------------------------------------------------------- errors of the disk


class FailingConnection(sqlite3.Connection):
    """A connection whose next COMMIT fails with the SQLite error named ``failure``."""

    failure: str | None = None

    def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
        if sql == "COMMIT" and self.failure is not None:
            name, self.failure = self.failure, None
            error = sqlite3.OperationalError("disk I/O error")
            error.sqlite_errorname = name
            error.sqlite_errorcode = getattr(sqlite3, name)
            raise error
        return super().execute(sql, parameters)


@pytest.fixture
def failing(tmp_path: Path) -> Iterator[tuple[Replica, FailingConnection]]:
    path = tmp_path / FILE_NAME
    open_writer(path).close()
    connection = sqlite3.connect(path, factory=FailingConnection, isolation_level=None)
    lock = os.open(tmp_path / "replica.lock", os.O_RDWR | os.O_CREAT)
    replica = Replica(connection, path, lock)
    yield replica, connection
    replica.close()


def test_after_a_failed_fsync_nothing_is_written_any_more(
    failing: tuple[Replica, FailingConnection],
) -> None:
    replica, connection = failing
    replica.commit([append("exe_1", created())])
    connection.failure = "SQLITE_IOERR_FSYNC"
    with pytest.raises(PlatformError, match="SQLITE_IOERR_FSYNC"):
        replica.commit([append("exe_1", lease(1)), append("exe_2", created())])
    for _ in range(2):
        with pytest.raises(PlatformError, match="the replica stopped: fsync failed"):
            replica.commit([append("exe_2", created())])
    # What was acknowledged is still read, and nothing else.
    state = replica.state("exe_1")
    assert state is not None
    assert state.index == 1
    assert replica.state("exe_2") is None
    assert [row.id for row in replica.journal.executions()] == ["exe_1"]


def test_after_another_error_of_the_disk_it_goes_on(
    failing: tuple[Replica, FailingConnection],
) -> None:
    replica, connection = failing
    connection.failure = "SQLITE_IOERR_WRITE"
    with pytest.raises(PlatformError, match="SQLITE_IOERR_WRITE"):
        replica.commit([append("exe_1", created())])
    assert replica.state("exe_1") is None
    assert isinstance(replica.commit([append("exe_1", created())])[0], Written)
