"""What the chaos benchmark decides and counts, by itself: which fault comes next, what a record is,
how memory grows, and what journals and provider say of one another."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.chaos.cluster import TITLES
from benchmarks.chaos.count import Disk, counted
from benchmarks.chaos.memory import Sample, growth
from benchmarks.chaos.plan import DISKS, KINDS, NETWORK, Plan
from benchmarks.chaos.registers import Asked, Look, Put, Versioned
from benchmarks.handoff_count import EDGES
from omium.testing.linearizability import Operation, check
from tests.benchmarks.test_crash import completed, intended, journal, made

ROUNDS = 3


@given(seed=st.integers(0, 1_000), flags=st.lists(st.booleans(), min_size=1, max_size=80))
def test_no_coordinator_is_taken_away_from_a_group_that_is_not_whole(
    seed: int, flags: list[bool]
) -> None:
    plan = Plan(seed, abilities=[NETWORK])
    for whole in flags:
        kind = plan.next(whole=whole)
        # There is always something else to do.
        assert kind is not None
        assert whole or not KINDS[kind].costs_seat


@pytest.mark.parametrize("abilities", [(), (NETWORK,), (NETWORK, DISKS)])
def test_every_kind_comes_up_before_one_comes_again(abilities: tuple[str, ...]) -> None:
    plan = Plan(7, abilities=abilities)
    drawn = Counter(plan.next(whole=True) for _ in range(ROUNDS * len(plan.kinds)))
    assert drawn == dict.fromkeys(plan.kinds, ROUNDS)
    assert all(not KINDS[kind].needs or KINDS[kind].needs in abilities for kind in plan.kinds)


def test_a_seed_is_a_plan_and_only_what_was_asked_for_is_in_it() -> None:
    first, again, other = (
        [plan.next(whole=True) for _ in KINDS]
        for plan in (Plan(seed, abilities=[NETWORK]) for seed in (1, 1, 2))
    )
    assert first == again != other
    assert Plan(1, abilities=[NETWORK], only=["cut_leader"]).kinds == ["cut_leader"]
    assert Plan(1, abilities=[NETWORK], only=["cut_leader"]).next(whole=False) is None
    assert Plan(1, abilities=[], only=["cut_leader"]).next(whole=True) is None


def test_every_process_that_can_be_killed_can_be_found() -> None:
    struck = {name.removeprefix("kill_") for name in KINDS if name.startswith("kill_")}
    assert struck - {"leader", "follower"} <= TITLES.keys()


def test_a_record_counts_its_writes() -> None:
    def seen(
        process: int, request: Asked, called: float, output: Hashable
    ) -> Operation[Asked, Hashable]:
        return Operation(
            process=process,
            key="k",
            request=request,
            called=called,
            output=output,
            returned=called + 0.5,
        )

    written = [
        seen(1, Put(value="a"), 0, 1),
        seen(2, Put(value="b", expect=0), 1, None),
        seen(2, Put(value="c", expect=1), 2, 2),
    ]
    assert check([*written, seen(1, Look(), 3, (2, "c"))], Versioned()).verdict == "ok"
    stale = check([*written, seen(1, Look(), 3, (1, "a"))], Versioned())
    assert stale.verdict == "illegal"


def test_memory_that_grows_is_told_from_memory_that_does_not() -> None:
    flat = [Sample(at_s=5.0 * n, rss_mb=100.0 - 40 * (n % 7 == 3)) for n in range(40)]
    grown = [Sample(at_s=5.0 * n, rss_mb=100.0 + n) for n in range(40)]
    level, rise = growth(flat), growth(grown)
    assert level is not None
    assert level["slope_mb_per_min"] == 0
    assert rise is not None
    assert rise["slope_mb_per_min"] == 12
    assert rise["rss_mb_last"] > rise["rss_mb_first"] + 30
    assert growth(flat[:1]) is None


def test_disks_and_provider_are_held_together() -> None:
    once = list(journal(intended(), completed(1)))
    whole = Disk(statuses={"ex_1": "completed"}, entries={"ex_1": once})
    behind = Disk(statuses={"ex_1": "running"}, entries={"ex_1": once[:1]})
    found = counted({1: behind, 2: whole, 3: whole}, made(1), [], {})
    assert (found.executions, found.completed, found.repeated_calls) == (1, 1, 0)
    assert (found.seats, found.problems) == (2, ())
    assert counted({1: whole}, made(2), [], {}).repeated_calls == 1
    # Of what was acknowledged and is on no disk all handoffs are lost.
    assert counted({1: whole}, made(1), [], {"ex_9": None}).handoffs.lost == EDGES
    assert counted({1: Disk(statuses={}, entries={})}, made(1), [], {}).problems
    assert "the disk of no seat can be read" in counted({}, [], [], {}).problems
    other = Disk(statuses={}, entries={"ex_2": once[:1]})
    assert counted({1: whole, 3: other}, made(1), [], {}).problems == (
        "seat 3 holds what the longest journal does not",
    )
