"""Runs what has to notice a bug, with the bug planted: ``python -m benchmarks.mutants.child``.

Exits with ``CAUGHT`` or ``MISSED``, or with anything else where it could not be tried.
"""

from __future__ import annotations

import sys

from benchmarks.mutants.catalogue import by_name
from benchmarks.mutants.plant import CAUGHT, MISSED, plant

SIM = "sim"
SEEDS_MAX = 400
PLUGINS = [
    option
    for name in (
        "pytest_asyncio.plugin",
        "pytest_timeout",
        "_hypothesis_pytestplugin",
        "xdist.plugin",
    )
    for option in ("-p", name)
]


def main(name: str, catcher: str) -> int:
    if name:
        plant(by_name(name))
    return _simulate() if catcher == SIM else _test(catcher)


def _simulate() -> int:
    from omium.testing.sim import SimulationFailed, simulate

    for seed in range(SEEDS_MAX):
        try:
            simulate(seed)
        except SimulationFailed as failed:
            print(failed)
            return CAUGHT
    return MISSED


def _test(node: str) -> int:
    import pytest

    code = pytest.main(["-q", "-x", "-p", "no:cacheprovider", *PLUGINS, node])
    verdicts = {pytest.ExitCode.OK: MISSED, pytest.ExitCode.TESTS_FAILED: CAUGHT}
    return verdicts.get(pytest.ExitCode(code), 1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2]))
