"""People in trials and replays: what is asked of them, and what a test or the record says."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from omium.errors import AnswerError, ExecutionPaused
from omium.runtime.located import located
from omium.testing import Asked, Recording, Said, ScriptedProvider, atry_workflow
from omium.testing.people import People
from omium.testing.replay import Replay, replay
from omium.testing.trial import ScriptedRouter
from tests.testing import trial_agents
from tests.testing.test_trial import workflow

ASKS = workflow(
    "asks_around",
    tools=[
        {
            "name": "measure",
            "function": "tests.testing.trial_agents:measure",
            "idempotent": True,
            "approval": "required",
        }
    ],
)


def says(*, approval: Said, name: Any = "Ada") -> People:
    def say(asked: Asked) -> Said | None:
        match asked.kind:
            case "question":
                assert (asked.text, asked.schema) == ("Who are you?", {"type": "string"})
                return Said(answer=name)
            case "signal":
                assert asked.name == "go"
                return Said(answer={"by": "Ann"}, by="ann")
            case _:
                assert (asked.tool, asked.arguments) == ("measure", {"text": name})
                return approval

    return say


async def replayed(recorded: Recording, flow: Any = ASKS, **options: Any) -> Replay:
    async with ScriptedProvider() as provider:
        router = partial(ScriptedRouter, provider.base_url)
        return await replay(recorded, located(flow), model="", router=router, **options)


@pytest.mark.parametrize(
    ("approval", "length"),
    [
        (Said(decision="approve", by="bob"), 3),
        (Said(answer={"text": "Adelaide"}, by="bob"), 8),
        (Said(decision="deny", reason="too long", by="bob"), "denied by bob: too long"),
    ],
    ids=["approve", "edit", "deny"],
)
async def test_what_people_say_is_said_again_by_a_replay(approval: Said, length: Any) -> None:
    run = await atry_workflow(ASKS, people=says(approval=approval))
    assert isinstance(run.result, dict)
    assert run.result["name"] == "Ada"
    assert run.result["go"] == {"by": "Ann"}
    assert str(length) in str(run.result["length"])
    asked = run.questions("asks_around")
    assert [(c.question.kind, c.decision, c.by) for c in asked if c.question] == [
        ("question", "answer", "test"),
        ("signal", "", "ann"),
        ("approval", approval.decision, "bob"),
    ]
    done = await replayed(run)
    assert done.replayed.result == run.result
    assert done.same, (done.differences, done.divergences)


async def test_without_anybody_it_stays_paused() -> None:
    run = await atry_workflow(ASKS)
    with pytest.raises(ExecutionPaused, match="Who are you"):
        assert run.result
    (question,) = run.questions()
    assert (question.answered, question.decision) == (False, "")
    # Nobody had answered, and nobody answers now.
    done = await replayed(run)
    assert [(one.kind, one.agent, one.detail) for one in done.divergences] == [
        ("not_answered", "asks_around", '"Who are you?": nobody had answered')
    ]


async def test_an_answer_that_does_not_fit_is_an_error_of_the_test() -> None:
    with pytest.raises(AnswerError):
        await atry_workflow(ASKS, people=says(approval=Said(decision="approve"), name=7))


async def test_what_nobody_had_been_asked_is_told() -> None:
    run = await atry_workflow(ASKS, people=says(approval=Said(decision="approve"), name="Ada"))
    others = await atry_workflow(ASKS, people=says(approval=Said(decision="approve"), name="Bo"))
    # The question and the signal of the one, and the approval of the other.
    mixed = (*run.questions()[:2], *others.questions()[2:], *others.tool_calls())
    done = await replayed(replace(run, calls=mixed))
    assert done.replayed.status == "paused"
    assert [(one.kind, one.name) for one in done.divergences] == [
        ("not_answered", "measure"),
        ("not_made", "measure"),
    ]


async def test_a_question_that_has_changed_is_told_with_the_answer_that_does_not_fit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    schema: dict[str, Any] = {"type": "integer", "maximum": 9}
    monkeypatch.setattr(trial_agents, "AGE", schema)
    flow = workflow("asks_an_age")
    run = await atry_workflow(flow, people=lambda asked: Said(answer=7))
    assert run.result == 7
    monkeypatch.setattr(trial_agents, "AGE", {**schema, "maximum": 6})
    done = await replayed(run, flow)
    assert done.replayed.status == "paused"
    (told,) = done.divergences
    assert (told.kind, told.agent, told.name) == ("not_answered", "asks_an_age", "question")
    assert told.detail == (
        '"How old are you?": question.schema.maximum: 9 → 6; the recorded answer 7 does not fit: '
        "found 7, expected a number of at most 6"
    )
    # Another question is asked of nobody, though what was said would fit.
    monkeypatch.setattr(trial_agents, "AGE", {**schema, "maximum": 99})
    done = await replayed(run, flow)
    assert [one.detail for one in done.divergences] == [
        '"How old are you?": question.schema.maximum: 9 → 99'
    ]


async def test_what_a_tool_asks_is_asked_where_it_acts() -> None:
    tool = {"name": "inquire", "function": "tests.testing.trial_agents:inquire"}
    flow = workflow("inquires", tools=[tool])
    flow["agents"][0]["tools"] = ["inquire"]
    run = await atry_workflow(flow, {"what": "Why?"}, people=lambda asked: Said(answer=asked.kind))
    assert run.result == {"said": "question", "go": "signal"}
    assert [call.inside for call in run.questions()] == [True, True]
    recorded = await replayed(run, flow)
    assert recorded.same, (recorded.differences, recorded.divergences)
    live = await replayed(run, flow, tools="live")
    assert live.same, (live.differences, live.divergences)
    other = await replayed(replace(run, inputs={"what": "How?"}), flow)
    assert [(one.kind, one.name) for one in other.divergences] == [("not_run", "inquire")]


RATED = {
    "type": "object",
    "properties": {"rate": {"type": "number", "maximum": 10}},
    "required": ["rate"],
}
HANDS_OVER = workflow("gives", "takes")
HANDS_OVER["agents"][1]["input"] = RATED


def decides(*said: Said | None) -> People:
    """Says one thing after another about the handoff."""
    left = list(said)

    def say(asked: Asked) -> Said | None:
        assert (asked.kind, asked.agent, asked.key) == ("handoff", "takes", None)
        assert asked.name.startswith("gives#")
        assert asked.schema == RATED
        assert "'takes' rejects what 'gives' hands to it" in asked.text
        assert asked.value in ({"rate": 50}, {"rate": 60})
        return left.pop(0)

    return say


@pytest.mark.parametrize(
    ("said", "rate"),
    [
        ([Said(decision="approve", by="bob")], 50),
        ([Said(answer={"rate": 7}, by="bob")], 7),
        ([Said(decision="retry", reason="look again"), Said(decision="approve")], 60),
        ([Said(decision="retry"), Said(decision="retry")], 5),
    ],
    ids=["approve", "answer", "retry and approve", "retry twice"],
)
async def test_what_was_decided_about_a_handoff_is_decided_again(
    said: list[Said], rate: int
) -> None:
    run = await atry_workflow(HANDS_OVER, {"rates": [50, 60, 5]}, people=decides(*said))
    assert run.result == {"rate": rate}
    assert [(d.agent, d.decision, d.answer, d.reason, d.by) for d in run.decided] == [
        ("takes", one.decision, one.answer, one.reason, one.by) for one in said
    ]
    done = await replayed(run, HANDS_OVER)
    assert done.replayed.decided == run.decided
    assert done.same, (done.differences, done.divergences)


@pytest.mark.parametrize("maximum", [7, 6])
async def test_what_was_handed_over_instead_has_to_fit_what_is_taken_now(maximum: int) -> None:
    people = decides(Said(answer={"rate": 7}, by="bob"))
    run = await atry_workflow(HANDS_OVER, {"rates": [50]}, people=people)
    flow = deepcopy(HANDS_OVER)
    flow["agents"][1]["input"]["properties"]["rate"]["maximum"] = maximum
    done = await replayed(run, flow)
    if maximum == 7:
        assert done.same, (done.differences, done.divergences)
        return
    assert done.replayed.status == "paused"
    (told,) = done.divergences
    assert (told.kind, told.agent, told.name) == ("not_answered", "takes", "gives#1>takes")
    assert told.detail == (
        'the recorded answer {"rate": 7} does not fit: '
        "rate: found 7, expected a number of at most 6"
    )


async def test_a_handoff_that_fails_by_decision_fails_again() -> None:
    people = decides(Said(decision="fail", by="bob"))
    run = await atry_workflow(HANDS_OVER, {"rates": [50]}, people=people)
    assert run.status == "failed"
    done = await replayed(run, HANDS_OVER)
    assert done.replayed.failure == run.failure
    assert done.same, (done.differences, done.divergences)


async def test_a_handoff_about_which_nobody_had_decided_is_told() -> None:
    run = await atry_workflow(HANDS_OVER, {"rates": [50]}, people=decides(None))
    assert run.status == "paused"
    done = await replayed(run, HANDS_OVER)
    (told,) = done.divergences
    assert (told.kind, told.agent, told.name) == ("not_answered", "takes", "gives#1>takes")
    # And one that is not rejected any more needs no decision.
    decided = await atry_workflow(
        HANDS_OVER, {"rates": [50]}, people=decides(Said(decision="approve"))
    )
    done = await replayed(replace(decided, inputs={"rates": [5]}), HANDS_OVER)
    assert [(one.kind, one.name) for one in done.divergences] == [("not_made", "gives#1>takes")]
