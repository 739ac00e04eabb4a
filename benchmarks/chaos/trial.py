"""One run of the benchmark, from hosts to figures: who strikes when is handed in."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import defaultdict
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any

import psutil

from benchmarks.chaos.cluster import COORDINATORS, HEAD, TITLES, Cluster
from benchmarks.chaos.count import Disk, counted, read_disk
from benchmarks.chaos.disks import Disks
from benchmarks.chaos.faults import Faults
from benchmarks.chaos.hosts import Hosts
from benchmarks.chaos.load import FAILURES_SHOWN, SCRIPT, Load
from benchmarks.chaos.memory import Sample, growth
from benchmarks.chaos.registers import Registers
from benchmarks.chaos.striking import FINISH_S, MIND_S, Strike, Striking, Struck
from benchmarks.machine import describe
from benchmarks.served import scripted_provider
from omium.actors.client import Client
from omium.client import AsyncClient
from omium.clock import SystemClock
from omium.errors import OmiumError
from omium.storage.blobs import open_blob_store
from omium.testing.call_log import read_calls

SAMPLE_EVERY = 5


def run(own: Path, hosts: Hosts, seed: int, strike: Strike) -> dict[str, Any]:
    """Start a cluster on ``hosts`` in the folder ``own``, let clients work with it and faults
    ``strike``, end it, and hold together what is left. Returns the figures."""
    calls, data_dir, struck = own / "calls.jsonl", own / "data", Struck()
    disks = Disks(own, data_dir, COORDINATORS)
    try:
        hosts.open()
        if (reason := disks.open()) is not None:
            print(f"no disks of their own ({reason}): none will be full", flush=True)
        # Beside the gateway, which alone asks it.
        here = hosts.within(HEAD)
        with scripted_provider(own, SCRIPT, log=calls, prefix=here) as provider:
            cluster = Cluster(hosts, own, data_dir, provider=provider)
            try:
                cluster.start()
                told, figures = asyncio.run(_measure(cluster, disks, strike, struck, seed))
            finally:
                cluster.close()
        written = {
            seat: disk
            for seat in range(1, COORDINATORS + 1)
            if (disk := _written(data_dir, seat)) is not None
        }
        found = counted(written, read_calls(calls), struck.gateway_killed_ms, told)
    finally:
        hosts.close()
        disks.close()
    for problem in found.problems[:FAILURES_SHOWN]:
        print(problem, flush=True)
    return {
        "benchmark": "chaos",
        **describe(),
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
        "seconds_of_faults": round(struck.seconds, 1),
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
    cluster: Cluster, disks: Disks, strike: Strike, struck: Struck, seed: int
) -> tuple[dict[str, Any], dict[str, Any]]:
    """What clients were told of the executions with checked handoffs, and the figures."""
    endpoint, chance = cluster.endpoint(), Random(seed)
    secret, blobs = bytes.fromhex(endpoint.secret), open_blob_store(str(cluster.blobs))

    def new_client() -> Client:
        addresses = [*endpoint.addresses]
        chance.shuffle(addresses)
        return Client(addresses, secret, blobs=blobs, clock=SystemClock())

    client = new_client()
    client.open()
    placement = {
        str(process.pid): cluster.host_of(process.pid)
        for process in cluster.everywhere("coordinator")
    }
    print(f"coordinators by process and host: {placement}", flush=True)
    registers = Registers(client, new_client, seed)
    samples: defaultdict[str, list[Sample]] = defaultdict(list)
    try:
        async with AsyncClient(cluster.address, cluster.api_key) as http:
            load = Load(http, registers, seed)
            able = (*cluster.hosts.abilities, *disks.abilities)
            await load.start()
            watching = asyncio.create_task(_watch(cluster, samples))
            try:
                faults = Faults(cluster, disks, client, seed)
                begun_s = time.monotonic()
                await strike(Striking(faults=faults, load=load, abilities=able, struck=struck))
                struck.seconds = time.monotonic() - begun_s
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


async def _healed(faults: Faults) -> float | None:
    """After how many seconds all members follow again; None where they do not."""
    begun_s = time.monotonic()
    while time.monotonic() - begun_s < FINISH_S:
        if await faults.whole():
            return round(time.monotonic() - begun_s, 1)
        await asyncio.sleep(MIND_S)
    return None


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
