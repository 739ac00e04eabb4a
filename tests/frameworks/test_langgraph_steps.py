"""Supersteps are steps: committed, restored, and not run again."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from omium.execution.events import StepCompleted
from omium.testing.script import Answer
from tests.actors.gates import gate
from tests.actors.stage import WAIT_S, Stage
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


def contents(*texts: str) -> list[Any]:
    return in_turn(*(Answer(content=text) for text in texts))


async def until_kept(s: Stage, execution_id: Any, tasks: int) -> None:
    """Wait until the writes of so many tasks of an unfinished superstep are on record."""
    async with asyncio.timeout(WAIT_S):
        async for entry in s.client.events(execution_id):
            event = entry.event
            if isinstance(event, StepCompleted) and len(event.state.inline["writes"]) == tasks:
                return


async def test_a_second_round_is_given_no_answer_of_the_first(tmp_path: Path) -> None:
    with gate() as till:
        async with graph_stage(tmp_path, contents("uno", "dos", "tres")) as s:
            flow = workflow(graph("loop"), tools=[])
            execution_id = await s.submit(flow, {"till": till.name, "rounds": 3})
            await till.reached(1)
            s.kill()
            await till.reached(2)
            till.open()
            result: Any = await s.result(execution_id)
            bodies = asked(s)
            entries = await s.journal(execution_id)
    assert result["said"] == ["uno", "hold", "dos", "hold", "tres", "hold"]
    assert len(bodies) == 3
    assert len({e.key.scope for e in events_of(entries, "call.intended")}) == 3


async def test_a_finished_branch_is_not_run_again_when_another_was_lost(tmp_path: Path) -> None:
    with gate() as till:
        async with graph_stage(tmp_path, contents("uno", "dos")) as s:
            flow = workflow(graph("parallel"), tools=[])
            execution_id = await s.submit(flow, {"till": till.name})
            await till.reached(2)
            await s.until(execution_id, "step.completed")
            s.kill()
            await till.reached(3)
            till.open()
            result: Any = await s.result(execution_id)
            bodies = asked(s)
            entries = await s.journal(execution_id)
    assert sorted(till.notes) == ["join", "quick", "slow", "slow"]
    assert sorted(result["said"]) == ["dos", "join", "uno"]
    assert len(bodies) == 2
    assert [e.step for e in events_of(entries, "step.completed")] == ["1/quick", "1", "2"]
    scopes = {e.key.scope for e in events_of(entries, "call.intended")}
    assert scopes == {"1|quick", "1|slow"}


async def test_what_send_starts_has_a_place_each(tmp_path: Path) -> None:
    with gate() as till:
        async with graph_stage(tmp_path, contents("a", "b", "c")) as s:
            flow = workflow(graph("sending"), tools=[])
            execution_id = await s.submit(flow, {"till": till.name})
            await till.reached(3)
            await until_kept(s, execution_id, 2)
            s.kill()
            await till.reached(4)
            till.open()
            result: Any = await s.result(execution_id)
            bodies = asked(s)
            entries = await s.journal(execution_id)
    assert sorted(till.notes) == ["hill", "join", "sea", "town", "town"]
    assert len(bodies) == 3
    assert [line.partition(":")[0] for line in result["said"]] == ["sea", "hill", "town", "join"]
    scopes = {e.key.scope for e in events_of(entries, "call.intended")}
    assert scopes == {"1|visit.0", "1|visit.1", "1|visit.2"}


async def test_the_steps_of_a_subgraph_are_steps(tmp_path: Path) -> None:
    with gate() as till:
        async with graph_stage(tmp_path, contents("a", "b", "c", "d")) as s:
            flow = workflow(graph("nested"), tools=[])
            execution_id = await s.submit(flow, {"till": till.name, "rounds": 1})
            await till.reached(1)
            s.kill()
            await till.reached(2)
            till.open()
            result: Any = await s.result(execution_id)
            bodies = asked(s)
            entries = await s.journal(execution_id)
    # Each round hands the child what was said before, and takes all that it says then.
    assert result["said"] == ["a", "b", "a", "b", "c", "d"]
    assert len(bodies) == 4
    assert till.notes == ["held", "held", "held"]
    steps = [e.step for e in events_of(entries, "step.completed")]
    assert steps == ["1/child/1", "1/child/2", "1", "2/child/1", "2/child/2", "2"]


async def test_subgraphs_that_a_node_calls_are_told_apart(tmp_path: Path) -> None:
    with gate() as till:
        async with graph_stage(tmp_path, contents("a", "b", "c", "d")) as s:
            flow = workflow(graph("called"), tools=[])
            execution_id = await s.submit(flow, {"till": till.name})
            await till.reached(1)
            s.kill()
            await till.reached(2)
            till.open()
            result: Any = await s.result(execution_id)
            bodies = asked(s)
            entries = await s.journal(execution_id)
    assert result["said"] == ["a", "b", "c", "d"]
    assert len(bodies) == 4
    steps = [e.step for e in events_of(entries, "step.completed")]
    assert steps == ["1/node/1", "1/node/2", "1/node#1/1", "1/node#1/2", "1"]


async def test_command_goto(tmp_path: Path) -> None:
    with gate() as till:
        async with graph_stage(tmp_path, contents("right")) as s:
            flow = workflow(graph("commanding"), tools=[])
            execution_id = await s.submit(flow, {"till": till.name})
            await till.reached(1)
            s.kill()
            await till.reached(2)
            till.open()
            result: Any = await s.result(execution_id)
    assert result["said"] == ["decided", "right"]
    assert s.provider.received == 1


@pytest.mark.parametrize(
    ("killed", "heard"),
    [
        (False, ["custom", "debug", "messages", "updates", "values"]),
        # The other graph's node is not run again, and says nothing for the second time.
        (True, ["debug", "values"]),
    ],
    ids=["whole", "killed"],
)
async def test_a_graph_may_follow_another_in_every_mode_of_streaming(
    tmp_path: Path, killed: bool, heard: list[str]
) -> None:
    with gate() as till:
        async with graph_stage(tmp_path, contents("once")) as s:
            flow = workflow(graph("streaming_inside"), tools=[])
            execution_id = await s.submit(flow, {"till": till.name})
            await till.reached(1)
            if killed:
                s.kill()
                await till.reached(2)
            till.open()
            result: Any = await s.result(execution_id)
    assert result["said"] == heard
    assert s.provider.received == 1


async def test_tasks_of_the_functional_api_are_not_run_again(tmp_path: Path) -> None:
    with gate() as till:
        async with graph_stage(tmp_path, contents("a", "b")) as s:
            flow = workflow(graph("functional"), tools=[])
            execution_id = await s.submit(flow, {"till": till.name})
            await till.reached(1)
            s.kill()
            await till.reached(2)
            till.open()
            assert await s.result(execution_id) == ["a", "b", "held"]
            entries = await s.journal(execution_id)
    assert s.provider.received == 2
    steps = [e.step for e in events_of(entries, "step.completed")]
    # The last task may be on record with the superstep that ends with it.
    assert steps[:2] == ["0/ask.workflow.0", "0/ask.workflow.1"] and steps[-1] == "0"


async def test_a_delta_channel_is_whole_after_a_kill(tmp_path: Path) -> None:
    with gate() as till:
        async with graph_stage(tmp_path) as s:
            execution_id = await s.submit(workflow(graph("delta"), tools=[]), {"till": till.name})
            await till.reached()
            s.kill()
            await till.reached(2)
            till.open()
            result: Any = await s.result(execution_id)
            entries = await s.journal(execution_id)
    assert till.notes == [["add 1", "add 2", "add 3", "add 4"]] * 2
    assert result["log"] == [f"add {n}" for n in range(1, 9)]
    # Of the thread, no more is carried along than is needed.
    kept = [e.state.inline["checkpoints"] for e in events_of(entries, "step.completed")]
    assert {len(checkpoints) for checkpoints in kept} == {1}


async def test_a_subgraph_remembers_across_rounds_and_a_kill(tmp_path: Path) -> None:
    with gate() as till:
        async with graph_stage(tmp_path) as s:
            flow = workflow(graph("remembering"), tools=[])
            execution_id = await s.submit(flow, {"till": till.name})
            await till.reached()
            s.kill()
            await till.reached(2)
            till.open()
            result: Any = await s.result(execution_id)
    assert result["said"] == ["1", "hold", "2", "hold", "3", "hold"]


# ---------------------------------------------------------------------- failures


async def test_a_node_that_failed_after_it_had_written_is_run_again(tmp_path: Path) -> None:
    with gate() as till:
        async with graph_stage(tmp_path, contents("uno")) as s:
            flow = workflow(graph("failing_route", retries=1), tools=[])
            result: Any = await s.result(await s.submit(flow, {"till": till.name}))
            assert s.provider.received == 1
    assert result["said"] == ["uno", "next"]


async def test_a_node_that_langgraph_tries_again_asks_again(tmp_path: Path) -> None:
    with gate() as till:
        async with graph_stage(tmp_path, contents("uno", "dos")) as s:
            flow = workflow(graph("retried"), tools=[])
            execution_id = await s.submit(flow, {"till": till.name})
            await till.reached()
            s.kill()
            await till.reached(2)
            till.open()
            result: Any = await s.result(execution_id)
            # The first attempt asked twice; the second one got by with the first answer.
            assert s.provider.received == 2
    assert result["said"] == ["uno"]


async def test_a_failure_that_is_handled_is_not_repeated(tmp_path: Path) -> None:
    with gate() as till:
        async with graph_stage(tmp_path) as s:
            flow = workflow(graph("handled"), tools=[])
            execution_id = await s.submit(flow, {"till": till.name})
            await till.reached(2)
            s.kill()
            await till.reached(3)
            till.open()
            result: Any = await s.result(execution_id)
    assert till.notes == ["fails", "handler", "handler"]
    assert result["said"] == ["handled"]
