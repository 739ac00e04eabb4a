"""Tasks that run at once, what a task is told of others, and answers with a structure."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from omium.errors import ExecutionCancelled, ExecutionFailed, ExecutionPaused
from omium.testing.script import Answer, ErrorAnswer, Rule
from tests.actors.gates import gate
from tests.frameworks.crewai_stage import (
    CREWAI,
    asked,
    call,
    crew,
    crew_stage,
    events_of,
    failure,
    in_turn,
    own_crew,
    task,
    texts,
    workflow,
)

pytestmark = CREWAI


def both(*names: str, **fields: Any) -> list[dict[str, Any]]:
    """Tasks that run at once."""
    return [task(f"Say {name}.", name=name, **{"async": True}, **fields) for name in names]


def told(name: str) -> str:
    return f"Say {name}."


async def test_async_tasks_run_at_once_and_the_next_one_waits_for_them(tmp_path: Path) -> None:
    with gate() as till:

        def answer(body: dict[str, Any]) -> Answer:
            said = texts(body)
            name = next(n for n in ("begin", "left", "right", "join") if told(n) in said)
            used = any(message["role"] == "tool" for message in body["messages"])
            if name in ("left", "right") and not used:
                return call("held", till=till.name)
            return Answer(content=f"<{name}>")

        async with crew_stage(tmp_path, [Rule(answer=answer)]) as s:
            begin, join = task(told("begin"), name="begin"), task(told("join"), tools=[])
            flow = workflow(crew(begin, *both("left", "right"), join, tools=["held"]))
            execution_id = await s.submit(flow)
            # Neither goes on before both are there.
            await till.reached(2)
            till.open()
            assert await s.result(execution_id) == "<join>"
            bodies = [texts(body) for body in asked(s)]
            entries = await s.journal(execution_id)
    left, right, join = (next(b for b in bodies if told(n) in b) for n in ("left", "right", "join"))
    assert "<begin>" in left and "<begin>" in right
    assert "<left>" not in right and "<right>" not in left
    # In the order of the tasks, whichever came first.
    assert join.index("<left>") < join.index("<right>")
    steps = [e.step for e in events_of(entries, "step.completed")]
    assert sorted(steps) == ["0", "1", "2", "3"]
    assert steps[-1] == "3"


async def test_a_finished_one_of_two_is_not_run_again(tmp_path: Path) -> None:
    with gate() as till:
        rules = [
            Rule(
                answer=lambda body: (
                    call("held_again", till=till.name)
                    if told("slow") in texts(body) and body["messages"][-1]["role"] != "tool"
                    else Answer(content="said")
                )
            )
        ]
        async with crew_stage(tmp_path, rules) as s:
            flow = workflow(crew(*both("slow", "quick"), task("Say join."), tools=["held_again"]))
            execution_id = await s.submit(flow)
            await till.reached()
            done: Any = (await s.until(execution_id, "step.completed")).event
            s.kill()
            await till.reached(2)
            till.open()
            assert await s.result(execution_id) == "said"
            assert s.provider.received == 4
            entries = await s.journal(execution_id)
    assert done.step == "1" and done.state.inline["running"] == [0]
    started = [e.step for e in events_of(entries, "step.started")]
    # Only the one that had not ended began anew.
    assert (started.count("0"), started.count("1"), started.count("2")) == (2, 1, 1)


async def test_a_context_is_what_a_task_is_told(tmp_path: Path) -> None:
    tasks = [
        task("Say one.", name="one"),
        task("Say two.", name="two", context=[]),
        task("Say three.", name="three", context=["one"]),
    ]
    rules = in_turn(*(Answer(content=text) for text in ("uno", "dos", "tres")))
    async with crew_stage(tmp_path, rules) as s:
        assert await s.result(await s.submit(workflow(crew(*tasks)))) == "tres"
        bodies = [texts(body) for body in asked(s)]
    assert "uno" not in bodies[1]
    assert "uno" in bodies[2] and "dos" not in bodies[2]


async def test_one_that_fails_lets_the_other_finish_first(tmp_path: Path) -> None:
    with gate() as till:

        def answer(body: dict[str, Any]) -> Answer:
            if told("bad") in texts(body):
                return Answer(error=ErrorAnswer(status=500, message="no more"))
            used = any(message["role"] == "tool" for message in body["messages"])
            return Answer(content="good") if used else call("held", till=till.name)

        async with crew_stage(tmp_path, [Rule(answer=answer)]) as s:
            flow = workflow(crew(*both("bad", "good"), task("Say join."), tools=["held"]))
            execution_id = await s.submit(flow)
            await s.until(execution_id, "call.failed")
            await till.reached()
            till.open()
            with pytest.raises(ExecutionFailed):
                await s.result(execution_id)
            problem = await failure(s, execution_id)
            entries = await s.journal(execution_id)
    assert "no more" in problem.message
    # What the other one did is on record, and will not be paid for twice.
    assert [e.step for e in events_of(entries, "step.completed")] == ["1"]


async def test_an_unknown_outcome_in_a_thread_pauses_the_execution(tmp_path: Path) -> None:
    with gate() as till:

        def answer(body: dict[str, Any]) -> Answer:
            if "Say left." in texts(body):
                return call("held", till=till.name)
            return Answer(content="right")

        async with crew_stage(tmp_path, [Rule(answer=answer)]) as s:
            flow = workflow(crew(*both("left", "right"), task("Say join."), tools=["held"]))
            execution_id = await s.submit(flow)
            await till.reached()
            s.kill()
            with pytest.raises(ExecutionPaused, match="nobody knows how it ended"):
                await s.result(execution_id)
            till.open()
    assert len(till.notes) == 1


async def test_cancelling_stops_both(tmp_path: Path) -> None:
    with gate() as upstream:

        def slow(_: dict[str, Any]) -> Answer:
            upstream.hold()
            return Answer(content="late")

        async with crew_stage(tmp_path, [Rule(answer=slow)]) as s:
            flow = workflow(crew(*both("left", "right"), task("Say join.")))
            execution_id = await s.submit(flow)
            await s.until(execution_id, "call.intended", times=2)
            await upstream.reached()
            async with asyncio.timeout(2):
                await s.client.cancel(execution_id, by="tester")
                await s.idle()
            upstream.open()
            with pytest.raises(ExecutionCancelled):
                await s.result(execution_id)
            # Neither of them made another call.
            assert (await s.types(execution_id)).count("call.intended") == 2


# ---------------------------------------------------------------------- the user's own


async def test_a_crew_may_end_with_an_async_task(tmp_path: Path, point: Any) -> None:
    async with crew_stage(tmp_path, in_turn(Answer(content="said"))) as s:
        point(s)
        assert await s.result(await s.submit(workflow(own_crew("ends_async")))) == "said"


async def test_outputs_that_are_json_survive_a_kill(tmp_path: Path, point: Any) -> None:
    with gate() as upstream:

        def slow(_: dict[str, Any]) -> Answer:
            upstream.hold()
            return Answer(content={"day": "2026-02-03"})

        rules = [*in_turn(Answer(content={"verdict": "mild", "score": 7})), Rule(answer=slow)]
        async with crew_stage(tmp_path, rules) as s:
            point(s)
            execution_id = await s.submit(workflow(own_crew("with_json")))
            await upstream.reached()
            s.kill()
            await s.until(execution_id, "attempt.started", times=2)
            upstream.open()
            assert await s.result(execution_id) == {"day": "2026-02-03"}
            assert s.provider.received == 2
            (first, _) = events_of(await s.journal(execution_id), "step.completed")
    assert first.state.inline["tasks"][0]["json_dict"] == {"verdict": "mild", "score": 7}
