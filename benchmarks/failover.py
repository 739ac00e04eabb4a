"""How long nobody can write when the leader of a group is killed, and whether anything is lost.

Three coordinators on Ray, under a load of small durable writes, each with a key and an
idempotency key of its own. Again and again the process that leads gets SIGKILL; Ray starts it
again. From then on a fresh write is begun every 20 ms beside those that may hang, and the gap is
the time from the kill to the first of these that is acknowledged. Afterwards every acknowledged
write must be there, once. A group of three etcd members with its stock timings goes through the
same in the same run, where an ``etcd`` is found.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from benchmarks.etcd import Etcd
from benchmarks.machine import describe, fdatasync_ms, percentile
from omium.actors.client import Client
from omium.config import load_settings
from omium.errors import OmiumError
from omium.execution.events import Request
from omium.runtime.runtime import Runtime

WRITERS = 8
KIND = "failover"
GAP_S_MAX = 60.0
PROBE_S = 0.02

Write = Callable[[str], Awaitable[None]]
"""Write a record of that key, durably; raises where it was not acknowledged."""


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="benchmarks failover", description=__doc__)
    parser.add_argument("--kills", type=int, default=30, help="how often the leader is killed")
    parser.add_argument("--etcd", default=shutil.which("etcd"), help="the peer (default: on PATH)")
    parser.add_argument("--folder", type=Path, help="where to write (default: a temporary folder)")
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="omium-bench-", dir=options.folder) as folder:
        figures = asyncio.run(_measure(Path(folder), options.kills, options.etcd))
    print(json.dumps(figures))


class Load:
    """Writers that never rest, and what was acknowledged to them."""

    def __init__(self, write: Write) -> None:
        self._write = write
        self._begun: list[float] = []
        self.acknowledged: dict[str, tuple[float, float]] = {}
        self.unanswered = 0
        self._probes = 0
        self._grown = asyncio.Event()
        self._tasks = [asyncio.create_task(self._go_on(number)) for number in range(WRITERS)]

    async def _go_on(self, writer: int) -> None:
        number = 0
        while True:
            number += 1
            await self._once(f"{writer}-{number:06d}")

    async def _once(self, key: str) -> None:
        begun_s = time.perf_counter()
        try:
            await self._write(key)
        except OmiumError:
            self.unanswered += 1
            return
        self.acknowledged[key] = (begun_s, time.perf_counter())
        self._grown.set()

    async def after(self, moment_s: float) -> float:
        """When the first write that began after ``moment_s`` was acknowledged. Begins one every
        ``PROBE_S`` seconds itself."""
        async with asyncio.timeout(GAP_S_MAX):
            while True:
                done = [end for begun, end in self.acknowledged.values() if begun > moment_s]
                if done:
                    return min(done)
                self._probes += 1
                self._tasks.append(asyncio.create_task(self._once(f"probe-{self._probes:06d}")))
                self._grown.clear()
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._grown.wait(), PROBE_S)

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


async def _measure(folder: Path, kills: int, etcd: str | None) -> dict[str, Any]:
    floor = percentile(fdatasync_ms(folder), 0.5)
    figures: dict[str, Any] = {
        "benchmark": "failover",
        **describe(),
        "kills": kills,
        "writers": WRITERS,
        "fdatasync_ms_p50": round(floor, 3),
    }
    figures |= await _ours(folder / "data", kills)
    if etcd is None:
        print("etcd is skipped: there is none on PATH, and none was named", flush=True)
        return {**figures, "etcd": None}
    async with Etcd(etcd, folder / "etcd") as peer:
        load = Load(peer.put)
        try:
            gaps = [await _gap(load, peer.kill_leader) for _ in range(kills)]
        finally:
            await load.stop()
    theirs = _gaps("etcd_gap", gaps)
    return {**figures, "etcd": peer.version, **theirs, "etcd_acknowledged": len(load.acknowledged)}


async def _ours(data: Path, kills: int) -> dict[str, Any]:
    settings = load_settings({"data_dir": data, "coordinators": 3})
    async with Runtime(settings) as runtime:
        client = runtime.client

        async def write(key: str) -> None:
            await client.put_record(KIND, key, key, request=Request(key=key, digest=key))

        async def kill() -> None:
            await _whole(client)
            os.kill((await client.runtime()).pid, signal.SIGKILL)

        load = Load(write)
        try:
            gaps = [await _gap(load, kill) for _ in range(kills)]
        finally:
            await load.stop()
        versions = await _versions(client)
    return {
        **_gaps("write_gap", gaps),
        "acknowledged": len(load.acknowledged),
        "unanswered": load.unanswered,
        "lost_acks": sum(key not in versions for key in load.acknowledged),
        "duplicated": sum(version != 1 for version in versions.values()),
    }


async def _gap(load: Load, kill: Callable[[], Awaitable[None]]) -> float:
    """Kill, and return for how many milliseconds nothing was acknowledged."""
    await load.after(time.perf_counter())
    await kill()
    killed_s = time.perf_counter()
    gap_ms = (await load.after(killed_s) - killed_s) * 1000
    print(f"gap {gap_ms:,.0f} ms", flush=True)
    return gap_ms


def _gaps(name: str, gaps: list[float]) -> dict[str, int]:
    return {
        f"{name}_ms_p50": round(percentile(gaps, 0.5)),
        f"{name}_ms_p99": round(percentile(gaps, 0.99)),
    }


async def _whole(client: Client) -> None:
    """Wait until all members follow, so that the next kill leaves a majority."""
    async with asyncio.timeout(GAP_S_MAX):
        while True:
            view = await client.runtime()
            if view.followers >= 2:
                return
            await asyncio.sleep(0.05)


async def _versions(client: Client) -> dict[str, int]:
    versions: dict[str, int] = {}
    after = ""
    while page := await client.records(KIND, after=after, limit=1_000):
        versions |= {record.key: record.version for record in page}
        after = page[-1].key
    return versions
