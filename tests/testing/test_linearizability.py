"""The checker against an oracle, against real atomic objects, and against broken ones."""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Sequence
from dataclasses import replace
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from omium.clock import ManualClock
from omium.errors import Conflict, InputError
from omium.testing.linearizability import (
    Append,
    CompareAndSet,
    Get,
    KeyValue,
    Model,
    Operation,
    Put,
    Read,
    Recorder,
    Register,
    Write,
    check,
)
from tests.testing.atomic import history_of

_VALUES = st.integers(0, 2)
_REGISTER = st.one_of(
    st.tuples(st.just(Read()), st.one_of(st.none(), _VALUES)),
    st.tuples(st.builds(Write, value=_VALUES), st.none()),
    st.tuples(st.builds(CompareAndSet, old=_VALUES, new=_VALUES), st.booleans()),
)
_TEXTS = st.sampled_from(["a", "b"])
_STORE = st.one_of(
    st.tuples(st.just(Get()), st.sampled_from(["", "a", "b", "ab", "ba", "aa", "bab"])),
    st.tuples(st.builds(Put, value=_TEXTS), st.none()),
    st.tuples(st.builds(Append, value=_TEXTS), st.none()),
)


def operations(requests: st.SearchStrategy[tuple[Any, Any]]) -> st.SearchStrategy[Any]:
    """Few times for many events, so that operations overlap, touch and follow one another."""

    def operation(request: tuple[Any, Any], called: int, lasts: int | None) -> Any:
        returned = None if lasts is None else called + lasts
        return Operation(
            process=0,
            key=0,
            request=request[0],
            output=request[1],
            called=called,
            returned=returned,
        )

    lasts = st.one_of(st.integers(0, 4), st.integers(0, 4), st.none())
    return st.lists(st.builds(operation, requests, st.integers(0, 8), lasts), max_size=6)


def explains(
    order: Sequence[Operation[Any, Any]],
    history: Sequence[Operation[Any, Any]],
    model: Model[Any, Any, Any],
) -> bool:
    """The definition: all answers, none before its call or after its return, each the model's."""
    state: Hashable = model.initial
    for place, one in enumerate(order):
        if any(
            later.returned is not None and later.returned < one.called for later in order[place:]
        ):
            return False
        state, output = model.apply(state, one.request)
        if one.returned is not None and output != one.output:
            return False
    placed = {id(one) for one in order}
    return all(one.returned is None or id(one) in placed for one in history)


def linearizable(history: Sequence[Operation[Any, Any]], model: Model[Any, Any, Any]) -> bool:
    """Every order of every choice of the operations, tried."""
    return any(
        explains(order, history, model)
        for size in range(len(history) + 1)
        for order in itertools.permutations(history, size)
    )


@pytest.mark.parametrize(
    ("model", "requests"),
    [(Register(), _REGISTER), (KeyValue(), _STORE)],
    ids=["register", "store"],
)
@settings(max_examples=400)
@given(data=st.data())
def test_the_verdict_is_that_of_trying_every_order(
    model: Model[Any, Any, Any], requests: st.SearchStrategy[tuple[Any, Any]], data: st.DataObject
) -> None:
    history = data.draw(operations(requests))
    result = check(history, model)
    assert result.verdict == ("ok" if linearizable(history, model) else "illegal")
    if result.verdict == "ok":
        assert all(explains(order, history, model) for order in result.orders.values())
    else:
        assert result.witness is not None
        assert not linearizable(result.witness.operations, model)


class Unhinted(Model[Hashable, Any, Any]):
    """A register without the hints that make a search short."""

    initial = None

    def apply(self, state: Hashable, request: Any, /) -> tuple[Hashable, Hashable]:
        return Register().apply(state, request)


@settings(max_examples=200)
@given(history=operations(_REGISTER))
def test_hints_change_no_verdict(history: Sequence[Operation[Any, Any]]) -> None:
    assert check(history, Unhinted()).verdict == check(history, Register()).verdict


def register_request(random: Random) -> Hashable:
    return random.choice(
        [
            Read(),
            Read(),
            Write(value=random.randrange(1_000)),
            CompareAndSet(old=random.randrange(5), new=random.randrange(5)),
        ]
    )


def store_request(random: Random) -> Hashable:
    return random.choice([Get(), Get(), Append(value=f"{random.randrange(100)} "), Put(value="")])


@given(
    seed=st.integers(0, 2**32),
    clients=st.integers(1, 10),
    lost=st.sampled_from([0.0, 0.05, 0.2]),
)
def test_a_real_register_is_ok(seed: int, clients: int, lost: float) -> None:
    history = history_of(
        Register(), register_request, seed=seed, operations=100, clients=clients, lost=lost
    )
    result = check(history, Register())
    assert result.verdict == "ok", result
    assert explains(result.orders["k"], history, Register())


@given(seed=st.integers(0, 2**32), clients=st.integers(1, 4))
def test_a_real_store_is_ok(seed: int, clients: int) -> None:
    history = history_of(KeyValue(), store_request, seed=seed, operations=60, clients=clients)
    result = check(history, KeyValue())
    assert result.verdict == "ok", result
    assert explains(result.orders["k"], history, KeyValue())


@given(seed=st.integers(0, 2**32), clients=st.integers(2, 8))
def test_a_stale_read_is_caught(seed: int, clients: int) -> None:
    # A value that no other write repeats, and that was overwritten before the read began.
    numbers = itertools.count()
    history = history_of(
        Register(),
        lambda random: Read() if random.random() < 0.5 else Write(value=next(numbers)),
        seed=seed,
        operations=100,
        clients=clients,
    )
    reads = [one for one in history if isinstance(one.request, Read)]
    stale = reads[-1]
    old = next(
        (
            one
            for one in history
            for newer in history
            if isinstance(one.request, Write)
            if isinstance(newer.request, Write)
            if (one.returned or 0) < newer.called and (newer.returned or 0) < stale.called
        ),
        None,
    )
    if old is None:
        return
    history[history.index(stale)] = replace(stale, output=old.request.value)
    result = check(history, Register())
    assert result.verdict == "illegal"
    assert result.witness is not None
    assert "read →" in str(result)


def test_a_long_history_of_many_keys_is_quick() -> None:
    history = [
        one
        for key in range(100)
        for one in history_of(
            Register(), register_request, seed=key, operations=100, clients=10, lost=0.02, key=key
        )
    ]
    result = check(history, Register())
    assert result.verdict == "ok"
    assert len(result.orders) == 100
    assert result.steps < 2 * len(history)


# ---------------------------------------------------------------- outcomes that nobody knows


def operation(
    process: int, request: Hashable, called: float, returned: float | None, output: Any = None
) -> Operation[Any, Any]:
    return Operation(
        process=process, key="x", request=request, called=called, returned=returned, output=output
    )


def test_a_lost_write_may_take_effect_much_later() -> None:
    history = [
        operation(0, Write(value=1), 0, None),
        operation(1, Read(), 1, 2, None),
        operation(1, Read(), 3, 4, 1),
    ]
    assert check(history, Register()).verdict == "ok"


def test_a_lost_write_may_never_take_effect() -> None:
    history = [operation(0, Write(value=1), 0, None), operation(1, Read(), 1, 2, None)]
    assert check(history, Register()).verdict == "ok"


def test_a_lost_write_takes_effect_once() -> None:
    history = [
        operation(0, Write(value=1), 0, None),
        operation(1, Read(), 1, 2, 1),
        operation(1, Write(value=2), 3, 4),
        operation(1, Read(), 5, 6, 1),
    ]
    assert check(history, Register()).verdict == "illegal"


def test_a_lost_write_takes_no_effect_before_its_call() -> None:
    history = [operation(1, Read(), 0, 1, 1), operation(0, Write(value=1), 2, None)]
    assert check(history, Register()).verdict == "illegal"


def test_events_at_the_same_time_are_concurrent() -> None:
    history = [operation(0, Write(value=1), 0, 5), operation(1, Read(), 5, 6, None)]
    assert check(history, Register()).verdict == "ok"
    assert check([history[0], replace(history[1], called=5.5)], Register()).verdict == "illegal"


def test_the_right_one_of_two_lost_requests_is_kept_for_later() -> None:
    history = [
        operation(0, Write(value=1), 0, None),
        operation(1, CompareAndSet(old=None, new=1), 0, None),
        operation(2, Read(), 1, 2, 1),
        operation(2, Write(value=2), 3, 4),
        operation(2, Read(), 5, 6, 1),
    ]
    assert check(history, Register()).verdict == "ok"
    assert check([history[1], history[0], *history[2:]], Register()).verdict == "ok"


def test_many_lost_writes_do_not_explode() -> None:
    lost = [operation(n, Write(value=n), n, None) for n in range(200)]
    reads = [
        operation(-1, Read(), 1_000 + 2 * n, 1_001 + 2 * n, value)
        for n, value in enumerate([7, 5, 9, 7])
    ]
    result = check([*lost, *reads], Register())
    assert result.verdict == "illegal"
    assert result.steps < 1_000


# ---------------------------------------------------------------- bounds and witness


def hard(key: Hashable) -> list[Operation[Any, Any]]:
    """Twelve appends at once, and a read that saw something else."""
    appends = [Append(value=f"{number:x}") for number in range(12)]
    return [
        *(replace(operation(n, append, 0, 1), key=key) for n, append in enumerate(appends)),
        replace(operation(99, Get(), 2, 3, "0" * 12), key=key),
    ]


def test_a_search_that_takes_too_many_steps_is_given_up() -> None:
    result = check(hard("x"), KeyValue(), steps_max=1_000)
    assert (result.verdict, result.undecided, result.steps) == ("unknown", ("x",), 1_000)
    assert str(result) == "not decided within the bound, 1000 steps: keys 'x'"


def test_a_search_that_takes_too_long_is_given_up() -> None:
    class Passing(ManualClock):
        def monotonic_s(self) -> float:
            self.advance(1)
            return super().monotonic_s()

    result = check(hard("x"), KeyValue(), timeout_s=5, clock=Passing())
    assert result.verdict == "unknown"
    assert result.steps < 2_000


def test_an_illegal_key_is_found_beside_one_that_is_too_hard() -> None:
    late = replace(operation(0, Get(), 0, 1, "no"), key="y")
    padding = [replace(operation(0, Get(), 2 + n, 2.5 + n, ""), key="y") for n in range(20)]
    result = check([*hard("x"), late, *padding], KeyValue(), steps_max=1_000)
    assert (result.verdict, result.undecided) == ("illegal", ("x",))


def test_the_shortest_illegal_key_is_the_witness() -> None:
    wrong = operation(0, Read(), 0, 1, 5)
    long = [replace(operation(0, Read(), 2 + n, 2.5 + n), key="long") for n in range(5)]
    result = check([replace(wrong, key="long"), *long, replace(wrong, key="short")], Register())
    assert result.witness is not None
    assert result.witness.key == "short"


def test_the_witness_ends_with_the_answer_that_cannot_be() -> None:
    history = [
        operation(0, Write(value=1), 0, 2),
        operation(1, Write(value=2), 1, 4),
        operation(0, Read(), 3, 6, 2),
        operation(3, Write(value=3), 5, None),
        operation(2, Read(), 7, 8, 1),
        *(operation(0, Read(), 10 + n, 10.5 + n, 2) for n in range(50)),
    ]
    assert str(check(history, Register())) == (
        "key 'x' is not linearizable: its first 5 of 55 operations show it\n"
        "the longest order found explains 3 of 4 answers and leads to 2\n"
        "then read → 1 (process 2) could come next, but would be answered 2\n"
        "\n"
        "#  process  time        operation\n"
        "1  0        |-|         write 1 → None\n"
        "2  1         |--|       write 2 → None\n"
        "3  0           |--|     read → 2\n"
        "?  3             |--->  write 3 → ?\n"
        "x  2               ||   read → 1\n"
        "#: place in that order   x: no place in it   ?: no answer, and not needed"
    )


def test_a_long_witness_shows_its_end() -> None:
    history = [operation(0, Read(), n, n + 0.5) for n in range(100)]
    text = str(check([*history, operation(0, Read(), 200, 201, "y" * 200)], Register()))
    assert "(77 earlier)" in text
    assert max(map(len, text.splitlines())) < 200
    assert len(text.splitlines()) < 35


# ---------------------------------------------------------------- the recorder


def test_a_recorded_history_holds_what_was_seen() -> None:
    recorder: Recorder[Any, Any] = Recorder()
    write = recorder.invoke("a", key="x", request=Write(value=1))
    read = recorder.invoke("b", key="x", request=Read())
    cas = recorder.invoke("c", key="x", request=CompareAndSet(old=1, new=2))
    recorder.invoke("d", key="x", request=Write(value=9))
    read.ok(1)
    write.info()
    cas.fail()
    history = recorder.history()
    assert [(one.process, one.output, one.returned is None) for one in history] == [
        ("a", None, True),
        ("b", 1, False),
        ("d", None, True),
    ]
    assert check(history, Register()).verdict == "ok"


def test_an_invocation_ends_once() -> None:
    for first in ("ok", "fail", "info"):
        invocation = Recorder[Any, Any]().invoke("a", key="x", request=Read())
        _end(invocation, first)
        for second in ("ok", "fail", "info"):
            with pytest.raises(Conflict, match="has ended before"):
                _end(invocation, second)


def _end(invocation: Any, how: str) -> None:
    invocation.ok(None) if how == "ok" else getattr(invocation, how)()


def test_an_operation_does_not_return_before_its_call() -> None:
    with pytest.raises(InputError, match="before its call"):
        operation(0, Read(), 2, 1)
