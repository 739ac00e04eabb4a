"""Supersteps are steps: committed, restored, and not run again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from omium.testing.script import Answer
from tests.actors.gates import gate
from tests.frameworks.crewai_stage import asked, events_of, in_turn, texts, workflow
from tests.frameworks.langgraph_stage import LANGGRAPH, graph, graph_stage

pytestmark = LANGGRAPH


async def test_supersteps_are_steps_and_are_not_repeated_after_a_kill(tmp_path: Path) -> None:
    with gate() as till:
        rules = in_turn(*(Answer(content=text) for text in ("uno", "dos", "tres")))
        async with graph_stage(tmp_path, rules) as s:
            execution_id = await s.submit(workflow(graph("three"), tools=[]), {"till": till.name})
            await till.reached(1)
            s.kill()
            await till.reached(2)
            till.open()
            result: Any = await s.result(execution_id)
            bodies = asked(s)
            entries = await s.journal(execution_id)
    assert result == {"till": till.name, "said": ["uno", "dos", "hold", "tres"]}
    assert [texts(body) for body in bodies] == ["Say one.", "Say two.", "Say three."]
    completed = events_of(entries, "step.completed")
    assert [(e.step, e.name) for e in completed] == [
        ("1", "one"), ("2", "two"), ("3", "hold"), ("4", "three"),
    ]  # fmt: skip
