"""The HTTP API under load: a no-op application, Omium's reads, and a mix with durable creates.

One run on one machine, load generator included. The no-op application stands behind the same
proxy with the same flags, and says what is to be had at most. Reads are loaded with wrk, the mix
with locust.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from benchmarks.machine import describe
from benchmarks.served import WORKFLOW, Served, service
from omium.client import Client

CONNECTIONS = 16
LOCUSTFILE = Path(__file__).parent / "locustfile.py"


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="benchmarks api", description=__doc__)
    parser.add_argument("--seconds", type=int, default=10, help="how long each load lasts")
    parser.add_argument("--users", type=int, default=32, help="users of the mix")
    options = parser.parse_args(argv)
    if shutil.which("wrk") is None:
        parser.error("wrk is not installed (Debian's package of that name)")
    with _noop() as address:
        noop_rps = _wrk(f"{address}/noop", None, options.seconds)
        print(f"no-op: {noop_rps:.0f} requests/s", flush=True)
    with service() as served:
        with Client(served.address, served.api_key) as client:
            client.register(WORKFLOW)
            execution = client.run("one-step")
            execution.result(timeout_s=60)
        url = f"{served.address}/v1/executions/{execution.id}"
        read_rps = _wrk(url, served.api_key, options.seconds)
        print(f"reads: {read_rps:.0f} requests/s", flush=True)
        mix, busiest = _mix(served, options.users, options.seconds)
    figures = {
        "benchmark": "api",
        **describe(),
        "noop_rps": round(noop_rps),
        "read_rps": round(read_rps),
        "read_to_noop": round(read_rps / noop_rps, 2),
        **mix,
        "busiest": busiest,
    }
    print(json.dumps(figures))


def _wrk(url: str, api_key: str | None, seconds: int) -> float:
    header = ["-H", f"Authorization: Bearer {api_key}"] if api_key else []
    told = subprocess.run(
        ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", *header, url],
        capture_output=True,
        check=True,
        text=True,
    ).stdout
    if "Non-2xx" in told or "Socket errors" in told:
        raise RuntimeError(told)
    found = re.search(r"Requests/sec:\s+([\d.]+)", told)
    assert found is not None, told
    return float(found[1])


def _mix(served: Served, users: int, seconds: int) -> tuple[dict[str, Any], dict[str, float]]:
    """The figures of the mix, and the processor seconds that each kind of process took."""
    before = _processor_s(served)
    told = subprocess.run(
        [
            *(sys.executable, "-m", "locust", "-f", str(LOCUSTFILE), "--headless", "--json"),
            *("--host", served.address, "-u", str(users), "-r", str(users)),
            *("-t", f"{seconds}s", "--loglevel", "ERROR"),
        ],
        capture_output=True,
        text=True,
        env={**os.environ, "OMIUM_API_KEY": served.api_key},
        check=False,
    )
    if not told.stdout.strip():
        raise RuntimeError(told.stderr[-2_000:])
    stats = json.loads(told.stdout)
    times: dict[int, int] = {}
    for stat in stats:
        for took_ms, count in stat["response_times"].items():
            times[int(float(took_ms))] = times.get(int(float(took_ms)), 0) + count
    requests = sum(stat["num_requests"] for stat in stats)
    lasted_s = max(s["last_request_timestamp"] for s in stats) - min(s["start_time"] for s in stats)
    after = _processor_s(served)
    busiest = {kind: round(s - before.get(kind, 0), 1) for kind, s in after.items()}
    top = dict(sorted(busiest.items(), key=lambda item: -item[1])[:6])
    return {
        "mix_rps": round(requests / lasted_s),
        "mix_p50_ms": _percentile(times, 0.5),
        "mix_p95_ms": _percentile(times, 0.95),
        "mix_p99_ms": _percentile(times, 0.99),
        "errors": sum(stat["num_failures"] for stat in stats),
    }, top


def _percentile(counts: dict[int, int], share: float) -> int:
    wanted = share * sum(counts.values())
    seen = 0
    for took_ms, count in sorted(counts.items()):
        seen += count
        if seen >= wanted:
            return took_ms
    return 0


def _processor_s(served: Served) -> dict[str, float]:
    """Processor seconds so far of the service's processes, by what they are."""
    used: dict[str, float] = {}
    for process in psutil.Process(served.process.pid).children(recursive=True):
        try:
            name = process.cmdline()[0].rpartition("/")[2].split()[0]
            times = process.cpu_times()
        except (psutil.Error, IndexError):
            continue  # it has ended meanwhile
        used[name] = used.get(name, 0) + times.user + times.system
    return used


@contextmanager
def _noop() -> Iterator[str]:
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.noop_app"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    try:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith(b"http"):
                yield line.decode().strip()
                return
        raise RuntimeError("the no-op application did not start")
    finally:
        process.communicate()
