"""The tree of errors is the one that is drawn, and each of it crosses processes whole."""

from __future__ import annotations

import inspect
import pickle
from collections.abc import Iterator

import pytest

from omium import errors
from omium.errors import Control, OmiumError, kinds, rebuilt

SAMPLES = {"str": "told", "int": 3, "float": 2.5, "bool": True, "Sequence[str]": ("one", "two")}


def drawn() -> Iterator[tuple[str, str]]:
    """Each name of the drawing with that of the one above it."""
    above: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        name = line.lstrip(" │├└─").split(" ")[0]
        depth = (len(line) - len(line.lstrip(" │├└─"))) // 4
        if depth == 1 and name in ("OmiumError", "Control"):
            above = [name]
        elif above and depth > 1:
            above = [*above[: depth - 1], name]
            yield name, above[-2]


def walked(cls: type) -> Iterator[tuple[str, str]]:
    for child in cls.__subclasses__():
        if child.__module__.startswith("omium.errors."):
            yield child.__name__, cls.__name__
            yield from walked(child)


def made(cls: type[BaseException]) -> BaseException:
    own = inspect.isfunction(cls.__init__)
    names = inspect.signature(cls).parameters.values() if own else ()
    return cls(*(SAMPLES[one.annotation] for one in names))


ALL = [
    found
    for found in map(errors.__dict__.__getitem__, errors.__all__)
    if isinstance(found, type) and issubclass(found, BaseException)
]


def test_the_drawing_is_the_tree_and_all_of_it_is_imported_from_its_front() -> None:
    tree = {*walked(OmiumError), *walked(Control)}
    assert set(drawn()) == tree
    assert {name for name, _ in tree} | {"OmiumError", "Control"} == {one.__name__ for one in ALL}


@pytest.mark.parametrize("cls", ALL)
def test_an_error_survives_another_process(cls: type[BaseException]) -> None:
    error = made(cls)
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), again.args, str(again)) == (cls, error.args, str(error))
    assert vars(again) == vars(error)


@pytest.mark.parametrize("cls", [one for one in ALL if issubclass(one, OmiumError)])
def test_an_error_is_known_by_its_kind(cls: type[OmiumError]) -> None:
    error = made(cls)
    assert type(rebuilt(cls.kind, error.args)) is cls


def test_no_kind_is_used_twice() -> None:
    assert len(kinds()) == sum(issubclass(one, OmiumError) for one in ALL)
