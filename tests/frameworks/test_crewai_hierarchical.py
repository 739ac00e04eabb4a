"""Crews with a manager, agents that ask one another, and what else runs inside of a task."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import pytest

from omium.errors import ExecutionFailed
from omium.testing.script import Answer, ErrorAnswer, Rule, ToolCall
from omium.types import Json
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

DELEGATE = "delegate_work_to_coworker"
MEMBERS = [
    {"role": "Finder", "goal": "Find {topic}.", "backstory": "Keen.", "tools": ["noted"]},
    {"role": "Writer", "goal": "Write.", "backstory": "Plain.", "model": "openai/other",
     "tools": []},
]  # fmt: skip


def managed(*tasks: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return crew(*tasks, process="hierarchical", members=MEMBERS, tools=["noted"], **fields)


def work(coworker: str, text: str) -> ToolCall:
    arguments: Json = {"task": text, "context": "none", "coworker": coworker}
    return ToolCall(name=DELEGATE, arguments=arguments)


async def test_a_manager_hands_work_to_members(tmp_path: Path) -> None:
    with gate() as till:

        def answer(body: dict[str, Any]) -> Answer:
            said = texts(body)
            used = any(message["role"] == "tool" for message in body["messages"])
            if "Look for water" in said and not used:
                return call("noted", till=till.name)
            if "Look for water" in said or "Write of water" in said:
                return Answer(content="done well")
            if used:
                return Answer(content={"ok": True})
            both = (work("Finder", "Look for water"), work("writer", "Write of water"))
            return Answer(tool_calls=both)

        schema = {"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"]}
        async with crew_stage(tmp_path, [Rule(answer=answer)]) as s:
            flow = workflow(managed(task("Manage it."), output=schema))
            execution_id = await s.submit(flow, {"topic": "water"})
            assert await s.result(execution_id) == {"ok": True}
            bodies = asked(s)
            entries = await s.journal(execution_id)
    offered = {tuple(sorted(t["function"]["name"] for t in b.get("tools", []))) for b in bodies}
    assert offered == {("ask_question_to_coworker", DELEGATE), ("noted",), ()}
    assert any("Find water." in texts(body) for body in bodies)
    assert sorted({body["model"] for body in bodies}) == ["other", "scripted"]
    # Each piece of work has a branch of its own, named by what it is.
    scopes = {e.key.scope for e in events_of(entries, "call.intended")}
    assert len(scopes) == 3 and "0" in scopes
    assert {scope.partition("-")[0] for scope in scopes} == {"0", "0|finder", "0|writer"}
    assert len(till.notes) == 1


async def test_a_coworker_may_be_asked_twice_at_once(tmp_path: Path, point: Any) -> None:
    def answer(body: dict[str, Any]) -> Answer:
        said = texts(body)
        if "Say part" in said:
            return Answer(content="a part")
        if any(message["role"] == "tool" for message in body["messages"]):
            return Answer(content="whole")
        parts = ("part 1", "part 2", "part 1")
        return Answer(tool_calls=tuple(work("writer", f"Say {part}.") for part in parts))

    async with crew_stage(tmp_path, [Rule(answer=answer)]) as s:
        point(s)
        execution_id = await s.submit(workflow(own_crew("managed")))
        assert await s.result(execution_id) == "whole"
        shown = [m["content"] for m in asked(s)[-1]["messages"] if m["role"] == "tool"]
        entries = await s.journal(execution_id)
    assert shown == ["a part"] * 3
    scopes = {e.key.scope for e in events_of(entries, "call.intended")}
    # Two tasks: each with a place of its own, and three below it.
    assert len(scopes) == 8
    assert sum(scope.endswith(".1") for scope in scopes) == 2


async def test_what_a_provider_refuses_a_coworker_is_no_answer(tmp_path: Path, point: Any) -> None:
    def answer(body: dict[str, Any]) -> Answer:
        if "Say part" in texts(body):
            return Answer(error=ErrorAnswer(status=429, message="rate limit of patience"))
        return Answer(tool_calls=(work("writer", "Say part."),))

    async with crew_stage(tmp_path, [Rule(answer=answer)]) as s:
        point(s)
        execution_id = await s.submit(workflow(own_crew("managed")))
        with pytest.raises(ExecutionFailed) as failed:
            await s.result(execution_id)
        assert s.provider.received == 2
        assert "rate limit of patience" in (await failure(s, execution_id)).message
    assert failed.value.failure_kind == "model_refused"


async def test_an_agent_in_a_row_may_ask_another(tmp_path: Path, point: Any) -> None:
    with gate() as till:
        rules = in_turn(
            Answer(tool_calls=(work("helper", "Help."),)),
            call("note_it", till=till.name),
            Answer(content="helped"),
            Answer(content="done"),
        )
        async with crew_stage(tmp_path, rules) as s:
            point(s)
            execution_id = await s.submit(workflow(own_crew("delegating")))
            assert await s.result(execution_id) == "done"
            assert "helped" in texts(asked(s)[-1])
            intents = events_of(await s.journal(execution_id), "call.intended")
    assert len(till.notes) == 1
    assert [(e.key.kind, "helper" in e.key.scope) for e in intents] == [
        ("llm", False), ("llm", True), ("tool", True), ("llm", True), ("llm", False)
    ]  # fmt: skip


# ---------------------------------------------------------------------- inside of a task


PLAN: Json = {
    "list_of_plans_per_task": [
        {"task_number": 1, "task": "first", "plan": " PLAN ONE"},
        {"task_number": 2, "task": "second", "plan": " PLAN TWO"},
    ]
}


async def test_a_plan_is_made_once(tmp_path: Path, point: Any) -> None:
    with gate() as upstream:

        def slow(body: dict[str, Any]) -> Answer:
            upstream.hold()
            return Answer(content="done")

        rules = [*in_turn(Answer(content=PLAN), Answer(content="one")), Rule(answer=slow)]
        async with crew_stage(tmp_path, rules) as s:
            point(s)
            execution_id = await s.submit(workflow(own_crew("planning")))
            await upstream.reached()
            s.kill()
            await s.until(execution_id, "attempt.started", times=2)
            upstream.open()
            assert await s.result(execution_id) == "done"
            assert s.provider.received == 3
            bodies = [texts(body) for body in asked(s)]
            steps = [e.step for e in events_of(await s.journal(execution_id), "step.completed")]
    assert " at 0x" not in bodies[0]
    assert "PLAN ONE" in bodies[1] and "PLAN TWO" not in bodies[1]
    assert "PLAN TWO" in bodies[2]
    assert steps == ["plan", "0", "1"]


async def test_guardrails_send_an_answer_back(tmp_path: Path, point: Any) -> None:
    rules = in_turn(
        Answer(content="one"),
        Answer(content="one!"),
        Answer(content="two"),
        Answer(content={"valid": False, "feedback": "say please"}),
        Answer(content="two, please"),
        Answer(content={"valid": True, "feedback": None}),
    )
    async with crew_stage(tmp_path, rules) as s:
        point(s)
        execution_id = await s.submit(workflow(own_crew("guarded")))
        assert await s.result(execution_id) == "two, please"
        assert "louder" in texts(asked(s)[1])
        assert "say please" in texts(asked(s)[4])
        assert s.provider.received == 6


async def test_a_judgement_that_no_model_gave_is_a_failure(tmp_path: Path, point: Any) -> None:
    refusal = Answer(error=ErrorAnswer(status=500, message="no judge"))
    rules = [*in_turn(Answer(content="one!"), Answer(content="two")), Rule(answer=refusal)]
    async with crew_stage(tmp_path, rules) as s:
        point(s)
        execution_id = await s.submit(workflow(own_crew("guarded")))
        with pytest.raises(ExecutionFailed):
            await s.result(execution_id)
        assert s.provider.received == 3
        assert "no judge" in (await failure(s, execution_id)).message


async def test_a_limit_of_calls_is_kept_without_timers(
    tmp_path: Path, point: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = in_turn(Answer(content="1"), Answer(content="2"), Answer(content="3"))
    async with crew_stage(tmp_path, answers) as s:
        from omium.frameworks import crewai_rate

        point(s)
        monkeypatch.setattr(crewai_rate, "MINUTE_S", 0.5)
        started_s = time.monotonic()
        assert await s.result(await s.submit(workflow(own_crew("limited")))) == "3"
        # Three calls, two a "minute".
        assert time.monotonic() - started_s >= 0.5
    assert not [one for one in threading.enumerate() if isinstance(one, threading.Timer)]
