"""Every planted bug is seen by what is said to see it. See docs/proof.md."""

from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest

from benchmarks.mutants.catalogue import MUTANTS
from benchmarks.mutants.plant import MISSED, Mutant, PlantError, mutated
from benchmarks.mutants.runner import NotTried, run, tried

NAMES = [mutant.name for mutant in MUTANTS]


def source_of(mutant: Mutant) -> str:
    spec = find_spec(mutant.module)
    assert spec is not None and spec.origin is not None
    return Path(spec.origin).read_text(encoding="utf-8")


def test_there_are_enough_and_each_has_a_name_of_its_own() -> None:
    assert len(MUTANTS) >= 25
    assert len(set(NAMES)) == len(MUTANTS)


@pytest.mark.parametrize("mutant", MUTANTS, ids=NAMES)
def test_a_mutant_fits_the_product(mutant: Mutant) -> None:
    """Quick, so that who changes such a line hears of it before the mutant is run."""
    source = source_of(mutant)
    broken = mutated(mutant, source)
    assert broken != source
    compile(broken, mutant.module, "exec")


def test_a_mutant_that_fits_no_more_is_told() -> None:
    with pytest.raises(PlantError, match="0 times"):
        mutated(MUTANTS[0], "")


@pytest.mark.slow
def test_who_sees_a_bug_sees_none_where_there_is_none_and_must_be_there() -> None:
    """Else every mutant would be caught, whatever it does."""
    assert tried("", MUTANTS[0].caught_by[0])[0] == MISSED
    missing = replace(MUTANTS[0], caught_by=("tests/consensus/test_election.py::test_nothing",))
    with pytest.raises(NotTried):
        run(missing)


@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.parametrize("mutant", MUTANTS, ids=NAMES)
def test_a_mutant_is_caught(mutant: Mutant) -> None:
    verdict = run(mutant)
    assert verdict.caught, f"{mutant.name}: it {mutant.says}, and nobody notices"
    assert verdict.catcher == mutant.caught_by[0], "the quickest comes first"
