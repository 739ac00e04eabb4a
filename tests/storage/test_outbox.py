"""The outbox: what is to be told is committed with what it tells of, or not at all."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from omium.errors import CorruptRecord, StorageFull
from omium.execution import events as ev
from omium.execution.commands import Command, WriteDelivery, WriteRecord
from omium.execution.machine import Refusal
from omium.storage.catalog import RecordWritten
from omium.storage.outbox import Lane, OutboxRow
from omium.storage.replica import FILE_NAME, Replica
from omium.types import DEFAULT_TENANT, ExecutionId, TenantId
from tests.storage.replica_child import created

OTHER = TenantId("other")
LANE: Lane = (DEFAULT_TENANT, "wh_1")
ALL = ["execution.completed", "execution.failed", "execution.cancelled", "execution.paused"]
EVER = 2**60


@pytest.fixture
def replica(tmp_path: Path) -> Iterator[Replica]:
    opened = Replica.open(tmp_path, owner="test")
    yield opened
    opened.close()


def webhook(name: str = "wh_1", body: Any = None, **fields: Any) -> WriteRecord:
    body = {"events": ALL} if body is None else body
    return WriteRecord(
        **{"tenant": DEFAULT_TENANT, "kind": "webhook", "key": name, "body": body, **fields}
    )


def cancelled(execution: str, tenant: TenantId = DEFAULT_TENANT, at_ms: int = 7) -> list[Command]:
    """The commands that create an execution and cancel it."""
    first = replace(created(), tenant=tenant)
    return [
        ev.Append(execution_id=ExecutionId(execution), events=(event,), at_ms=at_ms)
        for event in (first, ev.Cancelled(by="test"))
    ]


def settling(row: OutboxRow, **fields: Any) -> WriteDelivery:
    return WriteDelivery(
        **{
            "tenant": row.tenant,
            "webhook": row.webhook,
            "execution": row.execution,
            "index": row.index,
            "event": row.type,
            "event_ms": row.at_ms,
            "body": {"state": "told"},
            **fields,
        }
    )


def rows(replica: Replica) -> list[OutboxRow]:
    outbox = replica.outbox
    return [row for lane in outbox.lanes(EVER) for row in outbox.due(lane, EVER, 1_000)]


def test_an_event_is_put_in_for_each_webhook_that_wants_it(replica: Replica) -> None:
    replica.commit(
        [
            webhook("wh_1"),
            webhook("wh_2", {"events": ["execution.failed"]}),
            webhook("wh_3", {"events": ["execution.cancelled"]}),
            webhook("wh_4", {"events": 5}),
            webhook("wh_5", "nonsense"),
            webhook("wh_6", tenant=OTHER),
            *cancelled("ex_1"),
            *cancelled("ex_2", TenantId("third")),
        ]
    )
    found = {(row.tenant, row.webhook, row.id, row.type, row.due_ms) for row in rows(replica)}
    told = ("ex_1@2", "execution.cancelled", 7)
    assert found == {(DEFAULT_TENANT, "wh_1", *told), (DEFAULT_TENANT, "wh_3", *told)}


def test_it_is_the_same_after_opening_again(tmp_path: Path) -> None:
    first = Replica.open(tmp_path, owner="test")
    first.commit([webhook(), *cancelled("ex_1")])
    before = rows(first)
    first.close()
    again = Replica.open(tmp_path, owner="test")
    assert rows(again) == before != []
    again.commit(cancelled("ex_2"))
    assert [row.id for row in rows(again)] == ["ex_1@2", "ex_2@2"]
    again.close()


def test_what_is_in_the_log_alone_is_put_in_when_it_is_applied(tmp_path: Path) -> None:
    first = Replica.open(tmp_path, owner="test")
    first.commit([webhook()])
    first.append((first._last + 1, 0, command) for command in cancelled("ex_1"))
    first._connection.commit()
    assert rows(first) == []
    first.close()
    again = Replica.open(tmp_path, owner="test")
    assert [row.id for row in rows(again)] == ["ex_1@2"]
    again.close()


def test_what_is_rolled_back_is_not_put_in(
    replica: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    replica.commit([webhook("wh_old")])
    with monkeypatch.context() as patch:
        # The last thing that a batch does before its commit.
        patch.setattr(replica, "_forget_finished", _full)
        with pytest.raises(StorageFull):
            replica.commit([webhook(), webhook("wh_old", delete=True), *cancelled("ex_1")])
    assert rows(replica) == []
    replica.commit(cancelled("ex_1"))
    assert [row.webhook for row in rows(replica)] == ["wh_old"]


def _full() -> None:
    raise StorageFull("no space left")


def test_settled_it_goes_and_postponed_it_waits(replica: Replica) -> None:
    replica.commit([webhook(), *cancelled("ex_1"), *cancelled("ex_2")])
    first, second = rows(replica)
    replica.commit([settling(first), settling(second, due_ms=100)])
    assert rows(replica) == [replace(second, due_ms=100)]
    assert replica.outbox.lanes(99) == []
    assert replica.outbox.lanes(100) == [LANE]
    replica.commit([settling(second)])
    assert replica.outbox.due(LANE, EVER, 10) == [] and replica.outbox.is_empty
    records = replica.catalog.records(DEFAULT_TENANT, "delivery")
    assert [record.key for record in records] == ["wh_1/ex_1@2", "wh_1/ex_2@2"]


def test_what_is_not_in_the_outbox_is_not_settled(replica: Replica) -> None:
    replica.commit([webhook(), *cancelled("ex_1")])
    (row,) = rows(replica)
    replica.commit([settling(row)])
    gone, foreign, anew = replica.commit(
        [settling(row), settling(row, tenant=OTHER, anew=True), settling(row, anew=True, due_ms=9)]
    )
    assert isinstance(gone, Refusal) and gone.code == "conflict"
    assert isinstance(foreign, Refusal) and foreign.code == "not_found"
    assert isinstance(anew, RecordWritten) and anew.version == 2
    assert rows(replica) == [replace(row, due_ms=9)]


def test_with_a_webhook_goes_what_it_was_to_be_told(replica: Replica) -> None:
    replica.commit([webhook(), webhook("wh_10"), *cancelled("ex_1"), *cancelled("ex_2")])
    for row in rows(replica):
        if row.execution == "ex_1":
            replica.commit([settling(row)])
    replica.commit([webhook(delete=True)])
    assert {row.webhook for row in rows(replica)} == {"wh_10"}
    records = replica.catalog.records(DEFAULT_TENANT, "delivery")
    assert [record.key for record in records] == ["wh_10/ex_1@2"]
    replica.commit([webhook("wh_10", delete=True)])
    assert replica.outbox.is_empty and not replica.outbox.is_wanted(DEFAULT_TENANT)


def test_old_deliveries_are_dropped_with_a_new_one(replica: Replica) -> None:
    replica.commit([webhook(), *cancelled("ex_1"), *cancelled("ex_2")])
    first, second = rows(replica)
    replica.commit([settling(first)])
    replica.commit([settling(second, drop=("wh_1/ex_1@2",))])
    records = replica.catalog.records(DEFAULT_TENANT, "delivery")
    assert [record.key for record in records] == ["wh_1/ex_2@2"]


def test_a_request_by_name_is_carried_out_once(replica: Replica) -> None:
    replica.commit([webhook(), *cancelled("ex_1")])
    (row,) = rows(replica)
    again = settling(row, anew=True, due_ms=9, request=ev.Request(key="k", digest="d"))
    one, _, two = replica.commit([again, settling(row), again])
    assert isinstance(one, RecordWritten)
    assert isinstance(two, Refusal) and two.code == "repeated"
    assert (two.execution_id, two.index) == ("ex_1", 2)
    assert rows(replica) == []


def test_a_record_is_written_once_by_name(replica: Replica) -> None:
    asked = webhook(request=ev.Request(key="k", digest="d"), expect=0)
    one, two = replica.commit([asked, asked])
    replica.commit([webhook(delete=True)])
    (three,) = replica.commit([asked])
    assert isinstance(one, RecordWritten)
    for late in (two, three):
        assert isinstance(late, Refusal)
        assert (late.code, late.execution_id, late.index) == ("repeated", "wh_1", 1)
    assert replica.catalog.record(DEFAULT_TENANT, "webhook", "wh_1") is None


@pytest.mark.parametrize(
    "change", ["due_ms = 1", "type = 'execution.failed'", "execution = 'ex_2'", "at_ms = 1"]
)
def test_a_damaged_row_is_not_served(tmp_path: Path, change: str) -> None:
    replica = Replica.open(tmp_path, owner="test")
    replica.commit([webhook(), *cancelled("ex_1")])
    replica.close()
    raw = sqlite3.connect(tmp_path / FILE_NAME)
    raw.execute(f"UPDATE outbox SET {change}")
    raw.commit()
    raw.close()
    again = Replica.open(tmp_path, owner="test")
    with pytest.raises(CorruptRecord):
        rows(again)
    again.close()
