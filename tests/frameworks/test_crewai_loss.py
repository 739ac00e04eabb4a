"""The loss of a crew's worker at every point of its journal costs nothing twice."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from omium.execution.events import CallIntended
from omium.testing.script import Answer, Rule, ToolCall
from tests.frameworks.crewai_loss import Losses, noting
from tests.frameworks.crewai_stage import CREWAI, crew_stage, own_crew, texts, workflow
from tests.frameworks.killed import KILLED

pytestmark = [*CREWAI, *KILLED, pytest.mark.slow, pytest.mark.timeout(400)]

NOTE_IDEMPOTENT = [
    {"name": "note_it", "function": "tests.frameworks.crews:held", "idempotent": True}
]


async def test_tasks_side_by_side(tmp_path: Path, point: Any) -> None:
    losses = Losses()
    async with crew_stage(tmp_path, [Rule(answer=noting)], observer=losses) as s:
        point(s)
        losses.stage = s
        flow = workflow(own_crew("side_by_side"), tools=NOTE_IDEMPOTENT)
        entries = await losses.everywhere(flow, {})
    intents = [e.event for e in entries if isinstance(e.event, CallIntended)]
    places = sorted((e.key.scope, e.key.kind) for e in intents)
    assert places == [
        ("0", "llm"), ("1", "llm"), ("1", "llm"), ("1", "tool"),
        ("2", "llm"), ("2", "llm"), ("2", "tool"), ("3", "llm"),
    ]  # fmt: skip


def managing(body: dict[str, Any]) -> Answer:
    """A manager gives each of two coworkers work at once, and one of them uses a tool."""
    asked = texts(body)
    used = any(message["role"] == "tool" for message in body["messages"])
    if "Manage " not in asked.split("context you")[0]:
        return noting(body)
    if used:
        return Answer(content="managed")
    till = re.search(r"gate-\w+", asked)
    where = till[0] if till is not None else "nowhere"
    parts = (("clerk", f"Note it at {where}."), ("writer", "Say it."))
    return Answer(
        tool_calls=tuple(
            ToolCall(
                name="delegate_work_to_coworker",
                arguments={"coworker": role, "task": text, "context": "none"},
            )
            for role, text in parts
        )
    )


@pytest.mark.parametrize("function", ["managed", "managed_at_once"])
async def test_a_manager_and_coworkers(tmp_path: Path, point: Any, function: str) -> None:
    losses = Losses()
    async with crew_stage(tmp_path, [Rule(answer=managing)], observer=losses) as s:
        point(s)
        losses.stage = s
        flow = workflow(own_crew(function), tools=NOTE_IDEMPOTENT)
        entries = await losses.everywhere(flow, {})
    intents = [e.event for e in entries if isinstance(e.event, CallIntended)]
    roles = sorted((e.key.scope.partition("-")[0], e.key.kind) for e in intents)
    one = [("llm", 2), ("clerk", 2), ("tool", 1), ("writer", 1)]
    assert len(roles) == 2 * sum(count for _, count in one)
