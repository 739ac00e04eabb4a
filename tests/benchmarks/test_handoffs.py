"""What the benchmarks with handoffs count of them."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from benchmarks.handoff_agents import VALIDATORS
from benchmarks.handoff_count import Tally
from omium.execution import events as ev
from omium.execution.records import Payload
from omium.types import ExecutionId

EPOCHS = {"first": 1, "second": 2, "third": 3}
RESULT = {"number": 0, "names": [[name, epoch] for name, epoch in EPOCHS.items()]}


def completed(agent: str) -> ev.AgentCompleted:
    return ev.AgentCompleted(agent=agent, output=Payload())


def offered(agent: str, to: str) -> ev.HandoffOffered:
    name = f"{agent}#1>{to}"
    return ev.HandoffOffered(agent=agent, to=to, handoff=name, epoch=EPOCHS[agent], schema="v")


def accepted(agent: str, to: str) -> ev.HandoffAccepted:
    return ev.HandoffAccepted(agent=to, handoff=f"{agent}#1>{to}")


def voted(agent: str, to: str, validator: str) -> ev.HandoffVoted:
    return ev.HandoffVoted(agent=to, handoff=f"{agent}#1>{to}", validator=validator, ballot="for")


EVENTS: list[ev.Event] = [
    completed("first"),
    offered("first", "second"),
    accepted("first", "second"),
    completed("second"),
    offered("second", "third"),
    accepted("second", "third"),
    completed("third"),
]


def tally(events: list[ev.Event], result: object = RESULT) -> dict[str, int]:
    journal = [
        ev.Entry(
            execution_id=ExecutionId("ex"),
            index=index,
            at_ms=10 * index,
            event=event,
            epoch=EPOCHS[event.agent] if isinstance(event, ev.AgentCompleted) else 0,
        )
        for index, event in enumerate(events, start=1)
    ]
    told = Tally()
    told.judge(journal, result)
    return {
        name: count
        for name in ("handoffs", "lost", "duplicated", "conflicts")
        if (count := getattr(told, name))
    }


def test_what_was_made_once_is_counted_once() -> None:
    assert tally(EVENTS) == {"handoffs": 2}


@pytest.mark.parametrize(
    ("events", "found"),
    [
        (EVENTS[:5], {"handoffs": 1, "lost": 1, "conflicts": 1}),
        ([*EVENTS[:3], EVENTS[2], *EVENTS[3:]], {"handoffs": 2, "duplicated": 1}),
        ([*EVENTS[:2], EVENTS[1], *EVENTS[2:]], {"handoffs": 2, "duplicated": 1}),
        ([*EVENTS, EVENTS[-1]], {"handoffs": 2, "duplicated": 1}),
        (
            [EVENTS[0], replace(offered("first", "second"), epoch=9), *EVENTS[2:]],
            {"handoffs": 2, "conflicts": 1},
        ),
    ],
    ids=["lost", "accepted twice", "offered twice", "completed twice", "of another epoch"],
)
def test_what_went_wrong_is_seen(events: list[ev.Event], found: dict[str, int]) -> None:
    assert tally(events) == found


def test_a_validator_that_votes_twice_about_one_handoff_is_seen() -> None:
    ballots = [voted("first", "second", name) for name in VALIDATORS]
    votes = [*EVENTS[:2], *ballots, *EVENTS[2:5], voted("second", "third", VALIDATORS[0])]
    assert tally([*votes, *EVENTS[5:]]) == {"handoffs": 2}
    again = [*EVENTS[:2], *ballots, ballots[0], *EVENTS[2:]]
    assert tally(again) == {"handoffs": 2, "duplicated": 1}


def test_a_result_that_is_not_what_was_handed_on_is_seen() -> None:
    assert tally(EVENTS, {**RESULT, "names": []}) == {"handoffs": 2, "conflicts": 1}
