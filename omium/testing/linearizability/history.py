"""What clients did and saw, and when: the records, and the recorder that makes them.

Times only order events. Any clock that all clients of a history share will do; two events at
the same time count as concurrent, so a coarse clock hides violations and never invents one.
It judges nothing.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Hashable
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from omium.errors import Conflict, InputError

RequestT = TypeVar("RequestT", bound=Hashable)
OutputT = TypeVar("OutputT")


@dataclass(frozen=True, kw_only=True)
class Operation(Generic[RequestT, OutputT]):
    """One request of a client, from its call to its answer.

    ``returned`` is None where no answer is known: the client crashed, timed out or was told
    something that says nothing. Such an operation may take effect at any time after its call,
    however late, or never; its ``output`` means nothing. ``key`` names the object that it is
    about; operations with different keys must be independent of each other.
    """

    process: Hashable
    key: Hashable
    request: RequestT
    called: float
    output: OutputT | None = None
    returned: float | None = None

    def __post_init__(self) -> None:
        if self.returned is not None and self.returned < self.called:
            raise InputError(
                f"{self.request!r} of {self.process!r} returned at {self.returned!r}, "
                f"before its call at {self.called!r}"
            )

    def __str__(self) -> str:
        return f"{self.request} → {'?' if self.returned is None else repr(self.output)}"


class Invocation(Generic[RequestT, OutputT]):
    """A request under way. End it with one of ``ok``, ``fail`` and ``info``, once.

    One that is never ended has no known outcome, as after ``info``.
    """

    def __init__(self, operation: Operation[RequestT, OutputT], now: Callable[[], float]) -> None:
        self._now = now
        self._ended = False
        self._operation: Operation[RequestT, OutputT] | None = operation

    @property
    def operation(self) -> Operation[RequestT, OutputT] | None:
        """What is known of it by now; None once it is known to have had no effect."""
        return self._operation

    def ok(self, output: OutputT) -> None:
        """It took effect and answered ``output``. Raises Conflict where it has ended before."""
        if (operation := self._end()) is not None:
            self._operation = replace(operation, output=output, returned=self._now())

    def fail(self) -> None:
        """It is certain that it had no effect and never will. In doubt say ``info``."""
        self._end()
        self._operation = None

    def info(self) -> None:
        """Nothing is known: a time-out, a lost connection, an error after it was sent."""
        self._end()

    def _end(self) -> Operation[RequestT, OutputT] | None:
        if self._ended:
            raise Conflict(f"{self._operation} has ended before")
        self._ended = True
        return self._operation


class Recorder(Generic[RequestT, OutputT]):
    """Collects the history of the clients in one process, threads or tasks.

    ``now`` is the clock, by default a count of events, which never has two at once. Recorders
    of several processes need one clock that they share (on one machine, the system's monotonic
    clock); the histories are then simply joined.
    """

    def __init__(self, now: Callable[[], float] | None = None) -> None:
        self._now = now or itertools.count().__next__
        self._invocations: list[Invocation[RequestT, OutputT]] = []

    def invoke(
        self,
        process: Hashable,
        *,
        key: Hashable,
        request: RequestT,
    ) -> Invocation[RequestT, OutputT]:
        """Record that ``process`` sends ``request``. Call it before anything leaves."""
        invocation = Invocation[RequestT, OutputT](
            Operation(process=process, key=key, request=request, called=self._now()), self._now
        )
        self._invocations.append(invocation)
        return invocation

    def history(self) -> list[Operation[RequestT, OutputT]]:
        """All operations but the failed ones, in the order of their calls."""
        known = [one.operation for one in self._invocations if one.operation is not None]
        return sorted(known, key=lambda operation: operation.called)
