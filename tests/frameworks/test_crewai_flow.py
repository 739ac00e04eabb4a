"""Flows of CrewAI: methods are steps, and the crews inside of them are under the journal."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from omium.errors import ExecutionFailed
from omium.execution.events import CallIntended
from omium.testing.script import Answer, ErrorAnswer, Rule
from tests.actors.gates import gate
from tests.frameworks.crewai_loss import Losses, noting
from tests.frameworks.crewai_stage import (
    CREWAI,
    crew_stage,
    events_of,
    failure,
    in_turn,
    own_crew,
    workflow,
)

pytestmark = CREWAI

NOTE_IDEMPOTENT = [
    {"name": "note_it", "function": "tests.frameworks.crews:held", "idempotent": True}
]


def own_flow(function: str, **fields: Any) -> dict[str, Any]:
    return own_crew(f"tests.frameworks.flows:{function}", **fields)


async def test_methods_are_steps(tmp_path: Path, point: Any) -> None:
    with gate() as till:
        async with crew_stage(tmp_path, [Rule(answer=noting)]) as s:
            point(s)
            flow = workflow(own_flow("rounds"), tools=NOTE_IDEMPOTENT)
            execution_id = await s.submit(flow, {"till": till.name})
            result: Any = await s.result(execution_id)
            entries = await s.journal(execution_id)
    assert result["rounds"] == 2
    assert len(result["said"]) == 6
    steps = [e.step for e in events_of(entries, "step.completed")]
    assert steps[:5] == ["begin", "turn", "judge", "turn.1", "judge.1"]
    assert sorted(steps[5:7]) == ["left", "right"]
    assert steps[7:] == ["finish"]
    assert len(till.notes) == 5
    tools = [e for e in events_of(entries, "call.intended") if e.key.kind == "tool"]
    assert all(e.idempotent for e in tools)
    branches = {e.key.scope.partition("-")[0] for e in events_of(entries, "call.intended")}
    # Two tasks at once in a crew of one method are told apart.
    assert branches >= {"left", "left|task", "right", "turn", "turn.1"}


async def test_a_plain_state_and_inputs_in_it(tmp_path: Path, point: Any) -> None:
    async with crew_stage(tmp_path, in_turn(Answer(content="uno"))) as s:
        point(s)
        execution_id = await s.submit(workflow(own_flow("Plain")), {"topic": "tides"})
        assert await s.result(execution_id) == "uno about tides"


async def test_a_refusal_inside_fails_the_flow_once(tmp_path: Path, point: Any) -> None:
    refusal = Answer(error=ErrorAnswer(status=429, message="too many requests"))
    async with crew_stage(tmp_path, [Rule(answer=refusal)]) as s:
        point(s)
        execution_id = await s.submit(workflow(own_flow("rounds")), {"till": "none"})
        with pytest.raises(ExecutionFailed) as failed:
            await s.result(execution_id)
        assert s.provider.received == 1
    assert failed.value.failure_kind == "model_refused"


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        ("Unkept", "method 'begin' returned a object, which no checkpoint gives back"),
        ("UnkeptState", "flow's state would not come back from JSON"),
        ("Persisted", "its flow has persistence of its own"),
        ("Remembering", "a flow's remember() is in no journal; keep it in the flow's state"),
    ],
)
async def test_what_cannot_be_kept_is_refused(
    tmp_path: Path, point: Any, function: str, reason: str
) -> None:
    async with crew_stage(tmp_path) as s:
        point(s)
        execution_id = await s.submit(workflow(own_flow(function)))
        with pytest.raises(ExecutionFailed):
            await s.result(execution_id)
        assert reason in (await failure(s, execution_id)).message


@pytest.mark.slow
@pytest.mark.timeout(400)
async def test_nothing_is_done_twice_wherever_the_worker_is_lost(
    tmp_path: Path, point: Any
) -> None:
    losses = Losses()
    async with crew_stage(tmp_path, [Rule(answer=noting)], observer=losses) as s:
        point(s)
        losses.stage = s
        flow = workflow(own_flow("rounds"), tools=NOTE_IDEMPOTENT)
        # Its id is another one in each execution.
        entries = await losses.everywhere(
            flow, {}, lambda result: (result["rounds"], result["said"])
        )
    intents = [e.event for e in entries if isinstance(e.event, CallIntended)]
    assert [e.key.kind for e in intents].count("tool") == 5
