"""SIGKILL of everything, at every kind of journal point, and what became of the executions.

Each execution is some agents of a real framework on a real Ray, with a scripted provider in a
process of its own that counts the calls which reach it. Each framework has something in a row, in
a loop and side by side, plain and streaming; mixed is all three, with an agent that sends an
earlier one back once. ``crash_shapes`` says which agent is what. Faults are injected at exact
points: before a commit, or after it and before anybody is told. After the death of the driver or of
the whole Ray node, a new driver resumes from the data directory.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from benchmarks import crash_script
from benchmarks.crash_count import count_calls, count_lost
from benchmarks.crash_shapes import PLACES, SENDS_BACK, WORKFLOWS, shape_of, shapes_of
from benchmarks.machine import describe, percentile
from omium.execution.events import CallIntended, Entry, to_json
from omium.storage.journal import Journal
from omium.storage.replica import FILE_NAME
from omium.testing.call_log import read_calls

POINTS = (
    "attempt.started",
    "step.started",
    "call.intended",
    "call.completed",
    "step.completed",
    "agent.completed",
)
SENT_BACK = "round.started"
RESTART_MS = 10_000
"""How long Ray may take to start a coordinator or a gateway again."""

DRIVER_TIMEOUT_S = 240
STARTS_MAX = 12
SCRIPT = {"rules": [{"answer": {"auto": True, "delay_s": 0.05}}]}
SCRIPTS = {"autogen": crash_script.TEAMS, "crewai": crash_script.CREWS}
"""What the provider answers instead, by framework."""


@dataclass(frozen=True)
class Fault:
    """Whom to kill, ``when`` (before or after) the event of the agent at ``place`` commits."""

    event: str
    when: str
    target: str
    place: str


@dataclass
class Tally:
    """What the benchmark counts; calls as ``crash_count.CallTally`` has them. ``shapes`` says how
    often each shape of agent was hit."""

    shapes: dict[str, int]
    kills: int = 0
    executions: int = 0
    completed: int = 0
    repeated_calls: int = 0
    in_flight_retried: int = 0
    sent_retried: int = 0
    lost_acks: int = 0
    resume_ms: dict[str, list[float]] = field(default_factory=dict[str, list[float]])
    problems: list[str] = field(default_factory=list[str])


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="benchmarks crash", description=__doc__)
    parser.add_argument("--kills", type=int, default=40, help="how many processes to kill")
    parser.add_argument("--framework", choices=WORKFLOWS, default="crewai")
    parser.add_argument("--spare", type=int, default=3, help="warm workers kept ready")
    parser.add_argument("--keep", action="store_true", help="keep the data for a look")
    options = parser.parse_args(argv)
    folder = Path(tempfile.mkdtemp(prefix="omium-crash-"))
    tally = Tally(shapes=dict.fromkeys(shapes_of(options.framework), 0))
    plans = list(_plans(options.kills, options.framework))
    for number, faults in enumerate(plans):
        _execution(folder / str(number), options.framework, number, faults, options.spare, tally)
        print(
            f"execution {number + 1} of {len(plans)}: {tally.kills} kills so far, "
            f"{tally.completed} completed",
            flush=True,
        )
    if options.keep:
        print(f"kept in {folder}")
    else:
        shutil.rmtree(folder)
    workers = tally.resume_ms.get("worker", [])
    figures: dict[str, Any] = {
        "benchmark": "crash",
        "framework": options.framework,
        **describe(),
        "kills": tally.kills,
        "executions": tally.executions,
        "completed": tally.completed,
        "repeated_calls": tally.repeated_calls,
        "in_flight_retried": tally.in_flight_retried,
        "sent_retried": tally.sent_retried,
        "lost_acks": tally.lost_acks,
        "shapes": tally.shapes,
        "resume_ms_p50": round(percentile(workers, 0.5)) if workers else None,
        "resume_ms_p99": round(percentile(workers, 0.99)) if workers else None,
        "resume_ms_by_target": {
            target: {
                "kills": len(values),
                "p50": round(percentile(values, 0.5)),
                "p99": round(percentile(values, 0.99)),
            }
            for target, values in sorted(tally.resume_ms.items())
        },
    }
    for problem in tally.problems:
        print(problem)
    for shape, kills in tally.shapes.items():
        print(f"{shape}: {kills} kills")
    print(json.dumps(figures))


def _early(points: Iterator[tuple[str, str]], later: list[tuple[str, str]]) -> tuple[str, str]:
    """The next point after which its agent goes on, so that it can be hit once more. The others
    are kept for ``later`` places."""
    for point in points:
        if point[0] != "agent.completed":
            return point
        later.append(point)
    raise AssertionError("points go round for ever")


def _plans(kills: int, framework: str) -> Iterator[list[Fault]]:
    """What to kill in each execution, in order.

    Points and targets are drawn so that all pairs come up in turn. A kill that ends the
    driver comes last in its execution, since each costs a new start of Ray.
    """
    places, sends_back = PLACES[framework], SENDS_BACK.get(framework, "")
    points = itertools.cycle(itertools.product(POINTS, ("after", "before")))
    cheap = itertools.cycle(("worker", "coordinator", "worker", "gateway"))
    dear = itertools.cycle(("driver", "node"))
    sent_back = itertools.cycle((True, False))
    kept: list[tuple[str, str]] = []
    left = kills
    while left > 0:
        size = min(len(places), left)
        targets = [next(cheap) for _ in range(size - 1)] + [next(dear)]
        plan: list[Fault] = []
        for place, target in enumerate(targets):
            if places[place] in places[place + 1 :]:
                event, when = _early(points, kept)
            else:
                event, when = kept.pop(0) if kept else next(points)
            plan.append(Fault(event, when, target, places[place]))
        hands_back = places.index(sends_back) if sends_back else size
        if hands_back < size and next(sent_back):
            # No worker is at work then, and a gateway would not be missed.
            fault = plan[hands_back]
            target = fault.target if fault.target in ("driver", "node") else "coordinator"
            plan[hands_back] = replace(fault, event=SENT_BACK, target=target)
        elif len(plan) > 1 and plan[0].target == "gateway" and plan[1].event == "attempt.started":
            # An attempt outlives its gateway, so no other one would start here.
            plan[0], plan[1] = replace(plan[1], place=places[0]), replace(plan[0], place=places[1])
        yield plan
        left -= size


def _execution(
    folder: Path,
    framework: str,
    number: int,
    plan: list[Fault],
    spare: int,
    tally: Tally,
) -> None:
    """Run one execution to its end through all its faults, and count."""
    folder.mkdir(parents=True)
    faults = [
        {
            "event": fault.event,
            "when": fault.when,
            "target": fault.target,
            "agent": fault.place,
            "marker": str(folder / f"fault{i}"),
        }
        for i, fault in enumerate(plan)
    ]
    printed: list[dict[str, Any]] = []
    with _provider(folder, SCRIPTS.get(framework, SCRIPT)) as base_url:
        environment = {
            **os.environ,
            "OMIUM_DATA_DIR": str(folder / "data"),
            "OMIUM_FAULTS": json.dumps(faults),
            "OMIUM_POOL__SPARE": str(spare),
            "OMIUM_BENCH_TOOL_LOG": str(folder / "tools.jsonl"),
            "OPENAI_BASE_URL": base_url,
            "OPENAI_API_KEY": "scripted",
        }
        for start in range(STARTS_MAX):
            printed += _drive(folder, (framework, str(number)), start, environment)
            if printed and printed[-1]["type"] == "result":
                break
    _count(folder, framework, number, plan, printed, tally)


def _drive(
    folder: Path, arguments: tuple[str, str], start: int, environment: dict[str, str]
) -> list[dict[str, Any]]:
    """One life of the driver, called with those arguments; the lines that it printed."""
    with (folder / f"driver{start}.err").open("wb") as errors:
        process = subprocess.run(
            [sys.executable, "-m", "benchmarks.crash_driver", *arguments],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=errors,
            timeout=DRIVER_TIMEOUT_S,
            check=False,
        )
    lines = process.stdout.decode().splitlines()
    return [json.loads(line) for line in lines if line.startswith("{")]


@contextmanager
def _provider(folder: Path, answers: dict[str, Any]) -> Iterator[str]:
    """The scripted provider in a process of its own; its base URL."""
    script = folder / "script.json"
    script.write_text(json.dumps(answers))
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "omium.testing.scripted", "--script", str(script)),
            *("--port", "0", "--log", str(folder / "calls.jsonl")),
        ],
        stdout=subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        yield process.stdout.readline().decode().strip()
    finally:
        process.terminate()
        process.wait(timeout=10)


def _count(
    folder: Path,
    framework: str,
    execution: int,
    plan: list[Fault],
    printed: list[dict[str, Any]],
    tally: Tally,
) -> None:
    journal = Journal.open(folder / "data" / FILE_NAME)
    rows = journal.executions()
    entries = list(journal.all_entries(rows[0].id))
    journal.close()
    tally.executions += 1
    tally.completed += rows[0].status == "completed" and len(rows) == 1
    if rows[0].status != "completed":
        tally.problems.append(f"{folder}: {rows[0].status} {rows[0].detail}")
    # What a driver was told must be in the journal, as it was told.
    told = [line for line in printed if line["type"] != "result"]
    tally.lost_acks += count_lost(map(to_json, entries), told)
    for number, fault in enumerate(plan):
        target = fault.target
        marker = folder / f"fault{number}"
        if not marker.exists():
            tally.problems.append(f"{folder}: no {target} was killed {fault.when} {fault.event}")
            continue
        tally.kills += 1
        tally.shapes[shape_of(framework, fault.place, execution)] += 1
        following = folder / f"fault{number + 1}"
        before_ms = _killed(following)[0] if following.exists() else None
        killed_ms, warm = _killed(marker)
        resumed_ms = _next_call_ms(entries, killed_ms, before_ms)
        if resumed_ms is not None:
            name = target if _alone(folder, plan, number) else f"{target}, soon after another part"
            if target == "worker" and not warm:
                name = "worker, no warm one left"
            tally.resume_ms.setdefault(name, []).append(resumed_ms)
    gateway_killed_ms = [
        _killed(folder / f"fault{number}")[0]
        for number, fault in enumerate(plan)
        if fault.target == "gateway" and (folder / f"fault{number}").exists()
    ]
    tools = folder / "tools.jsonl"
    runs = len(tools.read_text().splitlines()) if tools.exists() else 0
    calls = count_calls(entries, read_calls(folder / "calls.jsonl"), runs, gateway_killed_ms)
    tally.repeated_calls += calls.repeated
    tally.in_flight_retried += calls.in_flight_retried
    tally.sent_retried += calls.sent_retried
    tally.problems += [f"{folder}: {problem}" for problem in calls.problems]


def _killed(marker: Path) -> tuple[int, int]:
    """When a process was killed (milliseconds since 1970), and how many warm workers there were."""
    at_ms, warm = marker.read_text().split()
    return int(at_ms), int(warm)


def _alone(folder: Path, plan: list[Fault], number: int) -> bool:
    """Whether everything else was up at a kill: nothing but a worker was killed shortly before."""
    killed_ms = _killed(folder / f"fault{number}")[0]
    others = (
        folder / f"fault{earlier}" for earlier in range(number) if plan[earlier].target != "worker"
    )
    return all(killed_ms - _killed(marker)[0] >= RESTART_MS for marker in others if marker.exists())


def _next_call_ms(entries: list[Entry], killed_ms: int, before_ms: int | None) -> float | None:
    """Milliseconds from a kill to the next call that an attempt began; None when none was left
    to make, or when the next kill came first."""
    for entry in entries:
        if entry.at_ms > killed_ms and isinstance(entry.event, CallIntended):
            if before_ms is not None and entry.at_ms > before_ms:
                return None
            return entry.at_ms - killed_ms
    return None
