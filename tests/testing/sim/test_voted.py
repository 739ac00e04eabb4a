"""The auditor of votes finds each way in which a journal may break their law."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from omium.execution.events import AgentCompleted, Entry
from omium.execution.records import Payload
from omium.execution.votes import ANSWERED as ANSWERED_FOR
from omium.testing.sim.flows import about
from omium.testing.sim.journals import audit
from omium.testing.sim.voted import Asked, asked_again
from omium.types import AgentName, ExecutionId
from tests.testing.sim import lines as hand
from tests.testing.sim.lines import (
    ACCEPTED,
    ANSWERED,
    HANDOFF,
    LOST,
    NAME,
    SUCCESSOR,
    WHY,
    B,
    Line,
    accepted,
    checking,
    lease,
    outvoted,
    unfit,
    vote,
)

BEGINNING = hand.beginning(*checking("v1", "v2", "v3"))
ANSWER = about("somebody")


def journal(lines: Sequence[Line]) -> dict[ExecutionId, list[Entry]]:
    """The journal that begins with an offer to the attempt ``RECEIVER``, and goes on so."""
    return hand.journal([*BEGINNING, *lines])


def test_what_is_right_is_counted() -> None:
    lines = [
        vote("v1"),
        LOST,
        lease(B, SUCCESSOR),
        vote("v2", "against", SUCCESSOR),
        vote("v3", "for", SUCCESSOR),
        accepted(SUCCESSOR),
    ]
    counts = {"for": 2, "against": 1, "gone_on": 1, "accepted": 1}
    assert +audit(journal(lines)) == counts


def test_what_is_given_in_answer_is_voted_about_anew() -> None:
    against = [vote(f"v{n}", "against") for n in (1, 2, 3)]
    again = [vote(f"v{n}", "for", SUCCESSOR, ANSWER) for n in (1, 2, 3)]
    stale = [*against, outvoted("v1", "v2", "v3"), ANSWERED, lease(B, SUCCESSOR)]
    assert audit(journal([*stale, *again, accepted(SUCCESSOR)]))["answer"] == 1
    stale.append(accepted(SUCCESSOR))
    with pytest.raises(AssertionError, match="0 of 0 votes"):
        audit(journal(stale))


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        ([vote("v1"), vote("v1", "against")], "v1 votes twice"),
        ([vote("v1", epoch=0)], "nobody who owns b asks v1"),
        ([vote("v4")], "v4 has no vote"),
        ([vote("v1"), vote("v2"), ACCEPTED], "2 of 2 votes are for .*: it is accepted"),
        (
            [vote("v1"), vote("v2", "against"), vote("v3", "against"), ACCEPTED],
            "1 of 3 votes are for a#1>b, and 2 of 3 have to be: it is accepted",
        ),
        ([vote("v1", "against"), outvoted("v1")], "0 of 1 .*: it is outvoted"),
        (
            [vote("v1"), vote("v2"), vote("v3", "against"), outvoted("v3")],
            "2 of 3 .*: it is outvoted",
        ),
        (
            [vote("v1"), vote("v2", "against"), vote("v3", "against"), outvoted("v1", "v2")],
            "is outvoted by .*v1.*, not .*v3",
        ),
        ([vote("v1"), vote("v2"), vote("v3"), ACCEPTED, vote("v1")], "after the verdict"),
        ([vote("v1"), vote("v2"), vote("v3"), ACCEPTED, ACCEPTED], "judged a second time"),
        ([vote("v1"), vote("v2"), vote("v3"), ACCEPTED, ANSWERED], "which is not rejected"),
        ([vote("v1"), LOST, lease(B, SUCCESSOR), vote("v2")], "whose owner is epoch 3"),
    ],
)
def test_what_is_wrong_is_found(lines: list[Line], told: str) -> None:
    with pytest.raises(AssertionError, match=told):
        audit(journal(lines))


def asks(validator: str, leased: int) -> Asked:
    return Asked(execution=NAME, handoff=HANDOFF, validator=validator, leased=leased)


def test_who_has_voted_is_not_to_be_asked_again() -> None:
    first = len(BEGINNING)
    told = journal([vote("v1"), LOST, lease(B, SUCCESSOR)])
    # Its answer was lost with the worker that asked.
    assert asked_again(told, [asks("v1", first), asks("v2", first), asks("v2", first + 3)]) == 1
    with pytest.raises(AssertionError, match="v1 has voted about a#1>b before 8"):
        asked_again(told, [asks("v1", first), asks("v1", first + 3)])


def test_after_an_answer_all_are_asked_again() -> None:
    against = [vote(f"v{n}", "against") for n in (1, 2, 3)]
    lines = [*against, outvoted("v1", "v2", "v3"), ANSWERED, lease(B, SUCCESSOR)]
    first, last = len(BEGINNING), len(BEGINNING) + len(lines)
    assert asked_again(journal(lines), [asks("v1", first), asks("v1", last)]) == 0


JUDGED = hand.beginning(*checking("v1", judges=["judge"]))[:-1]


def handed(ballot: str, why: str = WHY, epoch: int = 5) -> list[Line]:
    judge = AgentName("judge")
    made = Payload(inline={"ballot": ballot, "reason": why})
    return [lease(judge, epoch), (epoch, AgentCompleted(agent=judge, output=made))]


def judged(ballot: str = "for", why: str = WHY) -> Line:
    return vote("judge", ballot, 0, why)


def test_the_vote_of_a_judge_is_what_it_handed_over() -> None:
    lines = [*JUDGED, *handed("for"), judged(), lease(B, 6), vote("v1", epoch=6), accepted(6)]
    assert audit(hand.journal(lines))["judged"] == 1
    for wrong, told in [
        ([judged()], "has handed over None"),
        ([*handed("against"), judged()], "judge votes for"),
        ([*handed("for", about("7"))], "judge votes 'of 7', and what is handed over is 1"),
        ([*handed("for"), judged(), judged()], "judge votes twice"),
        ([*handed("for"), (0, vote("v1")[1])], "nobody who owns b asks v1"),
    ]:
        with pytest.raises(AssertionError, match=told):
            audit(hand.journal([*JUDGED, *wrong]))


def test_no_judge_is_asked_about_a_persons_answer() -> None:
    begun = [*JUDGED, *handed("against"), judged("against"), lease(B, 6), unfit(6), ANSWERED]
    audit(hand.journal([*begun, judged(why=ANSWERED_FOR)]))
    with pytest.raises(AssertionError, match="judge votes against"):
        audit(hand.journal([*begun, judged("against")]))
