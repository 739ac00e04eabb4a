"""Putting a runtime together: Ray, coordinator, gateway and workers."""

from __future__ import annotations

import os

# Ray reads these when it is imported, which the modules of this room do.
for _name, _value in {
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DEDUP_LOGS": "0",
    # Else Ray takes SIGTERM from the driver, and aborts it three seconds after one. What it
    # would print about a crash of native code, Python's own fault handler still does.
    "RAY_DISABLE_FAILURE_SIGNAL_HANDLER": "1",
}.items():
    os.environ.setdefault(_name, _value)
