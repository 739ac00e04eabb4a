"""Ten trivial journaled steps with 1 KB of state: what durability costs.

The whole path is real: executions are submitted to a coordinator on Ray, leased to a worker,
checkpointed ten times over the stream with one fsync a batch, completed and read back. The
floor is fdatasync of 256 bytes in the same folder, in the same run.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.agents import STEPS
from benchmarks.machine import describe, fdatasync_ms, percentile
from omium.actors.client import Client
from omium.actors.shards.placement import shard_of
from omium.config import load_settings
from omium.definitions import Workflow, workflow_from
from omium.runtime.runtime import Runtime
from omium.types import ExecutionId

WORKFLOW = {
    "name": "ten-steps",
    "version": "1",
    "agents": [
        {"name": "stepper", "framework": "python", "entrypoint": "benchmarks.agents:ten_steps"}
    ],
}
ROOT = str(Path(__file__).parent.parent)


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="benchmarks steps", description=__doc__)
    parser.add_argument("--seconds", type=float, default=5.0, help="of load at each concurrency")
    parser.add_argument("--serial", type=int, default=100, help="executions one after the other")
    parser.add_argument("--replicas", type=int, default=1, help="coordinators: 1, 3 or 5")
    parser.add_argument("--shards", type=int, default=1, help="groups of so many coordinators")
    parser.add_argument("--folder", type=Path, help="where to write (default: a temporary folder)")
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="omium-bench-", dir=options.folder) as folder:
        figures = asyncio.run(
            _measure(
                Path(folder), options.seconds, options.serial, options.replicas, options.shards
            )
        )
    print(json.dumps(figures))


async def _measure(
    folder: Path, seconds: float, serial: int, replicas: int, shards: int
) -> dict[str, Any]:
    settings = load_settings(
        {
            "data_dir": folder / "data",
            "coordinators": replicas,
            "shards": shards,
            "pool": {"capacity": 128, "spare": 0},
        }
    )
    workflow = workflow_from(WORKFLOW)
    figures: dict[str, Any] = {"benchmark": "steps", **describe(), "replicas": replicas}
    figures["shards"] = shards
    async with Runtime(settings, warm={"python": 1}) as runtime:
        client = runtime.client
        for shard in range(shards):
            await _one(client, workflow, _id_in(client, shard, shards))
        step_ms: list[float] = []
        floor_ms = fdatasync_ms(folder)
        for _ in range(serial):
            step_ms += await _one(client, workflow)
        floor_ms += fdatasync_ms(folder)
        for concurrency in (16, 64):
            rate = await _load(client, workflow, concurrency, seconds)
            print(f"{concurrency} concurrent executions: {rate:,.0f} steps/s", flush=True)
            figures[f"steps_per_s_{concurrency}"] = round(rate)
    floor = percentile(floor_ms, 0.5)
    figures |= {
        "step_ms_p50": round(percentile(step_ms, 0.5), 3),
        "step_ms_p99": round(percentile(step_ms, 0.99), 3),
        "fdatasync_ms_p50": round(floor, 3),
        "fdatasync_ms_p99": round(percentile(floor_ms, 0.99), 3),
        "ratio_p50": round(percentile(step_ms, 0.5) / floor, 2),
    }
    return figures


def _id_in(client: Client, shard: int, shards: int) -> ExecutionId:
    """A new id whose execution is in that shard."""
    while shard_of(drawn := client.new_execution_id(), shards) != shard:
        pass
    return drawn


async def _one(
    client: Client, workflow: Workflow, chosen: ExecutionId | None = None
) -> list[float]:
    """Run one execution to its end; what each of its steps took, in ms."""
    execution_id = await client.submit(workflow, {}, import_paths=(ROOT,), execution_id=chosen)
    result: Any = await client.result(execution_id, timeout_s=120)
    return result["step_ms"]


async def _load(client: Client, workflow: Workflow, concurrency: int, seconds: float) -> float:
    """Steps a second with ``concurrency`` executions under way all the time."""
    started = time.perf_counter()
    ended = started + seconds
    executions = 0

    async def one_after_another() -> None:
        nonlocal executions
        while time.perf_counter() < ended:
            await _one(client, workflow)
            executions += 1

    await asyncio.gather(*(one_after_another() for _ in range(concurrency)))
    return executions * STEPS / (time.perf_counter() - started)
