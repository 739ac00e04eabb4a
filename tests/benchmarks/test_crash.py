"""What the crash benchmark counts, on journals made by hand; and what it hits."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from benchmarks.crash import _plans  # pyright: ignore[reportPrivateUsage]
from benchmarks.crash_count import PROVIDERS_MODEL, CallTally, count_calls
from benchmarks.crash_shapes import WORKFLOWS, shape_of, shapes_of
from omium.execution.events import CallCompleted, CallIntended, Entry, Event, Resumed
from omium.execution.records import CallKey, Payload, Usage
from omium.testing.call_log import RecordedCall
from omium.testing.script import request_digest
from omium.types import ExecutionId

QUESTION: dict[str, Any] = {"model": "openai/x", "messages": [{"role": "user", "content": "?"}]}


def intended(scope: str = "0") -> CallIntended:
    key = CallKey(kind="llm", scope=scope, name="x", digest="d", occurrence=0)
    return CallIntended(
        agent="a", step="0", key=key, ordinal=0, request=Payload(inline=QUESTION), effect_key="e"
    )


def completed(call: int) -> CallCompleted:
    return CallCompleted(
        agent="a",
        call=call,
        response=Payload(inline={}),
        served_by="x",
        usage=Usage(),
        duration_ms=1,
    )


def journal(*events: Event) -> Iterator[Entry]:
    """Entries whose times are their indexes, in seconds."""
    for index, event in enumerate(events, start=1):
        yield Entry(execution_id=ExecutionId("ex_1"), index=index, at_ms=index * 1_000, event=event)


def made(times: int) -> list[RecordedCall]:
    """Requests for the question that reached the provider."""
    digest = request_digest({**QUESTION, "model": PROVIDERS_MODEL, "stream": True})
    return [
        RecordedCall(call=str(n), time_ms=0, digest=digest, model="x", stream=True, scope=None)
        for n in range(times)
    ]


def counted(*events: Event, calls: int, gone_ms: tuple[int, ...] = ()) -> CallTally:
    return count_calls(journal(*events), made(calls), 0, gone_ms)


def test_equal_questions_of_two_places_are_two_calls() -> None:
    tally = counted(intended("0"), intended("1"), completed(1), completed(2), calls=2)
    assert tally == CallTally()


def test_a_call_that_a_living_gateway_had_sent_is_told() -> None:
    again = (intended(), intended(), completed(2))
    assert counted(*again, calls=2) == CallTally(in_flight_retried=1, sent_retried=1)


def test_one_that_was_never_sent_is_not() -> None:
    again = (intended(), intended(), completed(2))
    assert counted(*again, calls=1) == CallTally(in_flight_retried=1)


def test_nor_one_whose_gateway_was_killed() -> None:
    again = (intended(), intended(), completed(2))
    assert counted(*again, calls=2, gone_ms=(1_500,)) == CallTally(in_flight_retried=1)
    assert counted(*again, calls=2, gone_ms=(2_500,)).sent_retried == 1


def test_nor_one_whose_runtime_was_followed_by_another() -> None:
    again = (intended(), Resumed(by="x"), intended(), completed(3))
    assert counted(*again, calls=2) == CallTally(in_flight_retried=1)


def test_an_answered_call_that_is_made_again_is_repeated() -> None:
    tally = counted(intended(), completed(1), intended(), completed(3), calls=2)
    assert tally.repeated == 1
    assert counted(intended(), completed(1), calls=2).repeated == 1


def test_what_the_journal_does_not_know_is_told() -> None:
    assert counted(calls=1).problems[-1] == "the provider was asked what no journal knows of"


@pytest.mark.parametrize("framework", WORKFLOWS)
def test_twelve_kills_hit_every_shape(framework: str) -> None:
    hit = {
        shape_of(framework, fault.place, number)
        for number, plan in enumerate(_plans(12, framework))
        for fault in plan
    }
    assert hit == set(shapes_of(framework))
    kinds = {shape.partition(",")[0] for shape in hit}
    assert kinds >= {"sequential", "looping", "parallel"}
    assert {
        f"{kind}, {mode}" for kind in ("looping", "parallel") for mode in ("plain", "streamed")
    } <= hit
