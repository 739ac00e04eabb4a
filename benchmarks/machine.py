"""What a figure was measured on: printed with every result."""

from __future__ import annotations

import os
import platform
import tempfile
import time
from importlib.metadata import version
from pathlib import Path


def describe() -> dict[str, object]:
    """The machine, the versions and the load."""
    return {
        "cores": os.cpu_count(),
        "machine": platform.machine(),
        "python": platform.python_version(),
        "ray": version("ray"),
        "omium": version("omium"),
        "load_1m": round(os.getloadavg()[0], 2),
    }


def usable_cores() -> int:
    """The cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def percentile(values: list[float], part: float) -> float:
    """The value below which ``part`` (0 to 1) of ``values`` lie, nearest rank."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))]


def fdatasync_ms(folder: Path, *, rounds: int = 500, size: int = 256) -> list[float]:
    """Milliseconds of one append of ``size`` bytes and its fdatasync: the floor of durability."""
    taken: list[float] = []
    with tempfile.TemporaryFile(dir=folder) as file:
        descriptor = file.fileno()
        for _ in range(rounds):
            started = time.perf_counter()
            os.write(descriptor, b"x" * size)
            os.fdatasync(descriptor)
            taken.append((time.perf_counter() - started) * 1000)
    return taken
