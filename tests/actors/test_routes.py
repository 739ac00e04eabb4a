"""Conditions and loops between agents, by real workers and a real coordinator."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from omium.errors import Conflict, ExecutionFailed
from omium.execution.events import AgentCompleted, AttemptStarted, RoundStarted, StepCompleted
from tests.actors.gates import gate
from tests.actors.stage import agent, stage, workflow

REVISE = {"properties": {"verdict": {"const": "revise"}}, "required": ["verdict"]}


def reviewed(**loop: Any) -> Any:
    """A writer, a critic that may send it back, and a printer after both."""
    return workflow(
        agent("writer", "tests.actors.routed:write"),
        agent("critic", "tests.actors.routed:judge"),
        agent("printer", "gather"),
        handoffs=[
            "writer -> critic -> printer",
            {"from": "critic", "to": "writer", "when": REVISE, "loop": {"max": 2, **loop}},
        ],
    )


async def test_a_writer_is_sent_back_until_the_critic_is_content(tmp_path: Path) -> None:
    with gate() as till:
        till.open()
        async with stage(tmp_path) as s:
            execution_id = await s.submit(reviewed(), {"till": till.name, "rounds": 3})
            result: Any = await s.result(execution_id)
            journal = await s.journal(execution_id)
            view = await s.client.view(execution_id)
    assert result["from"]["writer"]["round"] == 3
    assert result["from"]["writer"]["note"]["number"] == 2, "it saw what the critic said last"
    assert result["from"]["critic"]["verdict"] == "approve"
    # The same question and the same payment: each round makes them anew, under a key of its own.
    assert len(s.provider.calls) == 3
    assert len(till.notes) == len({*till.notes}) == 3
    rounds = [e.event for e in journal if isinstance(e.event, RoundStarted)]
    assert [(r.agent, r.to, r.round, r.agents) for r in rounds] == [
        ("critic", "writer", 2, ("writer", "critic")),
        ("critic", "writer", 3, ("writer", "critic")),
    ]
    steps = [e.event.step for e in journal if isinstance(e.event, StepCompleted)]
    assert steps == ["0", "#2/0", "#3/0"]
    causes = [e.event.cause for e in journal if isinstance(e.event, AttemptStarted)]
    assert {*causes} == {"first"}
    assert [(a.name, a.status, a.round) for a in view.agents] == [
        ("writer", "completed", 3),
        ("critic", "completed", 3),
        ("printer", "completed", 1),
    ]
    assert view.row.llm_calls == 3
    assert view.row.tool_calls == 3


async def test_a_worker_that_dies_in_a_later_round_repeats_nothing(tmp_path: Path) -> None:
    with gate() as till, gate() as hold:
        till.open()
        inputs = {"till": till.name, "rounds": 2, "hold": hold.name, "in": 2}
        async with stage(tmp_path) as s:
            execution_id = await s.submit(reviewed(), inputs)
            await hold.reached()
            for worker in [*s.runtime.spawner.workers]:
                s.runtime.spawner.end(worker)
            hold.open()
            result: Any = await s.result(execution_id)
    assert result["from"]["writer"]["round"] == 2
    assert len(s.provider.calls) == 2
    assert len({*till.notes}) == 2


async def test_a_large_output_is_judged_like_a_small_one(tmp_path: Path) -> None:
    with gate() as till:
        till.open()
        inputs = {"till": till.name, "rounds": 2, "padding": "x" * 100_000}
        async with stage(tmp_path) as s:
            execution_id = await s.submit(reviewed(), inputs)
            result: Any = await s.result(execution_id)
            journal = await s.journal(execution_id)
    assert result["from"]["writer"]["note"]["padding"] == "x" * 100_000
    outputs = [e.event for e in journal if isinstance(e.event, AgentCompleted)]
    assert all(output.output.blob is not None for output in outputs)
    assert [output.fits for output in outputs if output.agent == "critic"] == [("writer",), ()]


async def test_rounds_that_are_used_up_go_on_or_fail_as_the_definition_says(
    tmp_path: Path,
) -> None:
    with gate() as till:
        till.open()
        async with stage(tmp_path) as s:
            inputs = {"till": till.name, "rounds": 9}
            result: Any = await s.result(await s.submit(reviewed(), inputs))
            assert result["from"]["critic"] == {"verdict": "revise", "number": 3, "padding": ""}
            execution_id = await s.submit(reviewed(max=1, then="fail"), {**inputs, "rounds": 4})
            with pytest.raises(ExecutionFailed, match="rounds are used up"):
                await s.result(execution_id)
            view = await s.client.view(execution_id)
            assert view.failure is not None
            assert view.failure.kind == "rounds_exhausted"
            # To resume is to try again: one more round, and then it fails anew.
            await s.client.resume(execution_id)
            with pytest.raises(ExecutionFailed, match="rounds are used up"):
                await s.result(execution_id)
            await s.client.resume(execution_id)
            result = await s.result(execution_id)
            assert result["from"]["writer"]["round"] == 4


async def test_a_fork_changes_what_a_critic_said_and_so_the_way(tmp_path: Path) -> None:
    with gate() as till:
        till.open()
        async with stage(tmp_path) as s:
            origin = await s.submit(reviewed(), {"till": till.name, "rounds": 2})
            await s.result(origin)
            journal = await s.journal(origin)
            said, round_two = (
                next(e.index for e in journal if isinstance(e.event, kind) and e.event.agent == who)
                for kind, who in ((AgentCompleted, "critic"), (RoundStarted, "critic"))
            )
            fork = await s.client.fork(origin, said, {"outputs.critic.verdict": "approve"})
            result: Any = await s.result(fork)
            assert result["from"]["writer"]["round"] == 1
            fork = await s.client.fork(origin, round_two, {"outputs.critic.number": 77})
            result = await s.result(fork)
            assert result["from"]["writer"]["note"]["number"] == 77
            with pytest.raises(Conflict, match="does not hand back"):
                await s.client.fork(origin, round_two, {"outputs.critic.verdict": "approve"})


@pytest.mark.parametrize(("answer", "way"), [("high", "alarm"), ("low", "clerk")])
async def test_one_of_two_ways_is_taken_and_the_other_skipped(
    tmp_path: Path, answer: str, way: str
) -> None:
    flow = workflow(
        agent("triage", "wordy"),
        agent("alarm", "gather"),
        agent("clerk", "gather"),
        agent("filer", "gather"),
        handoffs=[
            {"from": "triage", "to": "alarm", "when": {"const": "high"}},
            {"from": "triage", "to": "clerk", "otherwise": True},
            {"from": "alarm", "to": "filer"},
            {"from": "clerk", "to": "filer"},
        ],
    )
    async with stage(tmp_path) as s:
        execution_id = await s.submit(flow, {"answer": answer})
        result: Any = await s.result(execution_id)
        view = await s.client.view(execution_id)
    assert [*result["from"]] == ["triage", way]
    (skipped,) = {"alarm", "clerk"} - {way}
    assert {a.name: a.status for a in view.agents} == {
        "triage": "completed",
        way: "completed",
        skipped: "skipped",
        "filer": "completed",
    }
    assert view.row.agents_done == view.row.agents_total


async def test_the_result_is_of_those_who_handed_to_nobody(tmp_path: Path) -> None:
    flow = workflow(
        agent("triage", "wordy"),
        agent("alarm", "gather"),
        handoffs=[{"from": "triage", "to": "alarm", "when": {"const": "high"}}],
    )
    async with stage(tmp_path) as s:
        assert await s.result(await s.submit(flow, {"answer": "low"})) == "low"
