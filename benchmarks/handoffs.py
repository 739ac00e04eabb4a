"""Is every handoff made exactly once while those who make them are killed?

Executions of three agents, of which two check what they are handed, on Ray with three
coordinators. Each second one of these gets SIGKILL, in turn: a worker that is at work, the
coordinator that leads, the gateway; where that one is dead already, the leader or the gateway.
Afterwards every journal is read, and ``handoff_count`` says what of it is lost, duplicated or in
conflict. The latency is that from the giver's completion to the receiver's acceptance, by the clock
of whoever led.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from benchmarks.handoff_agents import NAMES, WORKFLOW
from benchmarks.handoff_count import EDGES, Tally
from benchmarks.machine import describe, percentile
from omium.actors.client import Client
from omium.config import load_settings
from omium.definitions import workflow_from
from omium.errors import DeadlineExceeded, ExecutionFailed, PlatformError
from omium.execution.events import Request
from omium.runtime.runtime import Runtime
from omium.types import ExecutionId, Json

ROOT = str(Path(__file__).parent.parent)
AT_ONCE = 32
FAULT_EVERY_S = 1.0
STAY_AWAY_S_MAX = 120.0
TARGETS = ("worker", "leader", "gateway")

_T = TypeVar("_T")


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="benchmarks handoffs", description=__doc__)
    parser.add_argument("--handoffs", type=int, default=10_000, help="how many are to be made")
    parser.add_argument("--folder", type=Path, help="where to write (default: a temporary folder)")
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="omium-bench-", dir=options.folder) as folder:
        figures = asyncio.run(_measure(Path(folder), -(-options.handoffs // EDGES)))
    print(json.dumps(figures))


async def _measure(folder: Path, executions: int) -> dict[str, Any]:
    settings = load_settings(
        {"data_dir": folder / "data", "coordinators": 3, "pool": {"capacity": 32, "spare": 2}}
    )
    tally = Tally()
    figures = {"benchmark": "handoffs", **describe(), "executions": executions}
    async with Runtime(settings, warm={"python": len(NAMES)}) as runtime:
        client = runtime.client
        results: dict[ExecutionId, Json] = {}
        kills: Counter[str] = Counter()
        given_up: list[ExecutionId] = []
        began_s = time.perf_counter()
        killing = asyncio.create_task(_kill(client, kills))
        try:
            await _run(client, results, executions, given_up)
        finally:
            killing.cancel()
            with suppress(asyncio.CancelledError):
                await killing
        seconds = time.perf_counter() - began_s
        for execution_id, result in results.items():
            tally.judge([entry async for entry in client.events(execution_id)], result)
    return {
        **figures,
        "seconds": round(seconds, 1),
        "kills": dict(kills),
        "handoffs": tally.handoffs,
        "given_up": len(given_up),
        "lost": tally.lost,
        "duplicated": tally.duplicated,
        "conflicts": tally.conflicts,
        "p50_ms": round(percentile(tally.waits_ms, 0.5), 1),
        "p99_ms": round(percentile(tally.waits_ms, 0.99), 1),
    }


async def _run(
    client: Client,
    results: dict[ExecutionId, Json],
    executions: int,
    given_up: list[ExecutionId],
) -> None:
    """Take so many executions to their ends, ``AT_ONCE`` of them at a time."""
    workflow = workflow_from(WORKFLOW)
    numbers = iter(range(executions))

    async def one_after_another() -> None:
        for number in numbers:
            named = client.new_execution_id()
            await _again(
                lambda number=number, named=named: client.submit(
                    workflow, {"number": number}, import_paths=(ROOT,), execution_id=named
                )
            )
            results[named] = await _ended(client, named, given_up)
            if len(results) % 500 == 0:
                print(f"{len(results)} of {executions} executions", flush=True)

    await asyncio.gather(*(one_after_another() for _ in range(AT_ONCE)))


async def _ended(client: Client, execution_id: ExecutionId, given_up: list[ExecutionId]) -> Json:
    """The result of an execution. One that lost five workers in a row is given up by the
    coordinator, and let go on as an operator would; that is noted in ``given_up``."""
    while True:
        try:
            return await _again(lambda: client.result(execution_id))
        except ExecutionFailed as failed:
            if failed.failure_kind != "crash_loop":
                raise
            given_up.append(execution_id)
            once = Request(key=f"{execution_id}/{len(given_up)}", digest="resume")
            await _again(lambda once=once: client.resume(execution_id, request=once))


async def _again(ask: Callable[[], Awaitable[_T]]) -> _T:
    """Ask until the group answers: what is asked for twice has the effect of once."""
    by_s = time.monotonic() + STAY_AWAY_S_MAX
    while True:
        try:
            return await ask()
        except (PlatformError, DeadlineExceeded):
            if time.monotonic() > by_s:
                raise
            await asyncio.sleep(0.1)


async def _kill(client: Client, kills: Counter[str]) -> None:
    """Kill somebody each second, in turn, for as long as this is let."""
    due_s = time.monotonic()
    for turn in itertools.count():
        due_s = max(due_s + FAULT_EVERY_S, time.monotonic())
        await asyncio.sleep(due_s - time.monotonic())
        with suppress(PlatformError, ProcessLookupError):
            view = await client.runtime()
            pids = {
                "worker": max((w.attempts, w.pid) for w in view.workers)[1] if view.workers else 0,
                # Of a majority that is gone nothing can be said.
                "leader": view.pid if view.followers >= 2 else 0,
                "gateway": view.gateway_pid,
            }
            # In place of one that is dead already the next one; but a worker only in its turn: to
            # start one takes more than a second here, and nobody would ever come to work.
            turns = [TARGETS[(turn + later) % len(TARGETS)] for later in range(len(TARGETS))]
            others = [one for one in turns[1:] if one != "worker"]
            target = next((one for one in (turns[0], *others) if pids[one]), None)
            if target is not None:
                os.kill(pids[target], signal.SIGKILL)
                kills[target] += 1
