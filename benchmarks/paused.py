"""Executions that wait for a person, over the death of everything.

One agent of each framework asks a person in that framework's own way and is paused; nobody works on
anything then. Driver, coordinator, gateway, workers and all of Ray are killed. A new runtime on the
same data directory answers, and each agent goes on. Printed is how long that takes with a warm
worker, and whether the model was asked anything twice.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from benchmarks.machine import describe
from benchmarks.paused_agents import ANSWERS
from omium.testing.scripted import Answer, Rule, ScriptedProvider

LIFE_S = 300.0


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """``resumed_ms`` and ``status`` by framework; how many processes were ``killed`` while all were
    paused; how many calls reached the model, and how many of them were ``repeated``."""

    resumed_ms: dict[str, int]
    status: dict[str, str]
    killed: int
    calls: int
    repeated: int


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="benchmarks paused", description=__doc__)
    parser.add_argument("--times", type=int, default=3, help="restarts of everything")
    options = parser.parse_args(argv)
    outcomes: list[Outcome] = []
    for number in range(options.times):
        with tempfile.TemporaryDirectory(prefix="omium-paused-") as folder:
            outcomes.append(run(Path(folder), list(ANSWERS)))
        print(f"restart {number + 1} of {options.times}: {outcomes[-1].resumed_ms}", flush=True)
    figures: dict[str, Any] = {
        "benchmark": "paused",
        **describe(),
        "restarts": len(outcomes),
        "completed": sum(
            status == "completed" for one in outcomes for status in one.status.values()
        ),
        "calls": sum(one.calls for one in outcomes),
        "repeated_calls": sum(one.repeated for one in outcomes),
        "resumed_ms": {name: sorted(one.resumed_ms[name] for one in outcomes) for name in ANSWERS},
        "resumed_ms_max": max(ms for one in outcomes for ms in one.resumed_ms.values()),
    }
    print(json.dumps(figures))


def run(folder: Path, frameworks: Sequence[str]) -> Outcome:
    """Pause one execution of each framework, kill everything, and let another runtime go on."""
    with ScriptedProvider([Rule(answer=Answer(content="A draft."))]) as provider:
        environment = {
            **os.environ,
            "OMIUM_DATA_DIR": str(folder / "data"),
            "OPENAI_BASE_URL": provider.base_url,
            "OPENAI_API_KEY": "scripted",
        }
        with _life("begin", frameworks, environment) as driver:
            assert driver.stdout is not None
            _line(driver.stdout, "paused")
            killed = _kill_all(driver)
        asked = len(provider.calls)
        resumed: list[dict[str, Any]] = []
        with _life("resume", frameworks, environment) as driver:
            assert driver.stdout is not None
            resumed = [_line(driver.stdout, "resumed") for _ in frameworks]
            driver.wait(LIFE_S)
        calls = provider.calls
    told = {str(call.body["messages"]) for call in calls[:asked]}
    return Outcome(
        resumed_ms={one["framework"]: one["ms"] for one in resumed},
        status={one["framework"]: one["status"] for one in resumed},
        killed=killed,
        calls=len(calls),
        repeated=sum(str(call.body["messages"]) in told for call in calls[asked:]),
    )


@contextmanager
def _life(
    what: str, frameworks: Sequence[str], environment: dict[str, str]
) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.paused_driver", what, *frameworks],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    with process:
        try:
            yield process
        finally:
            if process.poll() is None:
                _kill_all(process)


def _line(lines: Iterable[str], kind: str) -> dict[str, Any]:
    """The next line of that type. Raises ``RuntimeError`` when the driver has ended."""
    for line in lines:
        if line.startswith("{") and json.loads(line)["type"] == kind:
            return json.loads(line)
    raise RuntimeError(f"the driver ended without a line of type {kind!r}")


def _kill_all(driver: subprocess.Popen[str]) -> int:
    """SIGKILL of a driver and of all that it has started. How many there were."""
    root = psutil.Process(driver.pid)
    victims = [root, *root.children(recursive=True)]
    for victim in victims:
        with suppress(psutil.NoSuchProcess):
            victim.kill()
    psutil.wait_procs(victims[1:], timeout=30)
    return len(victims)
