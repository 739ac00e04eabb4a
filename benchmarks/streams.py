"""Hundreds of open streams while the API's replicas and the coordinator are killed.

Every stream follows an execution of its own or shares one, over SSE, and reconnects by itself.
What each saw is compared with the journal: every entry once and in order, or it is counted.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from dataclasses import dataclass, field
from typing import Any

from benchmarks.machine import describe, percentile
from benchmarks.served import COORDINATOR_TITLE, REPLICA_TITLE, Served, service
from omium.client import AsyncClient, AsyncHandle

WORKFLOW: dict[str, Any] = {
    "name": "ticking",
    "version": "1",
    "agents": [
        {"name": "ticker", "framework": "python", "entrypoint": "benchmarks.agents:ticking"}
    ],
}


@dataclass
class Seen:
    """What one stream saw: journal indexes, and when (monotonic seconds)."""

    indexes: list[int] = field(default_factory=list[int])
    at_s: list[float] = field(default_factory=list[float])


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="benchmarks streams", description=__doc__)
    parser.add_argument("--streams", type=int, default=500, help="open streams")
    parser.add_argument("--executions", type=int, default=10, help="executions they follow")
    parser.add_argument("--kills", type=int, default=3, help="kills of replicas")
    parser.add_argument("--seconds", type=int, default=60, help="how long executions tick")
    options = parser.parse_args(argv)
    with service(SERVICE__REPLICAS="2", POOL__CAPACITY="16") as served:
        figures = asyncio.run(_run(served, options))
    print(json.dumps({"benchmark": "streams", **describe(), **figures}))


async def _run(served: Served, options: argparse.Namespace) -> dict[str, Any]:
    async with AsyncClient(served.address, served.api_key) as client:
        await client.register(WORKFLOW)
        handles = [
            await client.run("ticking", {"seconds": options.seconds})
            for _ in range(options.executions)
        ]
        seen = [Seen() for _ in range(options.streams)]
        follows = [
            asyncio.create_task(_follow(handles[number % len(handles)], one))
            for number, one in enumerate(seen)
        ]
        kills_s: list[float] = []
        for number in range(options.kills):
            await asyncio.sleep(options.seconds / (options.kills + 2))
            title = REPLICA_TITLE if number % 3 != 2 else COORDINATOR_TITLE
            kills_s.append(time.monotonic())
            print(f"killed {served.kill(title)}", flush=True)
        await asyncio.gather(*follows)
        journals = [[entry["index"] async for entry in handle.journal()] for handle in handles]
    missed = duplicated = disordered = 0
    for number, one in enumerate(seen):
        wanted = journals[number % len(handles)]
        missed += len(set(wanted) - set(one.indexes))
        duplicated += len(one.indexes) - len(set(one.indexes))
        disordered += one.indexes != sorted(one.indexes)
    gaps_ms = [
        (next((at for at in one.at_s if at > kill_s), kill_s) - kill_s) * 1000
        for kill_s in kills_s
        for one in seen
    ]
    return {
        "streams": options.streams,
        "kills": len(kills_s),
        "events": sum(len(one.indexes) for one in seen),
        "missed": missed,
        "duplicated": duplicated,
        "disordered": disordered,
        "reconnect_ms_p50": round(percentile(gaps_ms, 0.5)),
        "reconnect_ms_p99": round(percentile(gaps_ms, 0.99)),
    }


async def _follow(handle: AsyncHandle, seen: Seen) -> None:
    async for event in handle.events():
        assert event.index is not None
        seen.indexes.append(event.index)
        seen.at_s.append(time.monotonic())
