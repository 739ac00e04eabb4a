"""SIGKILL of the API's replicas, of Serve's controller and of the coordinator, in the middle of
hundreds of executions that are created over HTTP: each ends, exactly once.

Calls are counted at the provider. What was created is what the client was told, by the name of
its request; what there is, is asked of the service afterwards.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections import Counter
from typing import Any

from benchmarks.machine import describe
from benchmarks.served import (
    CONTROLLER_TITLE,
    COORDINATOR_TITLE,
    REPLICA_TITLE,
    Served,
    service,
)
from omium.client import AsyncClient, AsyncHandle
from omium.testing.call_log import read_calls

WORKFLOW: dict[str, Any] = {
    "name": "asking",
    "version": "1",
    "model": "openai/scripted",
    "agents": [
        {"name": "asker", "framework": "python", "entrypoint": "benchmarks.agents:three_questions"}
    ],
}
SCRIPT = {"rules": [{"answer": {"content": "done", "delay_s": 0.5}}]}
PLAN = (REPLICA_TITLE, CONTROLLER_TITLE, COORDINATOR_TITLE, REPLICA_TITLE, COORDINATOR_TITLE)
"""Who is killed, one after the other, while executions are created and at work."""

AT_ONCE = 16
RESULT_TIMEOUT_S = 240


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="benchmarks outages", description=__doc__)
    parser.add_argument("--executions", type=int, default=200, help="how many are created")
    options = parser.parse_args(argv)
    with service(SCRIPT, records=True, SERVICE__REPLICAS="2") as served:
        figures = asyncio.run(_run(served, options.executions))
        calls = Counter(call.digest for call in read_calls(served.calls))
    figures["repeated_calls"] = sum(calls.values()) - len(calls)
    print(json.dumps({"benchmark": "outages", **describe(), **figures}))


async def _run(served: Served, count: int) -> dict[str, Any]:
    began_s = time.monotonic()
    created: dict[int, AsyncHandle] = {}
    results: list[Any] = []
    room, grown = asyncio.Semaphore(AT_ONCE), asyncio.Event()

    async def one(client: AsyncClient, number: int) -> None:
        async with room:
            name = f"outage-{number}"
            handle = await client.run("asking", {"number": number}, idempotency_key=name)
            created[number] = handle
            grown.set()
            results.append(await handle.result(timeout_s=RESULT_TIMEOUT_S))

    async with AsyncClient(served.address, served.api_key, retry_s=120) as client:
        await client.register(WORKFLOW)
        working = [asyncio.create_task(one(client, number)) for number in range(count)]
        for place, title in enumerate(PLAN, start=1):
            while len(created) < count * place // (len(PLAN) + 1):
                await grown.wait()
                grown.clear()
            print(f"killed {served.kill(title)} after {len(created)} creations", flush=True)
        await asyncio.gather(*working)
        listed = [row async for row in client.executions(workflow="asking")]
    completed = {row.id for row in listed if row.status == "completed"}
    return {
        "executions": count,
        "kills": len(PLAN),
        "completed": len(completed),
        "results": sum(result == ["done"] * 3 for result in results),
        "lost_creates": sum(handle.id not in completed for handle in created.values()),
        "extra_executions": len(listed) - len({handle.id for handle in created.values()}),
        "seconds": round(time.monotonic() - began_s, 1),
    }
