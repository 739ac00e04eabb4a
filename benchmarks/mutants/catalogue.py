"""The planted bugs, all of them: each list has a module of its own, and none is here.

A mutant's text must be in the product exactly once; ``tests/benchmarks`` sees to that without
running anything. Who changes such a line changes the mutant with it.
"""

from __future__ import annotations

from benchmarks.mutants.consensus import CONSENSUS
from benchmarks.mutants.execution import EXECUTION
from benchmarks.mutants.handoffs import HANDOFFS
from benchmarks.mutants.plant import Mutant
from benchmarks.mutants.writes import WRITES

MUTANTS: tuple[Mutant, ...] = (*CONSENSUS, *WRITES, *EXECUTION, *HANDOFFS)


def by_name(name: str) -> Mutant:
    """The mutant of that name. Raises KeyError."""
    return {mutant.name: mutant for mutant in MUTANTS}[name]
