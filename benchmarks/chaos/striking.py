"""When faults strike: one every ten seconds as a plan decides, or some in a fixed order."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from benchmarks.chaos.faults import Faults, NothingToStrike
from benchmarks.chaos.load import Load
from benchmarks.chaos.plan import KINDS, Plan
from omium.clock import SystemClock

EVERY_S = 10.0
SETTLE_S = 5.0
FINISH_S = 180.0
MIND_S = 1.0
LOOK_S = 0.1
STEADY_S = 2.0
"""A leader takes who has just died for a follower until it has missed it."""


@dataclass
class Struck:
    """What went wrong, how often, in how many seconds, and when gateways were killed (milliseconds
    since 1970)."""

    faults: Counter[str] = field(default_factory=Counter[str])
    gateway_killed_ms: list[int] = field(default_factory=list[int])
    skipped: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Striking:
    """Who strikes has these: ``abilities`` are what can go wrong in this place, as
    ``plan.Kind.needs`` has them, and in ``struck`` it is noted."""

    faults: Faults
    load: Load
    abilities: Collection[str]
    struck: Struck


Strike: TypeAlias = Callable[[Striking], Awaitable[None]]


def by_plan(seed: int, minutes: float, only: Collection[str]) -> Strike:
    """A fault every ``EVERY_S`` seconds, for so many minutes; all of them are undone at the end."""

    async def strike(striking: Striking) -> None:
        plan = Plan(seed, abilities=striking.abilities, only=only)
        begun_s = time.monotonic()
        await asyncio.sleep(SETTLE_S)
        number = 0
        under_way: set[asyncio.Task[None]] = set()
        try:
            while time.monotonic() - begun_s < minutes * 60:
                number += 1
                kind = plan.next(whole=not under_way and await striking.faults.whole())
                if kind is None:
                    striking.struck.skipped += 1
                    print("no fault: the group is not whole", flush=True)
                else:
                    task = asyncio.create_task(_one(striking, kind, begun_s))
                    under_way.add(task)
                    task.add_done_callback(under_way.discard)
                await asyncio.sleep(begun_s + SETTLE_S + number * EVERY_S - time.monotonic())
        finally:
            await asyncio.gather(*under_way)

    return strike


def in_order(kinds: Sequence[str]) -> Strike:
    """Those faults, one after the other: each once all members follow again and an execution has
    finished since the one before. Raises ``TimeoutError`` where that takes ``FINISH_S`` seconds."""

    async def strike(striking: Striking) -> None:
        begun_s = time.monotonic()
        for kind in kinds:
            if KINDS[kind].needs and KINDS[kind].needs not in striking.abilities:
                striking.struck.skipped += 1
                print(f"no {kind}: there are no {KINDS[kind].needs} to do it to", flush=True)
                continue
            async with asyncio.timeout(FINISH_S):
                await _well_again(striking)
            await _one(striking, kind, begun_s)

    return strike


async def _well_again(striking: Striking) -> None:
    """Wait until the group has been whole for ``STEADY_S`` seconds, and work has gone on."""
    before = striking.load.finished
    since_s = time.monotonic()
    while striking.load.finished == before or time.monotonic() < since_s + STEADY_S:
        await asyncio.sleep(LOOK_S)
        if not await striking.faults.whole():
            since_s = time.monotonic()


async def _one(striking: Striking, kind: str, begun_s: float) -> None:
    struck = striking.struck
    try:
        async with striking.faults.strike(kind) as whom:
            print(f"{time.monotonic() - begun_s:6.1f} s  {kind}: {whom}", flush=True)
            struck.faults[kind] += 1
            if kind == "kill_gateway":
                struck.gateway_killed_ms.append(SystemClock().now_ms())
            await asyncio.sleep(KINDS[kind].hold_s)
    except NothingToStrike as reason:
        struck.skipped += 1
        print(f"no {kind}: {reason}", flush=True)
