"""What a graph is given and hands on, and which are refused by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from omium.errors import ExecutionFailed
from omium.testing.script import Answer, ErrorAnswer, Rule
from tests.actors.gates import gate
from tests.actors.stage import Stage
from tests.frameworks.crewai_stage import events_of, failure, in_turn, workflow
from tests.frameworks.langgraph_stage import LANGGRAPH, graph, graph_stage

pytestmark = LANGGRAPH


async def test_models_in_the_state_survive_a_kill_and_the_output_is_json(tmp_path: Path) -> None:
    with gate() as upstream:

        def slow(_: dict[str, Any]) -> Answer:
            upstream.hold()
            return Answer(content="well")

        async with graph_stage(tmp_path, [Rule(answer=slow)]) as s:
            schema = {
                "type": "object",
                "properties": {"verdict": {"type": "string"}, "score": {"type": "integer"}},
                "required": ["verdict", "score"],
            }
            flow = workflow(graph("judging", output=schema), tools=[])
            execution_id = await s.submit(flow, {"case": "mild"})
            await upstream.reached()
            s.kill()
            await s.until(execution_id, "attempt.started", times=2)
            upstream.open()
            assert await s.result(execution_id) == {"verdict": "mild", "score": 7}
            assert s.provider.received == 1


async def test_an_output_that_breaks_its_schema_is_refused(tmp_path: Path) -> None:
    schema = {"type": "object", "properties": {"score": {"type": "string"}}}
    async with graph_stage(tmp_path, in_turn(Answer(content="well"))) as s:
        execution_id = await s.submit(workflow(graph("judging", output=schema)), {"case": "mild"})
        with pytest.raises(ExecutionFailed, match="score") as failed:
            await s.result(execution_id)
    assert failed.value.failure_kind == "output_schema"


async def test_inputs_and_earlier_outputs_are_the_input_of_the_graph(tmp_path: Path) -> None:
    async with graph_stage(tmp_path, in_turn(Answer(content="well"))) as s:
        flow = workflow(graph("judging", name="before"), graph("upper"), tools=[])
        result = await s.result(await s.submit(flow, {"case": "mild"}))
    assert result == {"case": "mild", "before": {"verdict": "mild", "score": 7}}


async def test_an_entrypoint_may_take_both_and_bring_a_checkpointer_of_its_own(
    tmp_path: Path,
) -> None:
    async with graph_stage(tmp_path) as s:
        flow = workflow(graph("made_on_a_loop"), tools=[])
        execution_id = await s.submit(flow, {"topic": "it"})
        result: Any = await s.result(execution_id)
        entries = await s.journal(execution_id)
    assert result == {"said": ["it after {}"]}
    assert len(events_of(entries, "step.completed")) == 1


@pytest.mark.parametrize("name", ["ready", "ready_compiled"])
async def test_an_entrypoint_may_be_the_graph_itself(tmp_path: Path, name: str) -> None:
    async with graph_stage(tmp_path) as s:
        execution_id = await s.submit(workflow(graph(name), tools=[]), {"case": "x", "other": 1})
        assert await s.result(execution_id) == "x"


async def test_executions_side_by_side_share_a_process_and_no_state(tmp_path: Path) -> None:
    async with graph_stage(tmp_path) as s:
        with gate() as till:
            till.open()
            flow = workflow(graph("loop"), tools=[])
            given = {"till": till.name, "rounds": 3}
            ids = [await s.submit(flow, given) for _ in range(4)]
            results: list[Any] = [await s.result(execution_id) for execution_id in ids]
    assert [result["said"] for result in results] == [["echo: Again?", "hold"] * 3] * 4
    assert s.provider.received == 12


@pytest.mark.parametrize(
    ("function", "kind", "reason"),
    [
        ("raises", "entrypoint", "building the graph raised RuntimeError: no key for the vault"),
        ("no_graph", "entrypoint", "it returned a list, expected a graph"),
        ("unfinished", "entrypoint", "compiling the graph raised ValueError"),
        ("wants_more", "entrypoint", "it takes 'key'; it can be given inputs and outputs"),
        ("stops_before", "entrypoint", "it has breakpoints"),
        ("missing", "entrypoint", "has no 'missing'"),
        ("tests.frameworks.no_such:graph", "entrypoint", "No module named"),
        ("leaves", "agent", "SystemExit"),
        ("opaque", "agent", "the state's 'before' holds a tests.frameworks.graphs.Opaque"),
    ],
)
async def test_what_cannot_be_run_says_why(
    tmp_path: Path, function: str, kind: str, reason: str
) -> None:
    async with graph_stage(tmp_path) as s:
        execution_id = await s.submit(workflow(graph(function), tools=[]))
        with pytest.raises(ExecutionFailed) as failed:
            await s.result(execution_id)
        assert reason in (await failure(s, execution_id)).message
        assert s.provider.received == 0
        # The process goes on: another execution is no worse for it.
        again = await s.submit(workflow(graph("upper"), tools=[]), {"case": "x", "before": 1})
        assert await s.result(again) == {"case": "x", "before": 1}
    assert failed.value.failure_kind == kind


async def test_refusals_of_the_provider_are_named(tmp_path: Path) -> None:
    refusal = Answer(error=ErrorAnswer(status=429, message="too many requests"))
    async with graph_stage(tmp_path, [Rule(answer=refusal)]) as s:
        execution_id = await s.submit(workflow(graph("three"), tools=[]), {"till": "none"})
        with pytest.raises(ExecutionFailed) as failed:
            await s.result(execution_id)
        assert s.provider.received == 1
        assert "too many requests" in (await failure(s, execution_id)).message
    assert failed.value.failure_kind == "model_refused"


# ---------------------------------------------------------------------- forks


async def finished(s: Stage, till: Any, rounds: int = 2) -> tuple[Any, list[Any]]:
    till.open()
    flow = workflow(graph("loop"), tools=[])
    origin = await s.submit(flow, {"till": till.name, "rounds": rounds})
    await s.result(origin)
    return origin, await s.journal(origin)


async def test_a_fork_at_a_step_goes_on_from_its_state(tmp_path: Path) -> None:
    with gate() as till:
        answers = in_turn(*(Answer(content=text) for text in ("uno", "dos", "TRES")))
        async with graph_stage(tmp_path, answers) as s:
            origin, before = await finished(s, till)
            second = [e.index for e in before if getattr(e.event, "step", "") == "2"][-1]
            fork = await s.client.fork(origin, second)
            result: Any = await s.result(fork)
            assert await s.journal(origin) == before
    assert result["said"] == ["uno", "hold", "TRES", "hold"]
