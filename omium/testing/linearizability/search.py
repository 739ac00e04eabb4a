"""The search for one order of one object's operations: Wing & Gong, with Lowe's memory.

Owns the algorithm and its bound; knows nothing of keys or of text. A *configuration* says which
operations were put in order so far and the state that they led to. From it, any operation may
come next that was called before every other one left over had returned, and whose answer is the
model's. The search is depth first and never enters a configuration twice.

    J. M. Wing, C. Gong: "Testing and Verifying Concurrent Objects",
    Journal of Parallel and Distributed Computing 17 (1993): the search.
    G. Lowe: "Testing for Linearizability", Concurrency and Computation: Practice and
    Experience 29 (2017): the memory of (set of ordered operations, state).

Four reductions go beyond the papers. None changes a verdict; the first is a case of the
partial-order reductions of model checking, the last two concern operations without an answer.

- An operation that only reads (the model says so), may come next and answers as it did is put
  next, with no alternative: in any order that puts it later, it can be moved here.
- Where an operation that may come next only reads, and the model says that nothing that can
  come before it makes it answer as it did, the configuration is given up.
- Of equal operations without an answer the one called first goes first, and none goes where
  it changes nothing: swapped, or left out, they leave an order as good.
- A configuration that has used up more operations without an answer than another, and is
  otherwise the same, is not entered: whatever follows it can follow the other one.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, NamedTuple, TypeAlias, TypeVar, cast

from omium.clock import Clock
from omium.testing.linearizability.history import Operation
from omium.testing.linearizability.models import Model

StateT = TypeVar("StateT", bound=Hashable)
RequestT = TypeVar("RequestT", bound=Hashable)
OutputT = TypeVar("OutputT")

_STEPS_BETWEEN_LOOKS = 256
_NEVER = float("inf")


class Budget:
    """How many configurations may be entered, and until when on ``clock``."""

    def __init__(self, *, steps_max: int, deadline_s: float, clock: Clock) -> None:
        self.steps = 0
        self._steps_max = steps_max
        self._deadline_s = deadline_s
        self._clock = clock

    def spend(self) -> bool:
        """Count one configuration, where the budget allows it."""
        if self.steps >= self._steps_max:
            return False
        if self.steps % _STEPS_BETWEEN_LOOKS == 0 and self._clock.monotonic_s() > self._deadline_s:
            return False
        self.steps += 1
        return True


@dataclass(frozen=True, kw_only=True)
class Order(Generic[StateT, RequestT, OutputT]):
    """The longest order found, the state that it leads to, and what has no place in it.

    ``left`` holds the answered operations that are missing; an order that explains the history
    leaves none. ``blocked`` are those of ``left`` that had to come next and could not, with the
    answer that the model would have given.
    """

    operations: tuple[Operation[RequestT, OutputT], ...]
    state: StateT
    left: tuple[Operation[RequestT, OutputT], ...] = ()
    blocked: tuple[tuple[Operation[RequestT, OutputT], OutputT], ...] = ()


class _Configuration(NamedTuple):
    """Which operations are in order, as sets in integers, and the state that they led to.

    All answered operations below index ``low`` are, and those of the set ``window``, whose bit 0
    stands for ``low``: the key stays small however long the history. ``unanswered`` is the set
    of those without an answer.
    """

    low: int
    window: int
    unanswered: int
    state: Any

    def answered(self) -> int:
        return self.low + self.window.bit_count()


_Move: TypeAlias = tuple[Operation[RequestT, OutputT], _Configuration]


@dataclass(slots=True)
class _Seen:
    """The configurations that the search came to."""

    table: dict[tuple[int, int, Any], list[int]] = field(
        default_factory=dict[tuple[int, int, Any], list[int]]
    )

    def add(self, configuration: _Configuration) -> bool:
        """Whether it is new, and none that is at least as good was added before."""
        low, window, used, state = configuration
        known = self.table.setdefault((low, window, state), [])
        if any(other & used == other for other in known):
            return False
        known.append(used)
        return True


class Search(Generic[StateT, RequestT, OutputT]):
    """One search over the operations of one object."""

    def __init__(
        self,
        model: Model[StateT, RequestT, OutputT],
        operations: Sequence[Operation[RequestT, OutputT]],
        budget: Budget,
    ) -> None:
        by_call = sorted(operations, key=lambda one: one.called)
        self._model = model
        self._budget = budget
        self._answered = [one for one in by_call if one.returned is not None]
        self._calls = [one.called for one in self._answered]
        self._returns = [_NEVER if one.returned is None else one.returned for one in self._answered]
        others = _concurrent_changes(by_call, model)
        # For a read, what may still change the state before it; None for what is no read.
        self._others = [others.get(id(one)) for one in self._answered]
        self._unanswered = [one for one in by_call if one.returned is None]
        # Equal ones are chained: the set of those before it must be used up.
        self._before: list[int] = []
        equal: dict[RequestT, int] = {}
        for index, one in enumerate(self._unanswered):
            earlier = equal.get(one.request, 0)
            self._before.append(earlier)
            equal[one.request] = earlier | 1 << index

    def run(self) -> Order[StateT, RequestT, OutputT] | None:
        """The first order that explains all, else the longest there is; None out of budget."""
        seen = _Seen()

        def branches(configuration: _Configuration) -> Iterator[_Move[RequestT, OutputT]]:
            # A batch is remembered as a whole before its first is entered: else the search
            # would come to the others by longer ways, and enter each of these.
            for batch in self._successors(configuration):
                yield from [move for move in batch if seen.add(move[1])]

        best = _Configuration(0, 0, 0, self._model.initial)
        path: list[Operation[RequestT, OutputT]] = []
        longest: tuple[Operation[RequestT, OutputT], ...] = ()
        stack = [branches(best)]
        while stack and best.low < len(self._answered):
            step = next(stack[-1], None)
            if step is None:
                stack.pop()
                del path[-1:]
                continue
            if not self._budget.spend():
                return None
            operation, configuration = step
            path.append(operation)
            if configuration.answered() > best.answered():
                best, longest = configuration, tuple(path)
            stack.append(branches(configuration))
        return self._told(best, longest)

    def _successors(
        self, configuration: _Configuration
    ) -> Iterator[list[_Move[RequestT, OutputT]]]:
        """What may come next, in batches, in the order in which to try.

        First what is due first; but where that has no place yet, first what gives it one.
        """
        low, _, _, state = configuration
        if low == len(self._answered):
            return
        apply = self._model.apply
        changes: list[tuple[float, int, StateT]] = []
        bound, due = _NEVER, self._answered[low]
        for index in self._next(configuration):
            operation = self._answered[index]
            if self._returns[index] < bound:
                bound, due = self._returns[index], operation
            after, output = apply(state, operation.request)
            others = self._others[index]
            if output != operation.output:
                if others is not None and not self._model.may_answer(
                    state, operation.request, cast("OutputT", operation.output), others
                ):
                    return
            elif others is not None:
                yield [(operation, self._with(configuration, index, state))]
                return
            else:
                changes.append((self._returns[index], index, after))
        changes.sort(key=lambda change: change[0])
        moves = [
            (self._answered[index], self._with(configuration, index, after))
            for _, index, after in changes
        ]
        if moves and moves[0][0] is due:
            yield moves
            moves = []
        moves += self._guesses(configuration, bound)
        moves.sort(key=lambda move: apply(move[1].state, due.request)[1] != due.output)
        yield moves

    def _guesses(
        self, configuration: _Configuration, bound: float
    ) -> Iterator[_Move[RequestT, OutputT]]:
        """The operations without an answer that may come next, and change something."""
        low, window, used, state = configuration
        for index, operation in enumerate(self._unanswered):
            if operation.called > bound:
                return
            if used >> index & 1 or self._before[index] & ~used:
                continue
            after, _ = self._model.apply(state, operation.request)
            if after != state:
                yield operation, _Configuration(low, window, used | 1 << index, after)

    def _next(self, configuration: _Configuration) -> Iterator[int]:
        """The answered operations that nothing left over must precede, by call."""
        low = configuration.low
        bound = _NEVER
        free = ~configuration.window
        while True:
            index = low + (free & -free).bit_length() - 1
            if index >= len(self._answered) or self._calls[index] > bound:
                return
            yield index
            bound = min(bound, self._returns[index])
            free &= free - 1

    def _with(self, configuration: _Configuration, index: int, state: StateT) -> _Configuration:
        low = configuration.low
        window = configuration.window | 1 << index - low
        full = (~window & window + 1).bit_length() - 1
        return _Configuration(low + full, window >> full, configuration.unanswered, state)

    def _told(
        self, configuration: _Configuration, path: tuple[Operation[RequestT, OutputT], ...]
    ) -> Order[StateT, RequestT, OutputT]:
        left = tuple(
            one
            for index, one in enumerate(self._answered)
            if index >= configuration.low
            and not configuration.window >> index - configuration.low & 1
        )
        blocked = tuple(
            (one, output)
            for one in map(self._answered.__getitem__, self._next(configuration))
            if (output := self._model.apply(configuration.state, one.request)[1]) != one.output
        )
        return Order(operations=path, state=configuration.state, left=left, blocked=blocked)


def _concurrent_changes(
    by_call: Sequence[Operation[RequestT, OutputT]], model: Model[Any, RequestT, OutputT]
) -> dict[int, set[RequestT]]:
    """By the ``id`` of each read, the requests of the changes that it overlaps.

    Only these can come between a configuration from which the read may come next and the read.
    """
    changes: dict[int, set[RequestT]] = {}
    under_way: list[Operation[RequestT, OutputT]] = []
    for one in by_call:
        under_way = [
            other for other in under_way if other.returned is None or other.returned >= one.called
        ]
        if one.returned is not None and model.only_reads(one.request, cast("OutputT", one.output)):
            changes[id(one)] = {other.request for other in under_way if id(other) not in changes}
        else:
            for other in under_way:
                if id(other) in changes:
                    changes[id(other)].add(one.request)
        under_way.append(one)
    return changes
