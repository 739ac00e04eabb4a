"""Reading a replica: pages, filters, look-ups, and records that are not what was written."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from omium.errors import CorruptRecord, InputError, NotFound, OmiumError
from omium.execution import events as ev
from omium.storage.journal import PAGE_ROWS_MAX, Journal
from omium.storage.replica import FILE_NAME, Replica
from omium.storage.sqlite import open_reader
from omium.types import ExecutionId, TenantId
from tests.storage.replica_child import created

STEPS = 6


def steps(execution: str, count: int) -> ev.Append:
    events = tuple(ev.StepStarted(agent="a", step=f"step {n} of {execution}") for n in range(count))
    return ev.Append(execution_id=ExecutionId(execution), events=events, at_ms=5)


def creation(execution: str, **fields: str) -> ev.Append:
    event = created(workflow=fields.get("workflow", "loan"))
    if "tenant" in fields:
        event = ev.Created(
            **{
                **{n: getattr(event, n) for n in event.__struct_fields__},
                "tenant": TenantId(fields["tenant"]),
            }
        )
    return ev.Append(execution_id=ExecutionId(execution), events=(event,), at_ms=5)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A replica with two executions of seven entries and some others, closed."""
    replica = Replica.open(tmp_path, owner="test")
    replica.commit(
        [
            creation("exe_a1"),
            creation("exe_a2"),
            creation("exe_b1", workflow="audit"),
            creation("exe_b2", workflow="audit"),
            creation("exe_t1", tenant="acme"),
            steps("exe_a1", STEPS),
            steps("exe_a2", STEPS),
            ev.Append(execution_id=ExecutionId("exe_b1"), events=(ev.Cancelled(),)),
            ev.Append(execution_id=ExecutionId("exe_b2"), events=(ev.Paused(reason="requested"),)),
        ]
    )
    replica.close()
    return tmp_path / FILE_NAME


@pytest.fixture
def journal(path: Path) -> Iterator[Journal]:
    journal = Journal.open(path)
    yield journal
    journal.close()


def test_entries_come_in_pages(journal: Journal) -> None:
    def read(after: int, limit: int) -> list[int]:
        return [entry.index for entry in journal.entries("exe_a1", after=after, limit=limit)]

    assert read(0, 3) == [1, 2, 3]
    assert read(3, 3) == [4, 5, 6]
    assert read(6, 3) == [7]
    assert read(7, 3) == []
    assert read(70, 3) == []
    assert read(0, 0) == read(0, -1) == []
    assert journal.entries("exe_zz") == []
    assert journal.fold("exe_zz") is None


def test_a_page_has_a_limit(tmp_path: Path) -> None:
    replica = Replica.open(tmp_path, owner="test")
    many = PAGE_ROWS_MAX + 50
    replica.commit([creation("exe_1"), steps("exe_1", many - 1)])
    replica.commit([creation(f"exe_n{n}") for n in range(many)])
    assert len(replica.journal.entries("exe_1", limit=many)) == PAGE_ROWS_MAX
    assert len(replica.journal.executions(limit=many)) == PAGE_ROWS_MAX
    assert [entry.index for entry in replica.journal.all_entries("exe_1")] == [*range(1, many + 1)]
    state = replica.journal.fold("exe_1")
    assert state is not None
    assert state.index == many
    replica.close()


def test_executions_are_filtered(journal: Journal) -> None:
    def listed(**filters: object) -> list[str]:
        return [row.id for row in journal.executions(**filters)]  # pyright: ignore

    assert listed() == ["exe_b2", "exe_b1", "exe_a2", "exe_a1"]
    assert listed(tenant=None) == ["exe_t1", "exe_b2", "exe_b1", "exe_a2", "exe_a1"]
    assert listed(tenant="acme") == ["exe_t1"]
    assert listed(tenant="nobody") == []
    assert listed(workflow="audit") == ["exe_b2", "exe_b1"]
    assert listed(statuses=["queued"]) == ["exe_a2", "exe_a1"]
    assert listed(statuses=["cancelled", "paused"]) == ["exe_b2", "exe_b1"]
    assert listed(statuses=["cancelled"], workflow="loan") == []
    assert listed(execution_id="exe_a1") == ["exe_a1"]
    assert listed(execution_id="exe_t1") == []
    assert listed(id_prefix="exe_b") == ["exe_b2", "exe_b1"]
    assert listed(id_prefix="exe_b", before="exe_b2") == ["exe_b1"]
    assert listed(id_prefix="exe_t") == listed(id_prefix="exe_%") == []
    assert listed(id_prefix="", tenant="acme") == ["exe_t1"]
    assert listed(limit=2) == ["exe_b2", "exe_b1"]
    assert listed(limit=2, before="exe_b1") == ["exe_a2", "exe_a1"]
    assert listed(limit=0) == listed(limit=-1) == []


def test_a_row_tells_of_its_execution(tmp_path: Path) -> None:
    replica = Replica.open(tmp_path, owner="test")
    replica.commit([creation("exe_1"), steps("exe_1", 1)])
    done = ev.StepCompleted(agent="a", step="s", state=created().inputs)
    failure = ev.Failure(kind="agent", message="no luck " * 100)
    replica.commit(
        [
            ev.Append(
                execution_id=ExecutionId("exe_1"),
                events=(done, ev.Failed(failure=failure)),
                at_ms=9,
            )
        ]
    )
    (row,) = replica.journal.executions()
    assert (row.status, row.created_ms, row.updated_ms, row.last_index) == ("failed", 5, 9, 4)
    assert (row.agents_done, row.agents_total, row.checkpoints) == (0, 1, 1)
    assert row.detail == ("no luck " * 100)[:500]
    replica.close()


def test_an_execution_is_found_by_the_beginning_of_its_id(journal: Journal, path: Path) -> None:
    assert journal.find("exe_a1") == "exe_a1"
    assert journal.find("exe_t") == "exe_t1"
    with pytest.raises(NotFound, match="more than one begins so"):
        journal.find("exe_a")
    for prefix in ("exe_z", "EXE_A1", "%", "exe_a_", "exe_a1x"):
        with pytest.raises(NotFound, match="`omium ps`"):
            journal.find(prefix)


def test_a_whole_id_wins_over_a_longer_one(tmp_path: Path) -> None:
    replica = Replica.open(tmp_path, owner="test")
    replica.commit([creation("exe_1"), creation("exe_12")])
    assert replica.journal.find("exe_1") == "exe_1"
    replica.close()


def test_text_that_is_no_unicode_names_nothing(journal: Journal) -> None:
    for ask in (journal.find, journal.fold, lambda text: journal.executions(workflow=text)):
        with pytest.raises(InputError, match="not valid Unicode"):
            ask("exe_\udcff")


# ---------------------------------------------------------------------- damage

AT_4 = "WHERE execution = 'exe_a1' AND idx = 4"

DAMAGE = {
    "a field": (f"UPDATE journal SET at_ms = at_ms + 1 {AT_4}", "exe_a1@4: its checksum"),
    "an epoch": (f"UPDATE journal SET epoch = 1 {AT_4}", "exe_a1@4: its checksum"),
    "a sequence": (f"UPDATE journal SET sequence = 1 {AT_4}", "exe_a1@4: its checksum"),
    "a checksum": (f"UPDATE journal SET crc = crc + 1 {AT_4}", "exe_a1@4: its checksum"),
    "a body": (f"UPDATE journal SET body = substr(body, 1, 9) {AT_4}", "exe_a1@4: its checksum"),
    "an empty body": (f"UPDATE journal SET body = x'' {AT_4}", "exe_a1@4: its checksum"),
    "a missing row": (f"DELETE FROM journal {AT_4}", "exe_a1@4: missing; the next one is 5"),
    "the first row": (
        "DELETE FROM journal WHERE execution = 'exe_a1' AND idx = 1",
        "exe_a1@1: missing; the next one is 2",
    ),
    "the last row": (
        "DELETE FROM journal WHERE execution = 'exe_a1' AND idx = 7",
        "exe_a1@7: missing; the last one is 7",
    ),
    "all rows": (
        "DELETE FROM journal WHERE execution = 'exe_a1'",
        "exe_a1@1: missing; the last one is 7",
    ),
    "swapped rows": (
        "UPDATE journal SET idx = CASE idx WHEN 4 THEN -5 ELSE -4 END "
        "WHERE execution = 'exe_a1' AND idx IN (4, 5);"
        "UPDATE journal SET idx = -idx WHERE idx < 0",
        "exe_a1@4: its checksum",
    ),
    "another execution's row": (
        f"DELETE FROM journal {AT_4};"
        "UPDATE journal SET execution = 'exe_a1' WHERE execution = 'exe_a2' AND idx = 4",
        "exe_a1@4: its checksum",
    ),
    "a row too many": (
        "UPDATE journal SET execution = 'exe_a1', idx = 8 WHERE execution = 'exe_a2' AND idx = 7",
        "exe_a1@8: ",
    ),
    "a lost execution": (
        "DELETE FROM executions WHERE id = 'exe_a1'",
        "exe_a1@7: the list says that 0 is the last",
    ),
}


def damaged(path: Path, script: str) -> None:
    connection = sqlite3.connect(path)
    connection.executescript(script)
    connection.close()


@pytest.mark.parametrize("kind", DAMAGE)
def test_damage_is_named_and_never_served(path: Path, kind: str) -> None:
    script, told = DAMAGE[kind]
    damaged(path, script)
    journal = Journal.open(path)
    with pytest.raises(CorruptRecord, match=told) as caught:
        journal.fold("exe_a1")
    assert caught.value.where.startswith("exe_a1@")
    with pytest.raises(CorruptRecord, match=told):
        journal.entries("exe_a1")
    good = journal.fold("exe_b1")
    assert good is not None
    assert good.status == "cancelled"
    journal.close()
    replica = Replica.open(path.parent, owner="test")
    with pytest.raises(CorruptRecord, match=told):
        replica.state("exe_a1")
    with pytest.raises(CorruptRecord, match=told):
        replica.commit([steps("exe_a1", 1)])
    # The others go on.
    assert replica.commit([steps("exe_b1", 1), creation("exe_c1")])
    replica.close()


@pytest.mark.parametrize(
    "change",
    ["status = 'completed'", "last_index = 6", "workflow = 'x'", "llm_calls = 9", "crc = 1"],
)
def test_a_damaged_list_is_not_served(path: Path, change: str) -> None:
    damaged(path, f"UPDATE executions SET {change} WHERE id = 'exe_a1'")
    journal = Journal.open(path)
    with pytest.raises(CorruptRecord, match="exe_a1 in the list: its checksum does not match"):
        journal.executions()
    with pytest.raises(CorruptRecord, match="exe_a1"):
        journal.executions(execution_id="exe_a1")
    assert [row.id for row in journal.executions(execution_id="exe_a2")] == ["exe_a2"]
    journal.close()


def test_any_flipped_bit_of_a_body_is_found(path: Path) -> None:
    connection = sqlite3.connect(path)
    bodies = connection.execute(
        "SELECT execution, idx, body FROM journal WHERE idx > 1 ORDER BY execution, idx"
    ).fetchall()
    connection.close()
    content = path.read_bytes()
    seed = random.randrange(2**32)
    print(f"seed {seed}")  # noqa: T201 - shown when the test fails
    chance = random.Random(seed)
    for execution, index, body in bodies:
        # The log has it too, in a longer record: the last place is not always the journal's.
        places = [at for at in range(len(content)) if content.startswith(body, at)]
        assert places
        bit, byte = 1 << chance.randrange(8), chance.randrange(len(body))
        flipped = bytearray(content)
        for place in places:
            flipped[place + byte] ^= bit
        path.write_bytes(flipped)
        journal = Journal.open(path)
        with pytest.raises(CorruptRecord, match=f"{execution}@{index}: its checksum"):
            journal.fold(execution)
        journal.close()
    path.write_bytes(content)


def test_a_damaged_row_whose_labels_are_gone_is_told(path: Path) -> None:
    # What SQLite reads of a row whose header is damaged: fewer columns than the table has.
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute(
            "UPDATE sqlite_schema SET sql = replace(sql, 'labels TEXT NOT NULL', 'labels TEXT')"
        )
        connection.execute("PRAGMA writable_schema = RESET")
        connection.execute("UPDATE executions SET labels = NULL")
    connection.close()
    journal = Journal(open_reader(path), path)
    with pytest.raises(CorruptRecord, match="labels"):
        journal.executions(tenant=None)
    journal.close()


def test_noise_anywhere_in_the_file_raises_nothing_foreign(path: Path) -> None:
    content = path.read_bytes()
    seed = random.randrange(2**32)
    print(f"seed {seed}")  # noqa: T201 - shown when the test fails
    chance = random.Random(seed)
    found = 0
    for _ in range(150):
        noisy = bytearray(content)
        at = chance.randrange(len(noisy))
        noisy[at : at + 4] = chance.randbytes(4)
        path.write_bytes(noisy)
        try:
            replica = Replica.open(path.parent, owner="test")
            try:
                replica.unfinished()
                for row in replica.journal.executions(tenant=None):
                    replica.journal.fold(row.id)
                    replica.journal.find(row.id)
            finally:
                replica.close()
        except OmiumError:
            found += 1
    assert found
