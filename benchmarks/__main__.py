"""``python -m benchmarks SCENARIO [OPTIONS]``."""

from __future__ import annotations

import sys
from importlib import import_module

SCENARIOS = (
    "steps",
    "crash",
    "cancel",
    "paused",
    "failover",
    "handoffs",
    "loss",
    "chaos",
    "api",
    "outages",
    "streams",
    "savers",
    "sim",
    "mutants",
)


def main(argv: list[str]) -> int:
    name = argv[0] if argv else ""
    if name == "all":
        for scenario in SCENARIOS:
            import_module(f"benchmarks.{scenario}").main([])
        return 0
    if name not in SCENARIOS:
        print(
            f"usage: python -m benchmarks {{{','.join(SCENARIOS)},all}} [--help]", file=sys.stderr
        )
        return 2
    import_module(f"benchmarks.{name}").main(argv[1:])
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
