"""Replays of forks: what these copied is said, and done, as it had been before."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from omium.actors.client import Client
from omium.errors import ExecutionError
from omium.execution.events import CallCompleted, CallDecided, Event
from omium.runtime.located import located
from omium.testing import Asked, InProcessRuntime, Recording, Said
from omium.testing.people import People, answered
from omium.testing.trial import recorded
from omium.types import ExecutionId, Json
from tests.testing.test_trial import workflow
from tests.testing.test_trial_people import ASKS, replayed, says


async def forked(
    directory: Path,
    flow: Any,
    inputs: dict[str, Json],
    people: People,
    *,
    after: type[Event] = CallDecided,
) -> Recording:
    """A fork of an execution, from the last event of that kind."""
    async with InProcessRuntime(directory) as runtime:
        client = runtime.client
        execution = await client.submit(located(flow).workflow, inputs)
        await _ended(client, execution, people)
        entries = [entry async for entry in client.events(execution)]
        point = max(one.index for one in entries if isinstance(one.event, after))
        fork = await client.fork(execution, point)
        await _ended(client, fork, people)
        return await recorded(client, fork)


async def _ended(client: Client, execution: ExecutionId, people: People) -> None:
    while True:
        with suppress(ExecutionError):
            await client.result(execution, timeout_s=30)
        if (await client.view(execution)).status != "paused":
            return
        assert await answered(client, execution, people)


def refuses(asked: Asked) -> Said:
    return Said(decision="deny", reason="none: of yours", by="bob")


async def test_a_question_that_was_denied_before_a_fork_is_denied_in_the_same_words(
    tmp_path: Path,
) -> None:
    flow = workflow("asks_an_age")
    run = await forked(tmp_path, flow, {}, refuses)
    assert run.status == "failed"
    assert "not answered by bob: none: of yours" in str(run.failure)
    (question,) = run.questions()
    assert (question.answered, question.decision) == (False, "deny")
    assert (question.by, question.reason) == ("bob", "none: of yours")
    done = await replayed(run, flow)
    assert done.replayed.failure == run.failure
    assert done.same, (done.differences, done.divergences)


@pytest.mark.parametrize(
    ("approval", "length"),
    [
        (Said(decision="approve", by="bob"), 3),
        (Said(answer={"text": "Adelaide"}, by="bob"), 8),
        (
            Said(decision="deny", reason="too long", by="bob"),
            "tool 'measure': denied by bob: too long",
        ),
        (Said(decision="deny", by="bob"), "tool 'measure': denied by bob"),
    ],
    ids=["approve", "edit", "deny", "deny without a reason"],
)
async def test_what_was_decided_before_a_fork_is_decided_again(
    tmp_path: Path, approval: Said, length: Json
) -> None:
    run = await forked(tmp_path, ASKS, {}, says(approval=approval))
    assert run.result == {"name": "Ada", "go": {"by": "Ann"}, "length": length}
    done = await replayed(run, ASKS)
    assert done.replayed.result == run.result
    assert done.same, (done.differences, done.divergences)


@pytest.mark.parametrize("tools", ["recorded", "live"])
@pytest.mark.parametrize("after", [CallDecided, CallCompleted], ids=["open", "completed"])
async def test_what_a_tool_had_asked_before_a_fork_is_not_missed_where_it_does_not_act(
    tmp_path: Path, after: type[Event], tools: Any
) -> None:
    tool = {"name": "inquire", "function": "tests.testing.trial_agents:inquire"}
    flow = workflow("inquires", tools=[tool])
    flow["agents"][0]["tools"] = ["inquire"]
    inputs: dict[str, Json] = {"what": "Why?"}
    run = await forked(tmp_path, flow, inputs, lambda one: Said(answer=one.kind), after=after)
    assert run.result == {"said": "question", "go": "signal"}
    assert [call.name for call in run.tool_calls()] == ["inquire"]
    assert [(call.name, call.inside) for call in run.questions()] == [
        ("question", True),
        ("go", True),
    ]
    done = await replayed(run, flow, tools=tools)
    assert done.same, (done.differences, done.divergences)
