"""Time, order, processes; and the same seed twice."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from omium.errors import Conflict
from omium.testing.sim import World
from tests.testing.sim.gossip import gossip


@settings(max_examples=20)
@given(seed=st.integers(0, 2**32))
def test_the_same_seed_gives_the_same_trace(seed: int) -> None:
    first, second = gossip(seed), gossip(seed)
    assert first.events > 100
    assert (first.events, first.trace_hash()) == (second.events, second.trace_hash())


def test_the_trace_is_the_same_in_another_process() -> None:
    program = "from tests.testing.sim.gossip import gossip; print(gossip(1).trace_hash())"
    for hash_seed in ("1", "2"):
        printed = subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            cwd=Path(__file__).parents[3],
            capture_output=True,
            text=True,
            check=True,
        )
        assert printed.stdout.strip() == gossip(1).trace_hash()


def test_another_seed_or_another_fault_gives_another_trace() -> None:
    worlds = [gossip(1), gossip(2), gossip(1, drop=0.2)]
    assert len({world.trace_hash() for world in worlds}) == 3


def test_events_run_by_time_and_then_in_the_order_they_were_set() -> None:
    world = World(0)
    ran: list[str] = []
    for delay_us, label in [(20, "c"), (10, "a"), (10, "b"), (30, "d")]:
        world.after(delay_us, label, lambda label=label: ran.append(f"{label}@{world.now_us}"))
    world.run(until_us=25)
    assert ran == ["a@10", "b@10", "c@20"]
    assert world.now_us == 25


def test_a_cancelled_timer_does_not_run() -> None:
    world = World(0)
    ran: list[str] = []
    timer = world.after(10, "a", lambda: ran.append("a"))
    world.after(5, "cancel", timer.cancel)
    world.run(until_us=20)
    assert ran == []


def test_what_one_part_draws_moves_no_other() -> None:
    world, other = World(7), World(7)
    world.random("a").random()
    assert world.random("b").random() == other.random("b").random()
    assert world.random("a").random() != World(8).random("a").random()


def test_a_broken_invariant_names_the_seed() -> None:
    world = World(42)
    world.after(10, "a", lambda: None)

    def invariant() -> None:
        raise AssertionError("two leaders")

    with pytest.raises(AssertionError, match="two leaders") as caught:
        world.run(until_us=100, each=invariant)
    assert caught.value.__notes__ == ["seed 42, at 10 us, event 1"]


def test_timers_that_set_each_other_for_ever_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("omium.testing.sim.world.EVENTS_MAX", 100)
    world = World(3)

    def again() -> None:
        world.after(0, "again", again)

    again()
    with pytest.raises(AssertionError, match="seed 3: more than 100 events"):
        world.run(until_us=1)


def test_a_crash_ends_the_timers_of_its_incarnation_only() -> None:
    world = World(0)
    process = world.process("a")
    ran: list[str] = []
    process.after(10, "old", lambda: ran.append("old"))
    process.crash()
    process.crash()
    process.after(10, "down", lambda: ran.append("down"))
    process.restart()
    process.after(10, "new", lambda: ran.append("new"))
    world.run(until_us=20)
    assert ran == ["new"]
    assert process.incarnation == 2


def test_a_process_restarts_only_once_it_is_down() -> None:
    world = World(0)
    with pytest.raises(Conflict, match="running"):
        world.process("a").restart()
    with pytest.raises(Conflict, match="already"):
        world.process("a")


def test_what_comes_due_in_a_pause_waits_for_its_end() -> None:
    world = World(0)
    process = world.process("a")
    ran: list[tuple[str, int]] = []
    for delay_us, label in [(10, "a"), (20, "b"), (90, "c")]:
        process.after(delay_us, label, lambda label=label: ran.append((label, world.now_us)))
    process.pause()
    world.after(50, "resume", process.resume)
    world.run(until_us=100)
    assert ran == [("a", 50), ("b", 50), ("c", 90)]


def test_what_waits_in_a_pause_goes_with_a_crash() -> None:
    world = World(0)
    process = world.process("a")
    ran: list[str] = []
    process.after(10, "a", lambda: ran.append("a"))
    process.pause()
    world.after(20, "crash", process.crash)
    world.after(30, "restart", process.restart)
    world.after(40, "resume", process.resume)
    world.run(until_us=100)
    assert ran == []


def test_a_clock_jumps_and_timers_stay() -> None:
    world = World(0)
    process = world.process("a")
    seen: list[int] = []
    process.jump(-1_000)
    process.after(10, "look", lambda: seen.append(process.clock_us()))
    world.run(until_us=20)
    assert seen == [-990]
