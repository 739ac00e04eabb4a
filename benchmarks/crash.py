"""SIGKILL of everything, at every kind of journal point, and what became of the executions.

Each execution is some agents of a real framework on a real Ray, with a scripted provider in a
process of its own that counts the calls which reach it. Each framework has something in a row, in
a loop and side by side, plain and streaming: CrewAI a crew in a row or, in every second execution,
a flow with a loop, then async tasks, then a manager who gives two coworkers work at once;
LangGraph three graphs; AutoGen a team that takes turns, an agent with a tool, and a team that is
in every second execution a graph with two branches. Mixed is all three, the third agent sending
the second back once. Faults are injected at exact points:
before a commit, or after it and before anybody is told. After the death of the driver or of
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
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from benchmarks import agents_autogen, crash_script
from benchmarks.crash_driver import WORKFLOWS
from benchmarks.machine import describe, percentile
from omium.execution.events import (
    CallCompleted,
    CallFailed,
    CallIntended,
    Entry,
    StepCompleted,
    to_json,
)
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
# One kill in each step or so, that the next one may find the execution at work again.
PLACES = ("first", "first", "second", "third")
# The second agent is hit in its second round as well, and the third where it sends it back.
PLACES_MIXED = ("first", "second", "third", "second", "fourth")
SENT_BACK = "round.started"
RESTART_MS = 10_000
"""How long Ray may take to start a coordinator or a gateway again."""

DRIVER_TIMEOUT_S = 240
STARTS_MAX = 12
SCRIPT = {"rules": [{"answer": {"auto": True, "delay_s": 0.05}}]}
SCRIPTS = {"autogen": agents_autogen.SCRIPT, "crewai": crash_script.CREWS}
"""What the provider answers instead, by framework."""

TAKE_THE_GATEWAY = ("gateway", "driver", "node")
"""Targets with which a gateway dies, and what it had sent."""


@dataclass(frozen=True)
class Fault:
    """Whom to kill, ``when`` (before or after) the event of the agent at ``place`` commits."""

    event: str
    when: str
    target: str
    place: str


@dataclass
class Tally:
    """What the benchmark counts. ``in_flight_retried`` are calls that were under way when their
    gateway, coordinator or node died: started, and on no record as answered. ``sent_retried`` are
    LLM calls among them that a gateway had sent and that was alive all the while."""

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
    parser.add_argument("--framework", choices=sorted(WORKFLOWS), default="crewai")
    parser.add_argument("--spare", type=int, default=3, help="warm workers kept ready")
    parser.add_argument("--keep", action="store_true", help="keep the data for a look")
    options = parser.parse_args(argv)
    folder = Path(tempfile.mkdtemp(prefix="omium-crash-"))
    tally = Tally()
    places = PLACES_MIXED if options.framework == "mixed" else PLACES
    plans = list(_plans(options.kills, places))
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
    print(json.dumps(figures))


def _early(points: Iterator[tuple[str, str]], later: list[tuple[str, str]]) -> tuple[str, str]:
    """The next point after which its agent goes on, so that it can be hit once more. The others
    are kept for ``later`` places."""
    for point in points:
        if point[0] != "agent.completed":
            return point
        later.append(point)
    raise AssertionError("points go round for ever")


def _plans(kills: int, places: tuple[str, ...]) -> Iterator[list[Fault]]:
    """What to kill in each execution, in order.

    Points and targets are drawn so that all pairs come up in turn. A kill that ends the
    driver comes last in its execution, since each costs a new start of Ray.
    """
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
        if places is PLACES_MIXED and len(plan) > 2 and next(sent_back):
            # No worker is at work then, and a gateway would not be missed.
            target = plan[2].target if plan[2].target in ("driver", "node") else "coordinator"
            plan[2] = Fault(SENT_BACK, plan[2].when, target, places[2])
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
    _count(folder, plan, printed, tally)


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


def _count(folder: Path, plan: list[Fault], printed: list[dict[str, Any]], tally: Tally) -> None:
    journal = Journal.open(folder / "data" / FILE_NAME)
    rows = journal.executions()
    entries = list(journal.all_entries(rows[0].id))
    journal.close()
    tally.executions += 1
    tally.completed += rows[0].status == "completed" and len(rows) == 1
    if rows[0].status != "completed":
        tally.problems.append(f"{folder}: {rows[0].status} {rows[0].detail}")
    # What a driver was told must be in the journal, as it was told.
    kept = {entry.index: json.loads(json.dumps(to_json(entry))) for entry in entries}
    told = [line for line in printed if line["type"] != "result"]
    tally.lost_acks += sum(kept.get(line["index"]) != line for line in told)
    for number, fault in enumerate(plan):
        target = fault.target
        marker = folder / f"fault{number}"
        if not marker.exists():
            tally.problems.append(f"{folder}: no {target} was killed {fault.when} {fault.event}")
            continue
        tally.kills += 1
        following = folder / f"fault{number + 1}"
        before_ms = _killed(following)[0] if following.exists() else None
        killed_ms, warm = _killed(marker)
        resumed_ms = _next_call_ms(entries, killed_ms, before_ms)
        if resumed_ms is not None:
            name = target if _alone(folder, plan, number) else f"{target}, soon after another part"
            if target == "worker" and not warm:
                name = "worker, no warm one left"
            tally.resume_ms.setdefault(name, []).append(resumed_ms)
    gone_ms = [
        _killed(folder / f"fault{number}")[0]
        for number, fault in enumerate(plan)
        if fault.target in TAKE_THE_GATEWAY and (folder / f"fault{number}").exists()
    ]
    _count_calls(folder, entries, gone_ms, tally)


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


def _count_calls(folder: Path, entries: list[Entry], gone_ms: list[int], tally: Tally) -> None:
    """Compare what reached the provider and the tool with what the journal holds.

    Every call that was made needs an intent of its own. More than one intent for the same call
    is a retry of one in flight, unless the call had been completed before: then it is repeated.
    ``gone_ms`` says when a gateway died, and what it had sent with it.
    """
    completed_keys: set[Any] = set()
    keys: dict[int, Any] = {}
    intents: Counter[str] = Counter()
    finished_steps: set[tuple[str, str]] = set()
    seen: dict[Any, int] = {}
    for entry in entries:
        match entry.event:
            case CallIntended() as event:
                key = (event.agent, event.key)
                keys[entry.index] = key
                intents[event.key.kind] += 1
                done = key in completed_keys or (event.agent, event.step) in finished_steps
                tally.repeated_calls += done
                retried = key in seen and not done
                tally.in_flight_retried += retried
                if retried and event.key.kind == "llm":
                    lost = any(seen[key] <= at_ms <= entry.at_ms for at_ms in gone_ms)
                    tally.sent_retried += not lost
                seen[key] = entry.at_ms
            case CallCompleted() as event:
                completed_keys.add(keys[event.call])
            case CallFailed() as event:
                tally.problems.append(f"{folder}: {event.failure.message}")
            case StepCompleted() as event:
                finished_steps.add((event.agent, event.step))
            case _:
                pass
    made = len(read_calls(folder / "calls.jsonl"))
    if made > intents["llm"]:
        tally.repeated_calls += made - intents["llm"]
        tally.problems.append(f"{folder}: {made} calls at the provider, {intents['llm']} intents")
    tools = folder / "tools.jsonl"
    runs = len(tools.read_text().splitlines()) if tools.exists() else 0
    if runs > intents["tool"]:
        tally.repeated_calls += runs - intents["tool"]
        tally.problems.append(f"{folder}: {runs} runs of the tool, {intents['tool']} intents")
