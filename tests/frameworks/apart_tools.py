"""Tools that note in a file in which process they ran. Imports nothing of AutoGen."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from omium.frameworks.effect import effect_key


def booked(file: str) -> str:
    """Note the process, and the effect key."""
    with Path(file).open("a") as notes:
        notes.write(f"{os.getpid()} {effect_key()}\n")
    return "booked"


def deadly(file: str) -> str:
    """Kill the process that it runs in, the first time."""
    marker = Path(f"{file}.dead")
    if not marker.exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return "alive"
