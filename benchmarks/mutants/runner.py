"""Tries one mutant, in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.mutants.plant import CAUGHT, MISSED, Mutant

TIMEOUT_S = 120.0
ROOT = Path(__file__).parents[2]


class NotTried(Exception):
    """A mutant could not be tried, so nothing is known about it."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What became of a mutant. ``output`` is what the last catcher printed."""

    caught: bool
    catcher: str
    seconds: float
    output: str


def run(mutant: Mutant) -> Verdict:
    """Try what has to notice, one after the other, until one does. Raises ``NotTried``."""
    started = time.perf_counter()
    output, catcher = "", ""
    for catcher in mutant.caught_by:
        code, output = tried(mutant.name, catcher)
        if code not in (CAUGHT, MISSED):
            raise NotTried(f"{mutant.name}, {catcher}: exit code {code}\n{output}")
        if code == CAUGHT:
            seconds = time.perf_counter() - started
            return Verdict(caught=True, catcher=catcher, seconds=seconds, output=output)
    seconds = time.perf_counter() - started
    return Verdict(caught=False, catcher=catcher, seconds=seconds, output=output)


def tried(name: str, catcher: str) -> tuple[int, str]:
    """The exit code and the output of ``child`` for the mutant ``name``; none where it is empty.

    Who runs longer than ``TIMEOUT_S`` is caught: no test runs for ever.
    """
    command = [sys.executable, "-m", "benchmarks.mutants.child", name, catcher]
    try:
        ended = subprocess.run(
            command,
            cwd=ROOT,
            check=False,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=TIMEOUT_S,
            # Other plugins take longer to load than most of these tests to run.
            env={**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        )
    except subprocess.TimeoutExpired:
        return CAUGHT, f"it did not end within {TIMEOUT_S:.0f} s"
    return ended.returncode, ended.stdout
