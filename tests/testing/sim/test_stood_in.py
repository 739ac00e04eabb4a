"""The law of stand-ins, and what other laws say of them, find what is wrong in a journal."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from omium.execution.events import AgentCompleted, AgentSkipped, HandoffDecided
from omium.execution.fold import create, evolve
from omium.execution.records import Payload, PlannedAgent
from omium.execution.votes import ANSWERED as ANSWERED_FOR
from omium.testing.sim.flows import about, output
from omium.testing.sim.journals import Journals, audit
from omium.types import AgentName
from tests.testing.sim.lines import (
    AGAIN,
    ANSWERED,
    HANDOFF,
    LATE,
    NAME,
    SPARE,
    A,
    B,
    Line,
    accepted,
    beginning,
    checking,
    completed,
    decided,
    journal,
    lease,
    offered,
    unfit,
    vote,
)

BEGINNING = beginning(*checking(retries=0, spare=True))
MADE, INSTEAD = "1", "3"
"""Who has made what ``a`` hands over, and what is handed over in its place."""
ASKED: Line = (0, HandoffDecided(agent=B, handoff=HANDOFF, decision="delegate"))
SKIPPED: Line = (0, AgentSkipped(agent=SPARE))
APPROVED: Line = (0, HandoffDecided(agent=B, handoff=HANDOFF, decision="approve"))


def stood_in(by: str = INSTEAD, agents: tuple[AgentName, ...] = ()) -> Line:
    made = output(fits=True, by=by, of={A: MADE})
    event = HandoffDecided(
        agent=B, handoff=HANDOFF, decision="answer", agents=agents, output=Payload(inline=made)
    )
    return 0, event


HANDED = [unfit(), ASKED, lease(SPARE, 3), completed(SPARE, 3, a=MADE)]
OFFERED = [*HANDED, stood_in(), lease(B, 4)]


def audited(*lines: Line, after: Sequence[Line] = BEGINNING) -> dict[str, int]:
    return audit(journal([*after, *lines]))


def test_what_a_stand_in_hands_over_is_accepted_and_worked_on() -> None:
    counts = audited(*OFFERED, accepted(4), completed(B, 4, a=INSTEAD))
    assert {"unfit": 1, "delegate": 1, "stood_in": 1, "taken_instead": 1}.items() <= counts.items()
    assert not counts["answer"]
    with pytest.raises(AssertionError, match=r"b has worked on 1 of a, .* is 3"):
        audited(*OFFERED, accepted(4), completed(B, 4, a=MADE))


def test_a_person_comes_after_a_stand_in() -> None:
    person = [*OFFERED, unfit(4), ANSWERED, lease(B, 5), accepted(5)]
    counts = audited(*person, completed(B, 5, a="somebody"))
    assert (counts["stood_in"], counts["answer"], counts["taken_instead"]) == (1, 1, 0)


def test_who_is_not_needed_is_skipped() -> None:
    assert audited(accepted(), SKIPPED)["spared"] == 1
    # Nobody looks any more at what somebody wants to be taken.
    assert audited(unfit(), decided("approve"), SKIPPED)["spared"] == 1


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        ([ASKED], "which is not rejected"),
        ([lease(SPARE, 3)], "spare begins, and is not asked"),
        ([unfit(), lease(SPARE, 3)], "spare begins, and is not asked"),
        ([unfit(), stood_in()], "which is not delegated"),
        ([unfit(), ASKED, stood_in()], "by spare, which has handed over None"),
        ([*HANDED, stood_in("7")], "by spare, which has handed over Payload"),
        ([*HANDED, ANSWERED], "which is not rejected"),
        ([*HANDED, stood_in(), stood_in()], "which is not delegated"),
        ([*OFFERED, lease(SPARE, 5)], "spare begins, and is not asked"),
        ([*OFFERED, unfit(4), ASKED], "delegate is decided of a#1>b a second time"),
        ([*OFFERED, unfit(4), stood_in()], "which is not delegated"),
        ([*OFFERED, unfit(4), AGAIN], "retry is decided of a#1>b, to which there was an answer"),
        ([unfit(), ANSWERED, lease(B, 3), unfit(3), ASKED], "to which there was an answer"),
        ([unfit(), AGAIN], "a may not run again"),
        ([unfit(), APPROVED], "approve is decided of a#1>b by nobody"),
        ([SKIPPED], "spare is skipped, and may be asked yet"),
        ([unfit(), ASKED, SKIPPED], "spare is skipped, and may be asked yet"),
        ([accepted(), SKIPPED, SKIPPED], "agent spare 0 a second time"),
        ([accepted(), (0, AgentSkipped(agent=B))], "b is skipped"),
    ],
)
def test_what_is_wrong_is_found(lines: list[Line], told: str) -> None:
    with pytest.raises(AssertionError, match=told):
        audited(*lines)


def test_first_its_giver_runs_again() -> None:
    after = beginning(*checking(retries=1, spare=True))
    with pytest.raises(AssertionError, match=r"delegate .* and a may run again"):
        audited(unfit(), ASKED, after=after)
    second = "a#2>b"
    again = [unfit(), AGAIN, lease(A, 3), completed(A, 3), offered(3, second), lease(B, 4)]
    asked = (0, HandoffDecided(agent=B, handoff=second, decision="delegate"))
    audited(*again, unfit(4, second), asked, lease(SPARE, 5), after=after)
    retried = (0, HandoffDecided(agent=B, handoff=second, decision="retry", agents=(A, SPARE, B)))
    with pytest.raises(AssertionError, match=r"retry .* and a may not run again"):
        audited(*again, unfit(4, second), retried, after=after)
    # Of this output nobody has asked it.
    with pytest.raises(AssertionError, match="spare begins, and is not asked"):
        audited(*again, lease(SPARE, 5), after=after)


def test_what_it_had_for_another_output_is_no_answer() -> None:
    def again(*agents: AgentName) -> list[Line]:
        retried = HandoffDecided(
            agent=B, handoff=HANDOFF, decision="retry", agents=agents, by="somebody"
        )
        anew = [lease(A, 5), completed(A, 5), offered(5, second), lease(B, 6), unfit(6, second)]
        asked = (0, HandoffDecided(agent=B, handoff=second, decision="delegate"))
        return [*OFFERED, unfit(4), (0, retried), *anew, asked]

    second = "a#2>b"
    audited(*again(A, SPARE, B))
    with pytest.raises(AssertionError, match="delegate is decided of a#2>b, and spare is done"):
        audited(*again(A, B))


def test_a_person_decides_of_what_was_late() -> None:
    late = beginning(*checking(retries=0, spare=True, deadline_s=2.0))
    with pytest.raises(AssertionError, match="a#1>b is late, and nobody has decided"):
        audit(journal([*late, LATE, ASKED], at_ms=[2_001, 2_002]))
    # It is looked at then, and its stand-in may be asked yet.
    looked_at = [*late, LATE, decided("fail"), decided("approve")]
    with pytest.raises(AssertionError, match="spare is skipped, and may be asked yet"):
        audit(journal([*looked_at, SKIPPED], at_ms=[2_001, 2_002, 2_003, 2_004]))
    asked = [*looked_at, lease(B, 4), unfit(4), ASKED]
    audit(journal(asked, at_ms=[2_001, 2_002, 2_003, 2_004, 2_005, 2_006]))


def test_who_is_heard_elsewhere_is_stood_in_for_at_once() -> None:
    other = AgentName("other")
    plan = [*checking(retries=1, spare=True), PlannedAgent(name=other, upstream=(A,))]
    audited(lease(other, 3), unfit(), ASKED, after=beginning(*plan))


def test_nobody_else_is_given_what_is_handed_over_instead() -> None:
    after = AgentName("after")
    begun = beginning(*checking(retries=0, spare=True), PlannedAgent(name=after, upstream=(B,)))
    lines = [*OFFERED, accepted(4), completed(B, 4, a=INSTEAD), lease(after, 5)]
    audited(*lines, completed(after, 5, a=MADE, b="4"), after=begun)
    with pytest.raises(AssertionError, match="after is given 3 for a, and it is handed to another"):
        audited(*lines, completed(after, 5, a=INSTEAD, b="4"), after=begun)


def test_all_vote_anew_about_what_is_handed_over_instead() -> None:
    judge = AgentName("judge")

    def judged(epoch: int, by: str) -> list[Line]:
        made = Payload(inline={"ballot": "for", "reason": about(by)})
        return [lease(judge, epoch), (epoch, AgentCompleted(agent=judge, output=made))]

    def put(by: str) -> Line:
        return vote("judge", "for", 0, about(by))

    plan = checking("v1", judges=["judge"], retries=0, spare=True)
    before = [*beginning(*plan)[:-1], *judged(2, MADE), put(MADE), lease(B, 4), unfit(4), ASKED]
    begun = [*before, lease(SPARE, 5), completed(SPARE, 5, a=MADE), stood_in("5", (judge,))]
    anew = [*begun, *judged(6, "5"), put("5"), lease(B, 7), vote("v1", "for", 7, about("5"))]
    audited(*anew, accepted(7), after=())
    for lines, told in [
        ([*begun, *judged(6, MADE)], "judge votes 'of 1', and what is handed over is 5"),
        ([*begun, put(MADE)], "judge votes for, .* has handed over None"),
        ([*begun, vote("judge", "for", 0, ANSWERED_FOR)], "has handed over None"),
        ([*anew[:-1], accepted(7)], "1 of 1 votes are for a#1>b"),
    ]:
        with pytest.raises(AssertionError, match=told):
            audited(*lines, after=())


@pytest.mark.parametrize("spoil", ["value", "by_agent"])
def test_the_state_knows_what_is_handed_over_and_by_whom(spoil: str) -> None:
    entries = journal([*BEGINNING, *HANDED, stood_in()])[NAME]
    state = create(entries[0])
    for entry in entries[1:]:
        evolve(state, entry)
    journals = Journals()
    journals.applied(7, NAME, entries, state)
    setattr(state.handoffs[A, B], spoil, None if spoil == "value" else False)
    with pytest.raises(AssertionError, match="the state has a#1>b answered, by an agent"):
        journals.applied(8, NAME, (), state)
