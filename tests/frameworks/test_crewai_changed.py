"""A crew whose code has changed since its last checkpoint: no task gets another one's output."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from omium.errors import ExecutionFailed
from omium.testing.script import Answer, ErrorAnswer
from tests.actors.gates import gate
from tests.frameworks.crewai_stage import (
    CREWAI,
    asked,
    crew_stage,
    in_turn,
    own_crew,
    texts,
    workflow,
)

pytestmark = CREWAI

BROKEN = Answer(error=ErrorAnswer(status=400, message="it broke"))


def answers() -> list[Any]:
    return in_turn(Answer(content="uno"), BROKEN, Answer(content="dos"))


@pytest.mark.parametrize(
    ("first", "then", "now"),
    [
        (["Say one.", "Say two."], ["Say two.", "Say one."], "Say two."),
        (["a:Say one.", "b:Say two."], ["b:Say two.", "a:Say one."], "b"),
        (["a:Say one.", "b:Say two."], ["c:Say three.", "b:Say two."], "c"),
        (["Say one.", "Say two."], ["Say zero.", "Say one.", "Say two."], "Say zero."),
    ],
    ids=["turned round", "turned round, named", "another one", "one more before"],
)
async def test_another_task_in_the_place_of_a_finished_one_is_told(
    tmp_path: Path, point: Any, first: list[str], then: list[str], now: str
) -> None:
    async with crew_stage(tmp_path, answers()) as s:
        point(s)
        with gate() as till:
            inputs: Any = {"till": till.name, "first": first, "then": then}
            execution_id = await s.submit(workflow(own_crew("shuffled", retries=1)), inputs)
            with pytest.raises(ExecutionFailed, match=f"as task 0, where its crew now has '{now}'"):
                await s.result(execution_id)
        assert s.provider.received == 2


@pytest.mark.parametrize(
    ("first", "then"),
    [
        (["Say one.", "Say two."], ["Say one, please.", "Say two."]),
        (["a:Say one.", "b:Say two."], ["a:Say one, please.", "b:Say two."]),
    ],
    ids=["unnamed", "named"],
)
async def test_a_finished_task_may_be_worded_anew(
    tmp_path: Path, point: Any, first: list[str], then: list[str]
) -> None:
    async with crew_stage(tmp_path, answers()) as s:
        point(s)
        with gate() as till:
            inputs: Any = {"till": till.name, "first": first, "then": then}
            execution_id = await s.submit(workflow(own_crew("shuffled", retries=1)), inputs)
            assert await s.result(execution_id) == "dos"
        assert "uno" in texts(asked(s)[-1])
