"""Each law of journals finds each way in which a journal, or the state after it, may break it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from omium.execution.events import (
    AgentCompleted,
    Completed,
    Entry,
    Failed,
    Paused,
    Resumed,
    RoundStarted,
    StepStarted,
)
from omium.execution.fold import create, evolve
from omium.execution.records import Failure, Payload, PlannedAgent, PlannedLoop, Vote
from omium.execution.state import ExecutionState
from omium.testing.sim.flows import output
from omium.testing.sim.journals import Journals, audit
from omium.types import AgentName
from tests.testing.sim.lines import (
    ACCEPTED,
    AGAIN,
    ANSWERED,
    GIVER,
    LATE,
    LOST,
    NAME,
    RECEIVER,
    SUCCESSOR,
    WHY,
    A,
    B,
    Line,
    accepted,
    beginning,
    checking,
    completed,
    created,
    decided,
    journal,
    lease,
    offered,
    unfit,
    vote,
)

BEGINNING = beginning(*checking())
EARLY: Line = (RECEIVER, StepStarted(agent=B, step="early"))
MADE = str(GIVER)
PAUSED: Line = (0, Paused(reason="requested"))
RESUMED: Line = (0, Resumed())
COMPLETED: Line = (0, Completed(sinks=(B,)))


def audited(*lines: Line, after: Sequence[Line] = BEGINNING) -> None:
    audit(journal([*after, *lines]))


# ------------------------------------------------------------------------------- one owner


def test_an_agent_has_one_owner_at_a_time() -> None:
    audited(LOST, lease(B, SUCCESSOR), accepted(SUCCESSOR), completed(B, SUCCESSOR, a=MADE))
    for lines, told in [
        ([LOST, lease(B, SUCCESSOR), ACCEPTED], "epoch 2 writes for b, whose owner is epoch 3"),
        ([LOST, ACCEPTED], "epoch 2 writes for b, whose owner is epoch 0"),
        ([PAUSED, ACCEPTED], "whose owner is epoch 0"),
        ([lease(B, SUCCESSOR)], "b has an owner"),
        ([LOST, lease(B, RECEIVER)], "epoch 2 is not new"),
        ([AGAIN, ACCEPTED], "which is not rejected"),
    ]:
        with pytest.raises(AssertionError, match=told):
            audited(*lines)


# ------------------------------------------------------------------------------- handoffs


def test_a_handoff_is_judged_once_and_worked_on_then() -> None:
    for lines, told in [
        ([ACCEPTED, ACCEPTED], "judged a second time"),
        ([EARLY], "that it has not accepted"),
        ([offered()], "a#1>b is offered twice"),
        ([offered(handoff="a#2>b")], "has a second name a#2>b"),
        ([unfit(), AGAIN, offered(handoff="a#2>b")], "a has nothing to offer"),
        ([unfit(), decided("approve"), lease(B, 4), accepted(4)], "judged a second time"),
        ([ACCEPTED, ANSWERED], "which is not rejected"),
    ]:
        with pytest.raises(AssertionError, match=told):
            audited(*lines)


def test_what_is_not_accepted_in_time_is_late_and_no_sooner() -> None:
    timed = beginning(*checking(deadline_s=2.0))
    soon = journal([*timed, LATE], at_ms=[2_000])
    with pytest.raises(AssertionError, match=r"late after 2000 ms, and 2\.0 s are allowed"):
        audit(soon)
    assert audit(journal([*timed, LATE], at_ms=[2_001]))["late"] == 1
    # It is judged like any other, once somebody wants it to be.
    later = [*timed, LATE, decided("approve"), lease(B, 4), accepted(4)]
    audit(journal(later, at_ms=[2_001, 2_002, 2_003, 2_004]))
    again = [*timed, LATE, decided("approve"), LATE]
    with pytest.raises(AssertionError, match="late after 1998 ms"):
        audit(journal(again, at_ms=[2_001, 2_002, 4_000]))
    # A pause costs no time.
    with pytest.raises(AssertionError, match="late after 1000 ms"):
        audit(journal([*timed, PAUSED, RESUMED, LATE], at_ms=[1_000, 9_000, 10_000]))
    with pytest.raises(AssertionError, match="and None s are allowed"):
        audit(journal([*BEGINNING, LATE], at_ms=[9_000]))
    with pytest.raises(AssertionError, match="judged by nobody who owns b"):
        audited((0, unfit()[1]))
    nobody = (0, AGAIN[1])
    with pytest.raises(AssertionError, match="late, and nobody has decided"):
        audit(journal([*timed, LATE, nobody], at_ms=[2_001, 2_002]))


def test_a_receivers_time_begins_with_the_last_vote_of_a_judge() -> None:
    judge = AgentName("judge")
    made = Payload(inline={"ballot": "for", "reason": WHY})
    handed = [lease(judge, 3), (3, AgentCompleted(agent=judge, output=made))]
    *done, offer, _ = beginning(*checking(judges=[judge], deadline_s=2.0))
    lines = [*done, *handed, offer]
    # The clock of who offers may be ahead of others.
    audit(journal([*lines, vote("judge", epoch=0), LATE], at_ms=[9_000, 1_000, 3_001]))
    with pytest.raises(AssertionError, match="late after 2000 ms"):
        audit(journal([*lines, vote("judge", epoch=0), LATE], at_ms=[0, 1_000, 3_000]))


def test_who_was_late_asks_nobody_again() -> None:
    timed = beginning(*checking("v1", "v2", deadline_s=2.0))
    times = [0, 3_000, 3_001, 3_002]
    lines = [*timed, vote("v1"), LATE, decided("approve"), lease(B, 4)]
    once = [*lines, vote("v2", epoch=4), accepted(4)]
    audit(journal(once, at_ms=[*times, 3_003, 3_004]))
    with pytest.raises(AssertionError, match="v1 votes twice"):
        audit(journal([*lines, vote("v1", epoch=4)], at_ms=[*times, 3_003]))


# ------------------------------------------------------------------------------- receipts


def test_a_receiver_works_on_what_was_handed_to_it() -> None:
    audited(ACCEPTED, completed(B, RECEIVER, a=MADE))
    answered = [unfit(), ANSWERED, lease(B, 4), accepted(4)]
    audited(*answered, completed(B, 4, a="somebody"))
    for lines, told in [
        ([ACCEPTED, completed(B, RECEIVER)], "b has worked on None of a"),
        ([ACCEPTED, completed(B, RECEIVER, a="7")], "b has worked on 7 of a, .* is 1"),
        ([*answered, completed(B, 4, a=MADE)], "b has worked on 1 of a, .* is somebody"),
        ([ACCEPTED, completed(B, RECEIVER, a=MADE, b="1")], "given 1 for its output of the round"),
    ]:
        with pytest.raises(AssertionError, match=told):
            audited(*lines)


def test_a_vote_is_about_what_is_offered() -> None:
    lines = [*beginning(*checking("v1")), vote("v1", why="of 7")]
    with pytest.raises(AssertionError, match="v1 votes 'of 7', and what is handed over is 1"):
        audit(journal(lines))


# ------------------------------------------------------------------------------- rounds


def looping(*, then: str = "continue") -> list[Line]:
    """``b`` has run and hands back to ``a``, and may once; ``c`` waits for it."""
    loop = PlannedLoop(
        to=A,
        agents=(A, B),
        rounds_max=1,
        conditional=True,
        then="fail" if then == "fail" else "continue",
    )
    giver, receiver = checking()
    plan = [giver, PlannedAgent(name=B, upstream=(A,), checked=receiver.checked, loops=(loop,))]
    return [*beginning(*plan), ACCEPTED]


def begins(number: int) -> Line:
    return 0, RoundStarted(agent=B, to=A, agents=(A, B), round=number)


BACK = completed(B, RECEIVER, A, a=MADE)
ON = completed(B, RECEIVER, a=MADE)
SECOND: list[Line] = [
    BACK,
    begins(2),
    lease(A, 4),
    completed(A, 4, a=MADE, b=str(RECEIVER)),
    offered(4, "a#2>b"),
    lease(B, 5),
    accepted(5, "a#2>b"),
]


def test_a_loop_begins_anew_as_often_as_it_may() -> None:
    end = completed(B, 5, A, a="4", b=str(RECEIVER))
    counts = audit(journal([*looping(), *SECOND, end, COMPLETED]))
    assert counts["rounds"] == 1
    for lines, told in [
        ([ON, begins(2)], "begins, and nothing is handed back"),
        ([begins(2)], "begins, and not all are done"),
        ([*SECOND, end, begins(3)], "is one too many"),
        ([BACK, COMPLETED], "b hands back to a, which is not heard"),
        ([BACK, (0, RoundStarted(agent=B, to=A, agents=(B,), round=2))], "is of"),
        ([BACK, (0, RoundStarted(agent=A, to=B, agents=(A, B), round=2))], "which are no loop"),
        ([*SECOND, completed(B, 5, a=MADE, b=str(RECEIVER))], "b has worked on 1 of a"),
        ([COMPLETED], "somebody is not done"),
    ]:
        with pytest.raises(AssertionError, match=told):
            audited(*lines, after=looping())


def test_a_loop_that_is_to_be_left_fails_when_it_is_not() -> None:
    failed: Line = (
        0,
        Failed(failure=Failure(kind="rounds_exhausted", message="too many", agent=B)),
    )
    end = completed(B, 5, A, a="4", b=str(RECEIVER))
    lines = [*SECOND, end, failed, RESUMED, begins(2)]
    assert audit(journal([*looping(then="fail"), *lines]))["exhausted"] == 1
    with pytest.raises(AssertionError, match="b has rounds left"):
        audited(BACK, failed, after=looping(then="fail"))
    with pytest.raises(AssertionError, match="which is not heard"):
        audited(*SECOND, end, COMPLETED, after=looping(then="fail"))


def test_nobody_runs_before_those_who_hand_to_it() -> None:
    plan = checking()
    with pytest.raises(AssertionError, match="b runs before"):
        audited(created(*plan), lease(B, 1), after=())


# ------------------------------------------------------------------------------- the state


def state_after(entries: Sequence[Entry]) -> ExecutionState:
    state = create(entries[0])
    for entry in entries[1:]:
        evolve(state, entry)
    return state


def forget_the_owner(state: ExecutionState) -> None:
    state.agents[B].status = "waiting"


def keep_an_owner(state: ExecutionState) -> None:
    state.agents[A].status = "leased"


def another_epoch(state: ExecutionState) -> None:
    state.agents[B].epoch = SUCCESSOR


def accept(state: ExecutionState) -> None:
    state.handoffs[A, B].status = "accepted"


def offer_again(state: ExecutionState) -> None:
    state.handoffs[A, B] = replace(state.handoffs[A, B], name="a#2>b")


def forget_votes(state: ExecutionState) -> None:
    state.handoffs[A, B].votes = ()


def change_a_vote(state: ExecutionState) -> None:
    why = state.handoffs[A, B].votes[0].reason
    state.handoffs[A, B].votes = (Vote(validator="v1", ballot="against", reason=why),)


def hand_over_another(state: ExecutionState) -> None:
    state.handoffs[A, B].value = Payload(inline=output(fits=True, by="nobody"))


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (forget_the_owner, "epoch 0 for the owner of b, and it is epoch 2"),
        (keep_an_owner, "epoch 1 for the owner of a, and it is epoch 0"),
        (another_epoch, "epoch 3 for the owner of b"),
        (accept, "a#1>b accepted, and it is offered"),
        (offer_again, "the state has the handoffs .*a#2>b"),
        (forget_votes, "the state has the votes {} about a#1>b"),
        (change_a_vote, "the state has the votes"),
        (hand_over_another, "hands over nobody, not 1"),
    ],
)
def test_the_state_is_what_the_journal_says(
    spoil: Callable[[ExecutionState], None], told: str
) -> None:
    """Whether entries came of the append or not: one that is refused changes nothing."""
    entries = journal([*beginning(*checking("v1", "v2")), vote("v1")])[NAME]
    journals, state = Journals(), state_after(entries)
    journals.applied(7, NAME, entries, state)
    spoil(state)
    with pytest.raises(AssertionError, match=told):
        journals.applied(8, NAME, (), state)
    # Though the member that applied it went down, and another one goes on.
    with pytest.raises(AssertionError, match=told):
        journals.check({NAME: entries})


def test_what_a_second_member_applies_is_not_told_again() -> None:
    entries = journal(BEGINNING)[NAME]
    journals = Journals()
    journals.applied(7, NAME, entries, state_after(entries))
    journals.applied(7, NAME, entries, state_after(entries))
    journals.check({NAME: entries})


def test_the_journals_at_the_end_are_those_that_were_seen() -> None:
    entries = journal(BEGINNING)[NAME]
    journals = Journals()
    journals.applied(7, NAME, entries, state_after(entries))
    with pytest.raises(AssertionError, match="was another one"):
        journals.check({NAME: entries[:-1]})
    with pytest.raises(AssertionError, match="there are"):
        journals.check({})
