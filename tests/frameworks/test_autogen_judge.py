"""A member that judges what another one hands over: its vote is asked for under its schema."""

from __future__ import annotations

from pathlib import Path

from omium.execution.events import HandoffVoted
from tests.frameworks.autogen_stage import (
    AUTOGEN,
    assistant,
    events_of,
    of_component,
    says,
    team_stage,
    workflow,
)

pytestmark = AUTOGEN


async def test_a_member_votes_and_who_it_is_against_runs_again(tmp_path: Path) -> None:
    flow = workflow(
        of_component(assistant("one"), name="reader", retries=1),
        of_component(assistant("two"), name="judge", task="Is {reader} usual?"),
        of_component(assistant("three"), name="pricer", task="Take {reader}."),
        handoffs=[{"from": "reader", "to": "pricer", "validators": ["judge"]}],
        model="scripted/scripted",
    )
    against = '{"reason": "nobody pays that", "ballot": "against"}'
    in_favour = '{"reason": "it is usual", "ballot": "for"}'
    rules = says("99 %", against, "5 %", in_favour, "taken")
    async with team_stage(tmp_path, rules) as s:
        execution_id = await s.submit(flow)
        assert await s.result(execution_id) == "taken"
        votes: list[HandoffVoted] = events_of(await s.journal(execution_id), "handoff.voted")
        asked = [str(request.body) for request in s.provider.calls]
    assert [(v.handoff, v.validator, v.ballot, v.reason) for v in votes] == [
        ("reader#1>pricer", "judge", "against", "nobody pays that"),
        ("reader#2>pricer", "judge", "for", "it is usual"),
    ]
    assert ["Is 99 % usual?" in body for body in asked] == [False, True, False, False, False]
    assert ["Take 5 %." in body for body in asked] == [False, False, False, False, True]
