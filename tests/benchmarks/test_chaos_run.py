"""A short run of the chaos benchmark: three coordinators on a real Ray, under a load, whose leader
is killed, stopped, and cut off, the second time as it wakes, and one of whose disks is full."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

pytestmark = [pytest.mark.ray, pytest.mark.timeout(600)]

ROOT = Path(__file__).parents[2]
FAULTS = ("kill_leader", "leader_wakes_cut_off", "fill_follower", "cut_leader")
LIMIT_S = 540.0


@dataclass(frozen=True, kw_only=True)
class Ran:
    """What the benchmark said, and its process, which has ended."""

    lines: list[str]
    pid: int

    @property
    def figures(self) -> dict[str, Any]:
        return json.loads(self.lines[-1])

    @property
    def undiskable(self) -> str:
        """Why no disk could be filled; empty where one could."""
        return next((line for line in self.lines if line.startswith("no disks")), "")


@pytest.fixture(scope="module")
def ran() -> Iterator[Ran]:
    faults = [word for kind in FAULTS for word in ("--each", kind)]
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks", "chaos", "--one-host", *faults],
        cwd=ROOT,
        env={k: v for k, v in os.environ.items() if not k.startswith(("OMIUM_", "RAY_"))},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        said, _ = process.communicate(timeout=LIMIT_S)
    finally:
        # It cleans up when it is ended politely.
        process.send_signal(signal.SIGTERM)
        process.wait()
    assert process.returncode == 0, said
    yield Ran(lines=said.splitlines(), pid=process.pid)


def test_a_leader_was_killed_stopped_and_cut_off_and_the_group_was_whole_again(ran: Ran) -> None:
    expected = {kind: 1 for kind in FAULTS if not (kind == "fill_follower" and ran.undiskable)}
    assert ran.figures["faults"] == expected
    assert ran.figures["whole_again_s"] is not None


def test_a_disk_was_full(ran: Ran) -> None:
    if ran.undiskable:
        pytest.skip(ran.undiskable)
    assert ran.figures["faults"]["fill_follower"] == 1


def test_what_was_acknowledged_is_there_and_the_story_of_single_records(ran: Ran) -> None:
    figures = ran.figures
    assert figures["operations"] > 100
    assert (figures["linearizable"], figures["lost_acks"], figures["problems"]) == ("ok", 0, 0), (
        ran.lines
    )


def test_every_execution_finished_and_no_completed_call_was_made_again(ran: Ran) -> None:
    figures = ran.figures
    # One at least between any two faults.
    assert figures["executions"] >= len(FAULTS)
    assert figures["finished"] == figures["executions"], ran.lines
    assert figures["completed"] == figures["on_disk"]
    assert figures["repeated_calls"] == 0


def test_every_handoff_was_accepted_exactly_once(ran: Ran) -> None:
    figures = ran.figures
    assert figures["handoffs"] > 0
    wrong = ("handoffs_lost", "handoffs_duplicated", "handoffs_in_conflict")
    assert [figures[name] for name in wrong] == [0, 0, 0], ran.lines


def test_nothing_is_left_of_it(ran: Ran) -> None:
    own = f"omc-{ran.pid}-"
    assert not [*Path(tempfile.gettempdir()).glob(f"{own}*")]
    assert own not in Path("/proc/mounts").read_text()
    assert not [
        one.info["cmdline"]
        for one in psutil.process_iter(["cmdline"])
        if any(own in word for word in one.info["cmdline"] or ())
    ]
