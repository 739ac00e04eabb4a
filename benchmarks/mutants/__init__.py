"""Planted bugs, each switched on in turn: does the suite see it?

    python -m benchmarks mutants                     all of them, as a table
    python -m benchmarks mutants vote_not_persisted  some of them

``catalogue`` says what is broken and what has to notice, from ``consensus``, ``writes``,
``execution`` and ``handoffs``; ``plant`` breaks it in a process of its own, ``child`` runs what has
to notice there. The product has no branches for this.
"""

from __future__ import annotations

import argparse
import sys
from concurrent.futures import ThreadPoolExecutor

from benchmarks.machine import usable_cores
from benchmarks.mutants.catalogue import MUTANTS, by_name
from benchmarks.mutants.runner import Verdict, run

__all__ = ["main"]


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="benchmarks mutants", description=__doc__)
    parser.add_argument("names", nargs="*", help="of mutants; all where none is given")
    parser.add_argument("--processes", type=int, default=usable_cores())
    options = parser.parse_args(argv)
    chosen = [by_name(name) for name in options.names] or list(MUTANTS)
    width = max(len(mutant.name) for mutant in chosen)
    print(f"{'mutant':{width}}  {'verdict':8}  {'s':>5}  caught by")
    verdicts: list[Verdict] = []
    with ThreadPoolExecutor(options.processes) as pool:
        for mutant, verdict in zip(chosen, pool.map(run, chosen), strict=True):
            verdicts.append(verdict)
            word = "caught" if verdict.caught else "MISSED"
            line = f"{mutant.name:{width}}  {word:8}  {verdict.seconds:5.1f}  {verdict.catcher}"
            print(line, flush=True)
            if not verdict.caught:
                print(verdict.output)
    missed = sum(not verdict.caught for verdict in verdicts)
    print(f"{len(verdicts) - missed} of {len(verdicts)} caught")
    if missed:
        sys.exit(1)
