"""What tenants own beside executions, and requests that are carried out once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from omium.errors import CorruptRecord
from omium.execution import events as ev
from omium.execution.commands import WriteRecord
from omium.execution.machine import Refusal
from omium.storage.catalog import RecordWritten, StoredRecord
from omium.storage.replica import Replica, Written
from omium.types import DEFAULT_TENANT, ExecutionId, TenantId
from tests.storage.replica_child import created

OTHER = TenantId("other")


@pytest.fixture
def replica(tmp_path: Path) -> Iterator[Replica]:
    opened = Replica.open(tmp_path, owner="test")
    yield opened
    opened.close()


def put(replica: Replica, key: str, body: Any = None, **fields: Any) -> int | str:
    """Write a record; its new version, or why it was refused."""
    command = WriteRecord(
        **{"tenant": DEFAULT_TENANT, "kind": "workflow", "key": key, "body": body, **fields}
    )
    (outcome,) = replica.commit([command])
    assert isinstance(outcome, RecordWritten | Refusal)
    return outcome.version if isinstance(outcome, RecordWritten) else outcome.message


def asked(key: str, digest: str = "d") -> ev.Request:
    return ev.Request(key=key, digest=digest)


def create(execution: str, request: ev.Request | None, tenant: TenantId | None = None) -> ev.Append:
    event = created() if tenant is None else replace(created(), tenant=tenant)
    return ev.Append(execution_id=ExecutionId(execution), events=(event,), request=request)


# ------------------------------------------------------------------ records


def test_versions_count_from_one_and_are_compared(replica: Replica) -> None:
    assert put(replica, "a", {"x": 1}, expect=0) == 1
    assert put(replica, "a", {"x": 2}, expect=1) == 2
    assert put(replica, "a", {"x": 3}) == 3
    assert put(replica, "a", expect=2) == "workflow 'a': version 3 is there, expected version 2"
    assert put(replica, "a", expect=0) == "workflow 'a': version 3 is there, expected none"
    assert put(replica, "b", expect=1) == "workflow 'b': it is not there, expected version 1"
    found = replica.catalog.record(DEFAULT_TENANT, "workflow", "a")
    assert found == StoredRecord(key="a", version=3, at_ms=0, body={"x": 3})


def test_a_deleted_record_is_gone(replica: Replica) -> None:
    put(replica, "a")
    assert put(replica, "a", delete=True, expect=1) == 0
    assert replica.catalog.record(DEFAULT_TENANT, "workflow", "a") is None
    assert put(replica, "a", expect=0) == 1


def test_records_are_listed_by_key_tenant_and_kind(replica: Replica) -> None:
    for key in ("b@1", "a@1", "a@2"):
        put(replica, key)
    put(replica, "a@3", tenant=OTHER)
    put(replica, "a@4", kind="webhook")

    def keys(**options: Any) -> list[str]:
        found = replica.catalog.records(DEFAULT_TENANT, "workflow", **options)
        return [record.key for record in found]

    assert keys() == ["a@1", "a@2", "b@1"]
    assert keys(prefix="a@") == ["a@1", "a@2"]
    assert keys(after="a@1", limit=1) == ["a@2"]


def test_records_survive_and_are_checked(tmp_path: Path) -> None:
    opened = Replica.open(tmp_path, owner="test")
    put(opened, "a", ["x"])
    opened.close()
    opened = Replica.open(tmp_path, owner="test")
    assert opened.catalog.record(DEFAULT_TENANT, "workflow", "a") is not None
    opened.catalog._connection.execute("UPDATE records SET version = 9")
    with pytest.raises(CorruptRecord, match="workflow 'a'"):
        opened.catalog.record(DEFAULT_TENANT, "workflow", "a")
    opened.close()


@given(
    st.lists(
        st.tuples(
            st.sampled_from("abc"),
            st.integers(0, 9),
            st.none() | st.integers(0, 3),
            st.booleans(),
        ),
        max_size=20,
    )
)
def test_a_record_is_what_a_dictionary_would_hold(
    tmp_path_factory: pytest.TempPathFactory,
    writes: list[tuple[str, int, int | None, bool]],
) -> None:
    model: dict[str, tuple[int, int]] = {}
    opened = Replica.open(tmp_path_factory.mktemp("records"), owner="test")
    try:
        for key, body, expect, delete in writes:
            version, _ = model.get(key, (0, 0))
            outcome = put(opened, key, body, expect=expect, delete=delete)
            if expect is not None and expect != version:
                assert isinstance(outcome, str)
            elif delete:
                assert outcome == 0
                model.pop(key, None)
            else:
                assert outcome == version + 1
                model[key] = (version + 1, body)
        found = opened.catalog.records(DEFAULT_TENANT, "workflow")
        assert {r.key: (r.version, r.body) for r in found} == model
    finally:
        opened.close()


# ------------------------------------------------------------------ requests


def test_a_request_is_carried_out_once(replica: Replica) -> None:
    first, again = replica.commit([create("exe_1", asked("k")), create("exe_2", asked("k"))])
    assert isinstance(first, Written)
    assert again == Refusal(
        code="repeated", message="carried out before", execution_id="exe_1", index=1
    )
    assert replica.state("exe_2") is None


def test_a_key_with_another_body_is_refused(replica: Replica) -> None:
    replica.commit([create("exe_1", asked("k"))])
    (outcome,) = replica.commit([create("exe_2", asked("k", "other"))])
    assert isinstance(outcome, Refusal) and outcome.code == "request_conflict"
    assert "exe_1" in outcome.message


def test_keys_are_a_tenants_own(replica: Replica) -> None:
    replica.commit([create("exe_1", asked("k"))])
    (outcome,) = replica.commit([create("exe_2", asked("k"), OTHER)])
    assert isinstance(outcome, Written)


def test_a_refused_request_may_be_made_again(replica: Replica) -> None:
    cancel = ev.Append(
        execution_id=ExecutionId("exe_1"), events=(ev.Cancelled(),), request=asked("c")
    )
    (refused,) = replica.commit([cancel])
    assert isinstance(refused, Refusal) and refused.code == "not_found"
    _, written = replica.commit([create("exe_1", None), cancel])
    assert isinstance(written, Written)
    (repeated,) = replica.commit([cancel])
    assert isinstance(repeated, Refusal) and (repeated.code, repeated.index) == ("repeated", 2)


def test_requests_survive(tmp_path: Path) -> None:
    opened = Replica.open(tmp_path, owner="test")
    opened.commit([create("exe_1", asked("k"))])
    opened.close()
    opened = Replica.open(tmp_path, owner="test")
    (outcome,) = opened.commit([create("exe_2", asked("k"))])
    assert isinstance(outcome, Refusal) and outcome.code == "repeated"
    opened.close()


# ------------------------------------------------------------------ labels


def test_executions_are_found_by_label_and_time(replica: Replica) -> None:
    for number, labels in enumerate(({"team": "a"}, {"team": "b", "run": "x"}, {"team": "b"})):
        event = replace(created(), labels=labels)
        replica.commit(
            [ev.Append(execution_id=ExecutionId(f"exe_{number}"), events=(event,), at_ms=number)]
        )

    def ids(**options: Any) -> list[str]:
        return [row.id for row in replica.journal.executions(**options)]

    assert ids(labels={"team": "b"}) == ["exe_2", "exe_1"]
    assert ids(labels={"team": "b", "run": "x"}) == ["exe_1"]
    assert ids(labels={"team": "c"}) == []
    assert ids(labels={"team": "b"}, tenant=OTHER) == []
    assert ids(created_from_ms=1, created_to_ms=2) == ["exe_1"]
    assert replica.journal.executions()[1].labels == {"team": "b", "run": "x"}
