"""The verdict on a history: each object by itself, within a bound, with a witness.

A history of many independent objects is linearizable if and only if the history of each is
(locality: M. Herlihy, J. Wing, "Linearizability: A Correctness Condition for Concurrent
Objects", TOPLAS 12, 1990, theorem 1). Checking them apart makes the search smaller by an
exponential factor: A. Horn, D. Kroening, "Faster Linearizability Checking via
P-Compositionality", FORTE 2015. How one object is searched is ``search``.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, Literal, TypeAlias, TypeVar

from omium.clock import Clock, SystemClock
from omium.testing.linearizability.history import Operation
from omium.testing.linearizability.models import Model
from omium.testing.linearizability.search import Budget, Order, Search
from omium.testing.linearizability.witness import Witness

StateT = TypeVar("StateT", bound=Hashable)
RequestT = TypeVar("RequestT", bound=Hashable)
OutputT = TypeVar("OutputT")

Verdict: TypeAlias = Literal["ok", "illegal", "unknown"]

STEPS_MAX = 2_000_000
"""Configurations entered for one object: about a minute, and some hundred MB at the worst."""


@dataclass(frozen=True, kw_only=True)
class Result(Generic[RequestT, OutputT]):
    """What a check found. ``str`` of it is meant for the message of an assertion.

    ``ok``: every object's history is linearizable; ``orders`` holds, by key, an order that
    shows it. ``illegal``: the history of ``witness.key`` is not, and it is the shortest of
    those that are not. ``unknown``: nothing illegal was found, and the keys ``undecided`` took
    more steps or time than allowed.
    """

    verdict: Verdict
    steps: int
    orders: Mapping[Hashable, Sequence[Operation[RequestT, OutputT]]]
    undecided: tuple[Hashable, ...] = ()
    witness: Witness[Any, RequestT, OutputT] | None = None

    def __str__(self) -> str:
        match self.verdict:
            case "ok":
                return f"linearizable: {len(self.orders)} keys, {self.steps} steps"
            case "illegal":
                return str(self.witness)
            case "unknown":
                keys = ", ".join(map(repr, self.undecided))
                return f"not decided within the bound, {self.steps} steps: keys {keys}"


def check(
    history: Iterable[Operation[RequestT, OutputT]],
    model: Model[StateT, RequestT, OutputT],
    *,
    steps_max: int = STEPS_MAX,
    timeout_s: float = 60.0,
    clock: Clock | None = None,
) -> Result[RequestT, OutputT]:
    """Whether ``history``, taken by key, is that of objects of ``model``.

    At most ``steps_max`` configurations are entered for each key, and nothing is entered once
    ``timeout_s`` have passed. The verdict on a key that needs more is ``unknown``; an illegal
    key is found beside it all the same, unless time is up.
    """
    clock = clock or SystemClock()
    deadline_s = clock.monotonic_s() + timeout_s
    orders: dict[Hashable, Sequence[Operation[RequestT, OutputT]]] = {}
    undecided: list[Hashable] = []
    steps = 0
    for key, operations in _by_key(history):
        budget = Budget(steps_max=steps_max, deadline_s=deadline_s, clock=clock)
        order = Search(model, operations, budget).run()
        steps += budget.steps
        if order is None:
            undecided.append(key)
        elif order.left:
            return Result(
                verdict="illegal",
                steps=steps,
                orders=orders,
                undecided=tuple(undecided),
                witness=_shortest(key, model, operations, order, budget),
            )
        else:
            orders[key] = order.operations
    return Result(
        verdict="unknown" if undecided else "ok",
        steps=steps,
        orders=orders,
        undecided=tuple(undecided),
    )


def _by_key(
    history: Iterable[Operation[RequestT, OutputT]],
) -> list[tuple[Hashable, list[Operation[RequestT, OutputT]]]]:
    """The history of each key, the shortest first: the first illegal one is the best to read."""
    partitions: dict[Hashable, list[Operation[RequestT, OutputT]]] = {}
    for operation in history:
        partitions.setdefault(operation.key, []).append(operation)
    return sorted(partitions.items(), key=lambda item: len(item[1]))


def _shortest(
    key: Hashable,
    model: Model[StateT, RequestT, OutputT],
    operations: Sequence[Operation[RequestT, OutputT]],
    order: Order[StateT, RequestT, OutputT],
    budget: Budget,
) -> Witness[StateT, RequestT, OutputT]:
    """The beginning of an illegal history that ends with the answer that made it so.

    Every beginning of a linearizable history is linearizable, so that answer is found by
    bisection. What is left of the budget bounds it; a beginning that is still illegal is there
    at any time.
    """
    ends = sorted({one.returned for one in operations if one.returned is not None})
    beginning, legal, illegal = operations, 0, len(ends) - 1
    while legal < illegal:
        middle = (legal + illegal) // 2
        shorter = _until(ends[middle], operations)
        found = Search(model, shorter, budget).run()
        if found is not None and found.left:
            beginning, order, illegal = shorter, found, middle
        else:
            legal = middle + 1
    return Witness(
        key=key, operations=tuple(beginning), operations_of_key=len(operations), order=order
    )


def _until(
    end: float, operations: Sequence[Operation[RequestT, OutputT]]
) -> list[Operation[RequestT, OutputT]]:
    """What was known of ``operations`` at the time ``end``."""
    return [
        one
        if one.returned is not None and one.returned <= end
        else replace(one, output=None, returned=None)
        for one in operations
        if one.called <= end
    ]
