"""The simulator over many seeds, on all cores: a group of coordinators under faults.

    python -m benchmarks sim --seeds 100000          a night
    python -m benchmarks sim --seed 4711 --trace     one run, again, with all that happens

A seed that fails is printed with the command that runs it again; the exit code is 1 then. What
is simulated, and what must hold, is in docs/proof.md.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from typing import Any

from benchmarks.machine import describe, usable_cores
from omium.testing.sim import Report, SimulationFailed, simulate

CHUNK = 25
PROGRESS_S = 5.0
FAILURES_SHOWN = 20


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="benchmarks sim", description=__doc__)
    parser.add_argument("--seeds", type=int, default=2_000, help="how many")
    parser.add_argument("--first", type=int, default=0, help="the first of them")
    parser.add_argument("--seed", type=int, help="run this one alone")
    parser.add_argument("--trace", action="store_true", help="with --seed: print what happens")
    parser.add_argument("--processes", type=int, default=usable_cores())
    options = parser.parse_args(argv)
    if options.seed is not None:
        sys.exit(_one(options.seed, trace=options.trace))
    figures, failed = _many(options.first, options.seeds, options.processes)
    print(json.dumps(figures))
    if failed:
        sys.exit(1)


def _one(seed: int, *, trace: bool) -> int:
    def watch(at_us: int, label: str) -> None:
        print(f"{at_us:>12,} us  {label}")

    try:
        report = simulate(seed, watch=watch if trace else None)
    except SimulationFailed as failed:
        print(failed, file=sys.stderr)
        return 1
    print(
        json.dumps(
            {name: getattr(report, name) for name in Report.__dataclass_fields__}, default=dict
        )
    )
    return 0


def _chunk(first: int, count: int) -> tuple[list[Report], list[tuple[int, str]]]:
    reports: list[Report] = []
    failed: list[tuple[int, str]] = []
    for seed in range(first, first + count):
        try:
            reports.append(simulate(seed))
        except SimulationFailed as error:
            failed.append((seed, error.detail))
    return reports, failed


def _many(first: int, count: int, processes: int) -> tuple[dict[str, Any], int]:
    started = told = time.perf_counter()
    totals: Counter[str] = Counter()
    faults: Counter[str] = Counter()
    handoffs: Counter[str] = Counter()
    failed = 0
    last = first + count
    with ProcessPoolExecutor(processes) as pool:
        starts = range(first, last, CHUNK)
        sizes = (min(CHUNK, last - start) for start in starts)
        for reports, failures in pool.map(_chunk, starts, sizes):
            totals["seeds"] += len(reports) + len(failures)
            for report in reports:
                totals["events"] += report.events
                totals["requests"] += report.answered
                totals["entries"] += report.committed
                totals["terms"] += report.terms
                totals["simulated_s"] += report.simulated_us // 1_000_000
                faults += report.faults
                handoffs += report.handoffs
            for seed, detail in failures:
                failed += 1
                if failed <= FAILURES_SHOWN:
                    print(f"seed {seed}: {detail}", flush=True)
                    print(f"  python -m benchmarks sim --seed {seed} --trace", flush=True)
            if time.perf_counter() - told > PROGRESS_S:
                told = time.perf_counter()
                rate = totals["seeds"] / (told - started)
                print(
                    f"{totals['seeds']:,} of {count:,} seeds, {rate:,.0f} a second, "
                    f"{failed} failed",
                    file=sys.stderr,
                    flush=True,
                )
    taken_s = time.perf_counter() - started
    figures: dict[str, Any] = {
        "benchmark": "sim",
        **describe(),
        "processes": processes,
        "first": first,
        **totals,
        "failed": failed,
        "wall_s": round(taken_s, 1),
        "seeds_per_s": round(totals["seeds"] / taken_s, 1),
        "handoffs": dict(handoffs.most_common()),
        "faults": dict(faults.most_common()),
    }
    return figures, failed
