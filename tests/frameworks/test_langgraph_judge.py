"""A graph that judges what another one hands over: what it names ``output`` is its vote."""

from __future__ import annotations

from pathlib import Path

from omium.execution.events import HandoffVoted
from omium.testing.script import Answer, Rule
from tests.actors.stage import workflow
from tests.frameworks.langgraph_stage import LANGGRAPH, graph, graph_stage

pytestmark = LANGGRAPH


async def test_a_graph_votes_and_who_it_is_against_runs_again(tmp_path: Path) -> None:
    flow = workflow(
        graph("says_once", name="reader", retries=1),
        graph("weighs", name="judge"),
        graph("hears", name="pricer"),
        handoffs=[{"from": "reader", "to": "pricer", "validators": ["judge"]}],
    )
    rules = [Rule(answer=Answer(content=text), times=1) for text in ("99 %", "5 %")]
    async with graph_stage(tmp_path, rules) as s:
        execution_id = await s.submit(flow)
        assert await s.result(execution_id) == {"heard": {"reader": "5 %"}}
        events = [entry.event for entry in await s.journal(execution_id)]
    votes = [
        (event.handoff, event.validator, event.ballot, event.reason)
        for event in events
        if isinstance(event, HandoffVoted)
    ]
    assert votes == [
        ("reader#1>pricer", "judge", "against", "nobody pays 99 %"),
        ("reader#2>pricer", "judge", "for", "it is usual"),
    ]
