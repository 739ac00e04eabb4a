"""A crew that judges what another one hands over: its vote is asked for under its schema."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from omium.definitions import VOTE
from omium.execution.events import HandoffVoted
from omium.testing.script import Answer
from tests.frameworks.crewai_stage import (
    CREWAI,
    asked,
    crew,
    crew_stage,
    events_of,
    in_turn,
    task,
    texts,
    workflow,
)

pytestmark = CREWAI


async def test_a_crew_votes_and_who_it_is_against_runs_again(tmp_path: Path) -> None:
    flow = workflow(
        crew(task("Name a rate."), name="reader", retries=1),
        crew(task("Is {reader} usual?"), name="judge"),
        crew(task("Take {reader}."), name="pricer"),
        handoffs=[{"from": "reader", "to": "pricer", "validators": ["judge"]}],
    )
    against = {"reason": "nobody pays that", "ballot": "against"}
    in_favour = {"reason": "it is usual", "ballot": "for"}
    said: tuple[Any, ...] = ("99 %", against, "5 %", in_favour, "taken")
    async with crew_stage(tmp_path, in_turn(*(Answer(content=one) for one in said))) as s:
        execution_id = await s.submit(flow)
        assert await s.result(execution_id) == "taken"
        bodies = asked(s)
        votes: list[HandoffVoted] = events_of(await s.journal(execution_id), "handoff.voted")
    assert [(v.handoff, v.validator, v.ballot, v.reason) for v in votes] == [
        ("reader#1>pricer", "judge", "against", "nobody pays that"),
        ("reader#2>pricer", "judge", "for", "it is usual"),
    ]
    _, first, _, second, last = bodies
    assert "Is 99 % usual?" in texts(first)
    assert "Is 5 % usual?" in texts(second)
    assert first["response_format"]["json_schema"]["schema"]["properties"] == VOTE["properties"]
    assert "Take 5 %." in texts(last)
    assert "usual" not in str(texts(last)), "the vote is not for the receiver"
