"""Teams and agents that a definition describes: by turns, each a step and a checkpoint."""

from __future__ import annotations

from pathlib import Path

from tests.frameworks.autogen_stage import (
    AUTOGEN,
    asked,
    assistant,
    of_component,
    says,
    scopes_of,
    steps_of,
    team,
    team_stage,
    texts,
    until,
    workflow,
)

pytestmark = AUTOGEN


async def test_a_round_robin_takes_turns_until_a_text_is_mentioned(tmp_path: Path) -> None:
    component = team(
        "RoundRobinGroupChat",
        assistant("writer"),
        assistant("critic"),
        termination_condition=until("TextMention", text="APPROVE"),
    )
    async with team_stage(tmp_path, says("draft one", "no", "draft two", "APPROVE")) as s:
        flow = workflow(of_component(component, answer_from="writer", task="On {topic}."))
        execution_id = await s.submit(flow, {"topic": "rain"})
        assert await s.result(execution_id) == "draft two"
        entries = await s.journal(execution_id)
        bodies = asked(s)
    assert steps_of(entries) == [("0", "writer"), ("1", "critic"), ("2", "writer"), ("3", "critic")]
    assert scopes_of(entries) == ["0|writer", "1|critic", "2|writer", "3|critic"]
    assert texts(bodies[3]) == "I am critic.\nOn rain.\ndraft one\nno\ndraft two"
