"""A real group under faults: one every ten seconds, while clients and executions go on.

Three Ray nodes, each on a host of its own (a network namespace on this machine), a coordinator on
each, and `omium up` that has joined them. Processes are killed and stopped, hosts are cut off,
whole or one way, nodes are lost, disks are full, lost or damaged. Afterwards every execution must
have finished, nothing that was acknowledged may be missing, no completed call may have been made
again, and what clients saw of records must be the story of single objects. Without root or
namespaces it runs on one Ray node on one disk, and kills and stops processes only.

    python -m benchmarks chaos --minutes 10
    python -m benchmarks chaos --minutes 1 --only cut_leader --only kill_gateway

``plan`` decides what goes wrong, ``faults`` does it to the processes of ``cluster`` on the hosts
of ``network`` and to the ``disks``, ``load`` and ``registers`` are the clients, ``count`` and
``memory`` what is made of it.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import signal
import time
from collections import Counter, defaultdict
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import psutil

from benchmarks.chaos import network
from benchmarks.chaos.cluster import COORDINATORS, HEAD, TITLES, Cluster
from benchmarks.chaos.count import Disk, counted, read_disk
from benchmarks.chaos.disks import Disks, folder
from benchmarks.chaos.faults import Faults, NothingToStrike
from benchmarks.chaos.hosts import Alone, Hosts
from benchmarks.chaos.load import FAILURES_SHOWN, SCRIPT, Load
from benchmarks.chaos.memory import Sample, growth
from benchmarks.chaos.plan import KINDS, Plan
from benchmarks.chaos.registers import Registers
from benchmarks.machine import describe
from benchmarks.served import scripted_provider
from omium.actors.client import Client
from omium.client import AsyncClient
from omium.clock import SystemClock
from omium.errors import OmiumError
from omium.storage.blobs import open_blob_store
from omium.testing.call_log import read_calls

__all__ = ["main"]

EVERY_S = 10.0
SETTLE_S = 5.0
FINISH_S = 180.0
MIND_S = 1.0
SAMPLE_EVERY = 5


@dataclass
class Struck:
    """What went wrong, how often, and when gateways were killed (milliseconds since 1970)."""

    faults: Counter[str] = field(default_factory=Counter[str])
    gateway_killed_ms: list[int] = field(default_factory=list[int])
    skipped: int = 0


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="benchmarks chaos", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0, help="for how long things go wrong")
    parser.add_argument("--seed", type=int, default=1, help="what goes wrong, and in which order")
    parser.add_argument("--only", action="append", choices=KINDS, default=[], help="kinds of fault")
    parser.add_argument("--keep", action="store_true", help="keep the data and logs for a look")
    options = parser.parse_args(argv)
    # Whoever ends this politely lets it clean up.
    before = signal.signal(signal.SIGTERM, _interrupted)
    try:
        with folder(keep=options.keep) as own:
            figures = _run(own, options.minutes, options.seed, options.only)
        print(json.dumps(figures))
    finally:
        signal.signal(signal.SIGTERM, before)


def _interrupted(number: int, _: FrameType | None) -> None:
    raise SystemExit(128 + number)


def _hosts() -> Hosts:
    reason = network.missing()
    if reason is None:
        return network.Network(COORDINATORS)
    print(
        f"no network namespaces ({reason}): one Ray node on one disk, and no faults of network "
        "or disk",
        flush=True,
    )
    return Alone()


def _run(own: Path, minutes: float, seed: int, only: list[str]) -> dict[str, Any]:
    hosts, calls, data_dir, struck = _hosts(), own / "calls.jsonl", own / "data", Struck()
    disks = Disks(own, data_dir, COORDINATORS)
    try:
        hosts.open()
        if hosts.abilities and (reason := disks.open()) is not None:
            print(f"no disks of their own ({reason}): no faults of disks", flush=True)
        # Beside the gateway, which alone asks it.
        here = hosts.within(HEAD)
        with scripted_provider(own, SCRIPT, log=calls, prefix=here) as provider:
            cluster = Cluster(hosts, own, data_dir, provider=provider)
            try:
                cluster.start()
                plan = Plan(seed, abilities=[*hosts.abilities, *disks.abilities], only=only)
                told, figures = asyncio.run(_measure(cluster, disks, plan, struck, minutes, seed))
            finally:
                cluster.close()
        written = [
            disk for seat in range(1, COORDINATORS + 1) if (disk := _written(data_dir, seat))
        ]
        found = counted(written, read_calls(calls), struck.gateway_killed_ms, told)
    finally:
        hosts.close()
        disks.close()
    for problem in found.problems[:FAILURES_SHOWN]:
        print(problem, flush=True)
    return {
        "benchmark": "chaos",
        **describe(),
        "minutes": minutes,
        "seed": seed,
        "hosts": len(hosts.hosts),
        **figures,
        "on_disk": found.executions,
        "completed": found.completed,
        "repeated_calls": found.repeated_calls,
        "in_flight_retried": found.in_flight_retried,
        "sent_retried": found.sent_retried,
        "handoffs": found.handoffs.handoffs,
        "handoffs_lost": found.handoffs.lost,
        "handoffs_duplicated": found.handoffs.duplicated,
        "handoffs_in_conflict": found.handoffs.conflicts,
        "disks_that_agree": found.seats,
        "problems": len(found.problems),
        "faults": dict(sorted(struck.faults.items())),
        "faults_skipped": struck.skipped,
    }


def _written(data_dir: Path, seat: int) -> Disk | None:
    try:
        return read_disk(data_dir, seat)
    except OmiumError as error:
        print(f"the disk of seat {seat}: {error}", flush=True)
        return None


async def _measure(
    cluster: Cluster, disks: Disks, plan: Plan, struck: Struck, minutes: float, seed: int
) -> tuple[dict[str, Any], dict[str, Any]]:
    """What clients were told of the executions with checked handoffs, and the figures."""
    endpoint = cluster.endpoint()
    client = Client(
        endpoint.addresses,
        bytes.fromhex(endpoint.secret),
        blobs=open_blob_store(str(cluster.blobs)),
        clock=SystemClock(),
    )
    client.open()
    placement = {
        str(process.pid): cluster.host_of(process.pid)
        for process in cluster.everywhere("coordinator")
    }
    print(f"coordinators by process and host: {placement}", flush=True)
    registers = Registers(client, seed)
    samples: defaultdict[str, list[Sample]] = defaultdict(list)
    try:
        async with AsyncClient(cluster.address, cluster.api_key) as http:
            load = Load(http, registers, seed)
            await load.start()
            watching = asyncio.create_task(_watch(cluster, samples))
            try:
                faults = Faults(cluster, disks, client, seed)
                await _strike(faults, plan, struck, minutes)
                await load.finish(FINISH_S)
                healed_s = await _healed(faults)
            finally:
                watching.cancel()
                await load.stop()
            listed = [row async for row in http.executions()]
        lost_records = await registers.lost()
        operations, verdict = await registers.verdict()
    finally:
        await client.close()
    for line in load.unanswered[:FAILURES_SHOWN]:
        print(f"unanswered: {line}", flush=True)
    if verdict.verdict != "ok":
        print(verdict, flush=True)
    there = {row.id for row in listed}
    answered = load.requests - len(load.unanswered)
    return load.told("voted"), {
        "whole_again_s": healed_s,
        "coordinators_on_hosts": len(set(placement.values())),
        "requests": load.requests,
        "unanswered": len(load.unanswered),
        "availability": round(answered / load.requests, 6),
        "slow": load.slow,
        "longest_s": round(load.longest_s, 1),
        "linearizable": verdict.verdict,
        "operations": operations,
        "executions": len(load.created),
        "finished": load.finished,
        "lost_acks": lost_records + sum(name not in there for name in load.created),
        "memory": {kind: growth(taken) for kind, taken in sorted(samples.items())},
    }


async def _strike(faults: Faults, plan: Plan, struck: Struck, minutes: float) -> None:
    """A fault every ``EVERY_S`` seconds, for so many minutes; all of them are undone at the end."""
    begun_s = time.monotonic()
    await asyncio.sleep(SETTLE_S)
    number = 0
    under_way: set[asyncio.Task[None]] = set()
    try:
        while time.monotonic() - begun_s < minutes * 60:
            number += 1
            kind = plan.next(whole=not under_way and await faults.whole())
            if kind is None:
                struck.skipped += 1
                print("no fault: the group is not whole", flush=True)
            else:
                task = asyncio.create_task(_one(faults, kind, struck, begun_s))
                under_way.add(task)
                task.add_done_callback(under_way.discard)
            await asyncio.sleep(begun_s + SETTLE_S + number * EVERY_S - time.monotonic())
    finally:
        await asyncio.gather(*under_way)


async def _healed(faults: Faults) -> float | None:
    """After how many seconds all members follow again; None where they do not."""
    begun_s = time.monotonic()
    while time.monotonic() - begun_s < FINISH_S:
        if await faults.whole():
            return round(time.monotonic() - begun_s, 1)
        await asyncio.sleep(MIND_S)
    return None


async def _one(faults: Faults, kind: str, struck: Struck, begun_s: float) -> None:
    try:
        async with faults.strike(kind) as whom:
            print(f"{time.monotonic() - begun_s:6.1f} s  {kind}: {whom}", flush=True)
            struck.faults[kind] += 1
            if kind == "kill_gateway":
                struck.gateway_killed_ms.append(SystemClock().now_ms())
            await asyncio.sleep(KINDS[kind].hold_s)
    except NothingToStrike as reason:
        struck.skipped += 1
        print(f"no {kind}: {reason}", flush=True)


async def _watch(cluster: Cluster, samples: defaultdict[str, list[Sample]]) -> None:
    """Keep Ray's nodes up, and look at memory every now and then."""
    begun_s = time.monotonic()
    for number in itertools.count():
        await asyncio.sleep(MIND_S)
        cluster.mind()
        if number % SAMPLE_EVERY == 0:
            # Elsewhere: it takes long enough to be seen in what clients measure.
            for kind, rss_mb in (await asyncio.to_thread(_rss_mb, cluster)).items():
                samples[kind].append(Sample(at_s=time.monotonic() - begun_s, rss_mb=rss_mb))


def _rss_mb(cluster: Cluster) -> dict[str, float]:
    """The mean of the processes of each kind."""
    sizes: defaultdict[str, list[int]] = defaultdict(list)
    for kind in TITLES:
        for process in cluster.everywhere(kind):
            # Whoever has ended meanwhile holds none.
            with suppress(psutil.NoSuchProcess):
                sizes[kind].append(process.memory_info().rss)
    return {kind: sum(some) / len(some) / 2**20 for kind, some in sizes.items()}
