"""Breaks one module of the product while it is imported, in this process and nowhere else."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType

CAUGHT, MISSED = 10, 11
"""What the process of a mutant exits with; anything else says that it could not be tried."""


@dataclass(frozen=True, kw_only=True)
class Mutant:
    """A bug: ``before`` becomes ``after`` in the source of ``module``.

    ``says`` is what the product then does. ``caught_by`` is what has to notice: ``sim`` for seeds
    of the simulator, or a test's id. The first is the quickest and is enough.
    """

    name: str
    says: str
    module: str
    before: str
    after: str
    caught_by: tuple[str, ...]


class PlantError(Exception):
    """The text to be replaced is not there once: the product has changed, the mutant has not."""


def mutated(mutant: Mutant, source: str) -> str:
    """``source`` with the bug in it. Raises ``PlantError``."""
    if (count := source.count(mutant.before)) != 1:
        raise PlantError(f"{mutant.name}: {mutant.before!r} is {count} times in {mutant.module}")
    return source.replace(mutant.before, mutant.after)


def plant(mutant: Mutant) -> None:
    """Let ``mutant.module`` be imported with the bug. Nothing of omium may be imported before."""
    early = [name for name in sys.modules if name == "omium" or name.startswith("omium.")]
    if early:
        raise PlantError(f"imported before the bug was planted: {early}")
    sys.meta_path.insert(0, _Finder(mutant))


class _Finder(MetaPathFinder):
    def __init__(self, mutant: Mutant) -> None:
        self._mutant = mutant

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != self._mutant.module:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is None or spec.origin is None:
            raise PlantError(f"there is no module {fullname}")
        spec.loader = _Loader(self._mutant, fullname, spec.origin)
        return spec


class _Loader(SourceFileLoader):
    def __init__(self, mutant: Mutant, fullname: str, path: str) -> None:
        super().__init__(fullname, path)
        self._mutant = mutant

    def get_code(self, fullname: str) -> CodeType:
        # Not from the cache, and never into it.
        source = Path(self.path).read_text(encoding="utf-8")
        return compile(mutated(self._mutant, source), self.path, "exec", dont_inherit=True)
