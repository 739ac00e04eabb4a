"""The tool of the crash benchmark: it writes down that it ran."""

from __future__ import annotations

import json
import os
import time

from omium import effect_key


def record(figure: int) -> dict[str, int]:
    """Record a figure."""
    line = json.dumps({"effect_key": effect_key(), "time_ms": time.time_ns() // 1_000_000})
    log = os.open(os.environ["OMIUM_BENCH_TOOL_LOG"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(log, line.encode() + b"\n")
    finally:
        os.close(log)
    return {"recorded": figure}
