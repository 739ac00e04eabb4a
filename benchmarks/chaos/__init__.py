"""A real group under faults: one every ten seconds, while clients and executions go on.

Three Ray nodes, each on a host of its own (a network namespace on this machine), a coordinator on
each, and `omium up` that has joined them. Processes are killed and stopped, hosts are cut off,
whole or one way, nodes are lost, disks are full, lost or damaged. Afterwards every execution must
have finished, nothing that was acknowledged may be missing, no completed call may have been made
again, every handoff must have been accepted once, and what clients saw of records must be the
story of single objects.

Without root or namespaces, or with --one-host, it runs on one Ray node. Then the streams between
the coordinators, and nothing else, go through proxies that are cut; no node is lost, and no disk is
full where none can be mounted. A seat behind a proxy is taken for silent, not for dead, when it was
killed: the next leader is found by a time-out.

    python -m benchmarks chaos --minutes 10
    python -m benchmarks chaos --minutes 1 --only cut_leader --only kill_gateway
    python -m benchmarks chaos --one-host --each kill_leader --each cut_leader

``plan`` decides what goes wrong and ``striking`` when, ``faults`` does it to the processes of
``cluster`` on the ``hosts`` (``network``, or ``proxies``) and to the ``disks``, ``load`` and
``registers`` are the clients, ``count`` and ``memory`` what is made of it; ``trial`` is one run.
"""

from __future__ import annotations

import argparse
import json
import signal
from pathlib import Path
from types import FrameType

from benchmarks.chaos import network
from benchmarks.chaos.cluster import COORDINATORS
from benchmarks.chaos.disks import folder
from benchmarks.chaos.hosts import Alone, Hosts
from benchmarks.chaos.plan import KINDS
from benchmarks.chaos.striking import by_plan, in_order
from benchmarks.chaos.trial import run

__all__ = ["main"]


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(
        prog="benchmarks chaos",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--minutes", type=float, default=10.0, help="for how long things go wrong")
    parser.add_argument("--seed", type=int, default=1, help="what goes wrong, and in which order")
    parser.add_argument("--only", action="append", choices=KINDS, default=[], help="kinds of fault")
    parser.add_argument(
        "--each",
        action="append",
        choices=KINDS,
        default=[],
        help="in place of a plan: these in this order, each when all is well again after the last",
    )
    parser.add_argument("--one-host", action="store_true", help="one Ray node, without namespaces")
    parser.add_argument("--keep", action="store_true", help="keep the data and logs for a look")
    options = parser.parse_args(argv)
    strike = by_plan(options.seed, options.minutes, options.only)
    if options.each:
        strike = in_order(options.each)
    # Whoever ends this politely lets it clean up.
    before = signal.signal(signal.SIGTERM, _interrupted)
    try:
        with folder(keep=options.keep) as own:
            hosts = _hosts(own / "ways", one=options.one_host)
            figures = run(own, hosts, options.seed, strike)
        print(json.dumps(figures))
    finally:
        signal.signal(signal.SIGTERM, before)


def _interrupted(number: int, _: FrameType | None) -> None:
    raise SystemExit(128 + number)


def _hosts(ways: Path, *, one: bool) -> Hosts:
    reason = "as asked for" if one else network.missing()
    if reason is None:
        return network.Network(COORDINATORS)
    print(
        f"no network namespaces ({reason}): one Ray node, proxies are cut, and no node is lost",
        flush=True,
    )
    return Alone(ways)
