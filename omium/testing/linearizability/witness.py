"""Why a history is not linearizable, in a text that a person can check by hand."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from omium.testing.linearizability.history import Operation
from omium.testing.linearizability.search import Order

StateT = TypeVar("StateT", bound=Hashable)
RequestT = TypeVar("RequestT", bound=Hashable)
OutputT = TypeVar("OutputT")

ROWS_MAX = 24
_TEXT_MAX = 60
_LEGEND = "#: place in that order   x: no place in it   ?: no answer, and not needed"


@dataclass(frozen=True, kw_only=True)
class Witness(Generic[StateT, RequestT, OutputT]):
    """The shortest beginning of one key's history that no order explains.

    ``operations`` were known when its last answer arrived, out of ``operations_of_key`` that
    the key has in all. ``order`` is the longest that explains a part of them. ``str`` draws
    both, with the last ``ROWS_MAX`` operations.
    """

    key: Hashable
    operations: tuple[Operation[RequestT, OutputT], ...]
    operations_of_key: int
    order: Order[StateT, RequestT, OutputT]

    def __str__(self) -> str:
        order = self.order
        answers = sum(one.returned is not None for one in self.operations)
        return "\n".join(
            [
                f"key {self.key!r} is not linearizable: its first {len(self.operations)} of "
                f"{self.operations_of_key} operations show it",
                f"the longest order found explains {answers - len(order.left)} of {answers} "
                f"answers and leads to {_clipped(repr(order.state))}",
                *(
                    f"then {_clipped(str(one))} (process {one.process}) could come next, but would "
                    f"be answered {_clipped(repr(output))}"
                    for one, output in order.blocked
                ),
                "",
                *_timeline(self.operations, order),
            ]
        )


def _timeline(operations: Sequence[Operation[Any, Any]], order: Order[Any, Any, Any]) -> list[str]:
    shown = sorted(operations, key=_last_seen)[-ROWS_MAX:]
    shown.sort(key=lambda one: one.called)
    place = {id(one): str(number) for number, one in enumerate(order.operations, start=1)}
    # Only the sequence of events counts: a column for each, however far apart they were.
    times = sorted(
        {time for one in shown for time in (one.called, one.returned) if time is not None}
    )
    column = {time: index for index, time in enumerate(times)}
    rows = [("#", "process", "time", "operation")]
    for one in shown:
        without = "?" if one.returned is None else "x"
        rows.append(
            (
                place.get(id(one), without),
                str(one.process),
                _bar(one, column),
                _clipped(str(one)),
            )
        )
    widths = [max(len(row[field]) for row in rows) for field in range(3)]
    lines = [
        f"{mark:>{widths[0]}}  {process:<{widths[1]}}  {bar:<{widths[2]}}  {text}"
        for mark, process, bar, text in rows
    ]
    if (earlier := len(operations) - len(shown)) > 0:
        lines.insert(1, f"({earlier} earlier)")
    return [*lines, _LEGEND]


def _last_seen(operation: Operation[Any, Any]) -> float:
    return operation.called if operation.returned is None else operation.returned


def _bar(operation: Operation[Any, Any], column: dict[float, int]) -> str:
    start = column[operation.called]
    if operation.returned is None:
        return " " * start + "|" + "-" * (len(column) - start - 1) + ">"
    end = column[operation.returned]
    return " " * start + "|" + "-" * (end - start - 1) + "|" * (end > start)


def _clipped(text: str) -> str:
    return text if len(text) <= _TEXT_MAX else text[: _TEXT_MAX - 1] + "…"
