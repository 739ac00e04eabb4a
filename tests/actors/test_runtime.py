"""Executions from submission to result, through the real coordinator, gateway and workers."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from omium.actors.supervision import Limits
from omium.errors import Conflict, ExecutionCancelled, ExecutionFailed, NotFound
from omium.testing.runtime import QUICK
from omium.types import ExecutionId
from tests.actors.gates import gate
from tests.actors.stage import agent, stage, workflow


async def test_an_agent_runs_to_its_result(tmp_path: Path) -> None:
    async with stage(tmp_path) as s:
        execution_id = await s.submit(workflow(agent("counter", "count")), {"to": 3})
        assert await s.result(execution_id) == {"reached": 3}
        types = await s.types(execution_id)
    assert types == [
        "execution.created",
        "attempt.started",
        "step.completed",
        "step.completed",
        "step.completed",
        "agent.completed",
        "execution.completed",
    ]


async def test_outputs_pass_along_a_chain(tmp_path: Path) -> None:
    flow = workflow(*(agent(name, "gather") for name in ("one", "two", "three")))
    async with stage(tmp_path) as s:
        result = await s.result(await s.submit(flow))
    one = {"name": "one", "from": {}}
    two = {"name": "two", "from": {"one": one}}
    assert result == {"name": "three", "from": {"one": one, "two": two}}


async def test_a_diamond_runs_its_middle_side_by_side_and_joins(tmp_path: Path) -> None:
    flow = workflow(
        *(agent(name, "gather") for name in ("top", "left", "right", "bottom")),
        handoffs=[
            {"from": "top", "to": ["left", "right"]},
            "left -> bottom",
            "right -> bottom",
        ],
    )
    async with stage(tmp_path) as s:
        with gate() as middle:
            execution_id = await s.submit(flow, {"left": middle.name, "right": middle.name})
            await middle.reached(2)
            assert sorted(middle.notes) == ["left", "right"]
            view = await s.client.view(execution_id)
            assert {a.name: a.status for a in view.agents} == {
                "top": "completed",
                "left": "leased",
                "right": "leased",
                "bottom": "waiting",
            }
            middle.open()
            result = await s.result(execution_id)
    assert isinstance(result, dict)
    assert result["name"] == "bottom"
    assert set(result["from"]) == {"top", "left", "right"}  # pyright: ignore


async def test_agents_that_nobody_follows_are_the_result_by_name(tmp_path: Path) -> None:
    flow = workflow(agent("left", "gather"), agent("right", "gather"), handoffs=[])
    async with stage(tmp_path) as s:
        result = await s.result(await s.submit(flow))
    assert result == {
        "left": {"name": "left", "from": {}},
        "right": {"name": "right", "from": {}},
    }


async def test_an_agent_sees_what_comes_before_it_and_nothing_else(tmp_path: Path) -> None:
    flow = workflow(
        *(agent(name, "gather") for name in ("one", "two", "aside", "end")),
        handoffs=["one -> two -> end"],
    )
    async with stage(tmp_path) as s:
        with gate() as two:
            execution_id = await s.submit(flow, {"two": two.name})
            await s.until(execution_id, "agent.completed", times=2)
            two.open()
            result = await s.result(execution_id)
    assert isinstance(result, dict)
    assert set(result) == {"aside", "end"}
    assert set(result["end"]["from"]) == {"one", "two"}  # pyright: ignore


async def test_many_executions_share_one_worker(tmp_path: Path) -> None:
    settings = QUICK.__class__(limits=Limits(workers_max=1))
    flow = workflow(agent("doer"))
    async with stage(tmp_path, settings=settings, capacity=32) as s:
        with gate() as all_at_once:
            hold = {"hold": all_at_once.name}
            ids = [
                await s.submit(flow, {"do": [{"checkpoint": ""}, hold, {"ask": f"number {n}"}]})
                for n in range(32)
            ]
            await all_at_once.reached(32)
            view = await s.client.runtime()
            assert [worker.attempts for worker in view.workers] == [32]
            all_at_once.open()
            results = await asyncio.gather(*map(s.result, ids))
    assert results == [{"heard": [f"echo: number {n}"]} for n in range(32)]
    assert s.provider.received == 32


async def test_more_executions_than_room_wait_their_turn(tmp_path: Path) -> None:
    settings = QUICK.__class__(limits=Limits(workers_max=1))
    async with stage(tmp_path, settings=settings, capacity=1) as s:
        flow = workflow(agent("counter", "count"))
        ids = [await s.submit(flow, {"to": 1}) for _ in range(5)]
        assert await asyncio.gather(*map(s.result, ids)) == [{"reached": 1}] * 5
        assert len((await s.client.runtime()).workers) == 1


async def test_a_worker_bound_to_one_workflow_makes_room_for_another(tmp_path: Path) -> None:
    settings = QUICK.__class__(limits=Limits(workers_max=1))
    async with stage(tmp_path, settings=settings) as s:
        first = await s.submit(workflow(agent("counter", "count")), {"to": 1})
        assert await s.result(first) == {"reached": 1}
        second = await s.submit(workflow(agent("other", "count")), {"to": 2})
        assert await s.result(second) == {"reached": 2}


async def test_submitting_twice_with_one_id_creates_once(tmp_path: Path) -> None:
    async with stage(tmp_path) as s:
        flow = workflow(agent("counter", "count"))
        chosen = ExecutionId("ex_chosen")
        assert await s.submit(flow, {"to": 2}, execution_id=chosen) == chosen
        assert await s.submit(flow, {"to": 9}, execution_id=chosen) == chosen
        assert await s.result(chosen) == {"reached": 2}
        assert (await s.types(chosen)).count("execution.created") == 1


async def test_cancelling_stops_the_agent_within_a_second_and_is_final(tmp_path: Path) -> None:
    async with stage(tmp_path) as s:
        with gate() as held:
            execution_id = await s.do({"hold": held.name}, {"ask": "never"})
            await held.reached()
            async with asyncio.timeout(1):
                await s.client.cancel(execution_id, by="tester")
                await s.idle()
        with pytest.raises(ExecutionCancelled):
            await s.result(execution_id)
        with pytest.raises(Conflict, match="cancelled; fork it"):
            await s.client.resume(execution_id)
        await s.client.cancel(execution_id)
        assert (await s.types(execution_id)).count("execution.cancelled") == 1
    assert s.provider.received == 0


async def test_a_completed_execution_cannot_be_cancelled_or_resumed(tmp_path: Path) -> None:
    async with stage(tmp_path) as s:
        execution_id = await s.submit(workflow(agent("counter", "count")), {"to": 1})
        await s.result(execution_id)
        with pytest.raises(Conflict, match="cannot happen to a completed"):
            await s.client.cancel(execution_id)
        with pytest.raises(Conflict, match="completed; fork it"):
            await s.client.resume(execution_id)


async def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    async with stage(tmp_path) as s:
        missing = ExecutionId("ex_nowhere")
        for asked in (
            s.client.view(missing),
            s.client.cancel(missing),
            s.client.resume(missing),
            s.result(missing),
            s.client.fork(missing, 1),
        ):
            with pytest.raises(NotFound, match="no execution 'ex_nowhere'"):
                await asked


async def test_a_failed_step_is_tried_again_as_often_as_it_says(tmp_path: Path) -> None:
    async with stage(tmp_path) as s:
        execution_id = await s.do({"checkpoint": ""}, {"ask": "x"}, {"fail": "no"}, retries=2)
        with pytest.raises(ExecutionFailed) as failed:
            await s.result(execution_id)
        view = await s.client.view(execution_id)
        types = await s.types(execution_id)
    assert failed.value.failure_kind == "agent"
    assert view.failure is not None
    assert view.failure.message == "RuntimeError: no"
    assert view.failure.checkpoint == types.index("step.completed") + 1
    assert view.failure.agent == "doer"
    assert types.count("attempt.started") == 3
    assert s.provider.received == 1


async def test_a_failed_execution_goes_on_where_it_failed(tmp_path: Path) -> None:
    async with stage(tmp_path) as s:
        with gate() as till:
            execution_id = await s.do(
                {"ask": "first"},
                {"checkpoint": ""},
                {"tool": "broken", "with": {"till": till.name}},
            )
            with pytest.raises(ExecutionFailed, match="no such account"):
                await s.result(execution_id)
            await s.client.resume(execution_id)
            with pytest.raises(ExecutionFailed, match="no such account"):
                await s.result(execution_id)
        # The tool that ended the attempt was run again; what came before was not.
        assert till.notes == ["ran", "ran"]
        assert s.provider.received == 1
