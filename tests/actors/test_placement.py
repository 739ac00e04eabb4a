"""Where executions are placed: for ever, evenly, beside their origin. How answers are merged."""

from __future__ import annotations

from collections import Counter
from typing import Any, get_args, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omium.actors import messages as m
from omium.actors.shards.merging import merged
from omium.actors.shards.placement import DRAWS_MAX, SHARDS_MAX, id_beside, shard_of
from omium.actors.shards.routing import Named
from omium.clock import ManualClock, SystemClock
from omium.errors import PlatformError, ProtocolError
from omium.execution.events import Request
from omium.storage.catalog import StoredRecord
from omium.types import DEFAULT_TENANT, ExecutionId

_NAMES = (Request, Request | None)
NAMES = st.text("abcdef0123456789_", min_size=1, max_size=8)


@pytest.mark.parametrize(
    ("execution_id", "of_two", "of_three", "of_sixteen"),
    [
        ("ex_0kq3c8m0v1f2r4t6y", 1, 2, 9),
        ("ex_0001", 0, 2, 10),
        ("ex_0002", 0, 0, 8),
        ("", 0, 0, 4),
    ],
)
def test_what_was_placed_stays_where_it_is(
    execution_id: str, of_two: int, of_three: int, of_sixteen: int
) -> None:
    """Another hash would lose every execution that there is."""
    assert shard_of(execution_id, 1) == 0
    placed = [shard_of(execution_id, shards) for shards in (2, 3, 16)]
    assert placed == [of_two, of_three, of_sixteen]


def test_every_shard_gets_its_part() -> None:
    clock = SystemClock()
    for shards in (2, 3, SHARDS_MAX):
        placed = Counter(shard_of(clock.new_id("ex"), shards) for _ in range(shards * 1_000))
        # Eight standard deviations of a binomial distribution.
        assert all(750 < placed[shard] < 1_250 for shard in range(shards))


@given(NAMES, st.integers(1, SHARDS_MAX))
def test_an_id_beside_another_is_in_its_shard(origin: str, shards: int) -> None:
    clock = ManualClock()
    found = id_beside(origin, shards, lambda: ExecutionId(clock.new_id("ex")))
    assert shard_of(found, shards) == shard_of(origin, shards)


def test_ids_that_never_fit_are_given_up() -> None:
    drawn: list[ExecutionId] = []
    elsewhere = next(n for n in map(str, range(99)) if shard_of(n, 2) != shard_of("a", 2))

    def draw() -> ExecutionId:
        drawn.append(ExecutionId(elsewhere))
        return drawn[-1]

    with pytest.raises(PlatformError, match="of 2"):
        id_beside("a", 2, draw)
    assert len(drawn) == DRAWS_MAX


@given(st.lists(NAMES, unique=True), st.integers(1, 4), st.integers(1, 5))
def test_pages_of_shards_are_the_pages_of_all(keys: list[str], shards: int, limit: int) -> None:
    by_shard: list[list[str]] = [[] for _ in range(shards)]
    for key in sorted(keys):
        by_shard[shard_of(key, shards)].append(key)
    read: list[str] = []
    while True:
        after = read[-1] if read else ""
        asked = m.GetRecords(tenant=DEFAULT_TENANT, kind="k", after=after, limit=limit)
        answers = [
            m.Records(records=tuple(_record(key) for key in own if key > after)[:limit])
            for own in by_shard
        ]
        page = [record.key for record in merged(asked, answers).records]
        assert len(page) <= limit
        if not page:
            break
        read += page
    assert read == sorted(keys)


def test_counts_add_up_and_nothing_else_is_merged() -> None:
    asked = m.CountExecutions(tenant=DEFAULT_TENANT)
    answers = [
        m.ExecutionCounts(counts={"running": 1, "completed": 2}),
        m.ExecutionCounts(counts={"completed": 3}),
    ]
    assert merged(asked, answers).counts == {"completed": 5, "running": 1}
    assert merged(m.BeginDrain(), [m.Drained(attempts=n) for n in (1, 4)]).attempts == 5
    assert merged(m.Drain(grace_s=1), [m.Drained(attempts=n) for n in (0, 2, 3)]).attempts == 5
    with pytest.raises(ProtocolError, match="GetExecution"):
        merged(m.GetExecution(execution_id=ExecutionId("ex_1")), [])


def test_a_runtime_is_ready_once_every_shard_is() -> None:
    def view(pid: int, *, url: str = "http://g", archive: m.ArchiveView | None = None) -> Any:
        return m.RuntimeView(
            workers=(), gateway_url=url, gateway_pid=1, pid=pid, followers=pid, archive=archive
        )

    def archive(shipped: int, behind_ms: int, trouble: str = "") -> m.ArchiveView:
        return m.ArchiveView(
            url="u", shipped=shipped, committed=10, behind_ms=behind_ms, trouble=trouble
        )

    whole = merged(
        m.GetRuntime(), [view(2, archive=archive(10, 0)), view(1, archive=archive(4, 7, "away"))]
    )
    assert (whole.pid, whole.followers, whole.gateway_url) == (2, 1, "http://g")
    assert [shard.pid for shard in whole.shards] == [2, 1]
    assert whole.archive == m.ArchiveView(
        url="u", shipped=14, committed=20, behind_ms=7, trouble="away"
    )
    assert merged(m.GetRuntime(), [view(1), view(2, url="")]).gateway_url == ""
    assert merged(m.GetRuntime(), [view(1), view(2)]).archive is None


def test_every_request_that_may_have_a_name_is_claimed() -> None:
    """One that is not would be carried out again under its name in another shard."""
    with_name = {
        kind for kind in get_args(m.Messages) if get_type_hints(kind).get("request") in _NAMES
    }
    assert with_name == {*get_args(Named), m.PutRecord, m.FindRequest, m.ClaimRequest}


def _record(key: str) -> Any:
    return StoredRecord(key=key, version=1, at_ms=1, body=None)
