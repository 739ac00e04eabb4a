"""Crews from definitions: what is asked of the model, and what becomes of its answers."""

from __future__ import annotations

import asyncio
import json
import socket
from pathlib import Path
from typing import Any

import pytest

from omium.errors import ExecutionCancelled, ExecutionFailed, ExecutionPaused
from omium.llm.providers import Provider
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
    task,
    texts,
    workflow,
)

pytestmark = CREWAI

FIGURES: dict[str, Any] = {
    "type": "object",
    "properties": {"rate": {"type": "number", "maximum": 100}, "risk": {"enum": ["low", "high"]}},
    "required": ["rate"],
}
GOOD = {"rate": 5.5, "risk": "low"}


async def test_an_answer_is_asked_for_under_its_schema(tmp_path: Path) -> None:
    async with crew_stage(tmp_path, in_turn(Answer(content=GOOD))) as s:
        flow = workflow(crew(task("Rate {loan}."), output=FIGURES, temperature=0, max_tokens=50))
        execution_id = await s.submit(flow, {"loan": {"principal": 10}})
        assert await s.result(execution_id) == GOOD
        (body,) = asked(s)
    assert body["model"] == "scripted"
    assert body["temperature"] == 0
    assert 50 in (body.get("max_tokens"), body.get("max_completion_tokens"))
    assert 'Rate {"principal": 10}.' in texts(body)
    given = body["response_format"]
    assert given["type"] == "json_schema"
    assert given["json_schema"]["strict"] is True
    schema = given["json_schema"]["schema"]
    assert schema["required"] == ["rate", "risk"]
    assert schema["additionalProperties"] is False
    assert schema["properties"] == FIGURES["properties"]


async def test_tasks_see_one_another_and_agents_the_ones_before_them(tmp_path: Path) -> None:
    first = crew(task("Say one of {topic}.", name="one"), task("Say two.", name="two"), name="a")
    second = crew(task("Say {a} and {{braces}}."), name="b")
    rules = in_turn(*(Answer(content=text) for text in ("uno {x}", "dos {y}", "tres")))
    async with crew_stage(tmp_path, rules) as s:
        execution_id = await s.submit(workflow(first, second), {"topic": "numbers"})
        assert await s.result(execution_id) == "tres"
        bodies = asked(s)
        entries = await s.journal(execution_id)
    assert len(bodies) == 3
    assert "Say one of numbers." in texts(bodies[0])
    assert "uno {x}" in texts(bodies[1])
    assert "Say dos {y} and {braces}." in texts(bodies[2])
    assert all("response_format" not in body and "tools" not in body for body in bodies)
    steps = [(e.agent, e.step, e.name) for e in events_of(entries, "step.completed")]
    assert steps == [("a", "0", "one"), ("a", "1", "two"), ("b", "0", "task1")]
    started = [(e.agent, e.step, e.name) for e in events_of(entries, "step.started")]
    assert started == steps


async def test_a_model_is_told_why_its_answer_was_not_taken(tmp_path: Path) -> None:
    first = crew(task("Find one."), task("Rate it."), name="a", output=FIGURES, retries=1)
    usual = {"type": "object", "properties": {"rate": {"type": "number", "maximum": 10}}}
    second = crew(task("Say {a}."), name="b", input=usual)
    answers = ("one", {"rate": 50, "risk": "high"}, "two", GOOD, "done")
    async with crew_stage(tmp_path, in_turn(*(Answer(content=one) for one in answers))) as s:
        execution_id = await s.submit(workflow(first, second))
        assert await s.result(execution_id) == "done"
        bodies = asked(s)
    told = [text for body in bodies if "was not accepted" in (text := texts(body))]
    assert len(told) == 1, "the last task, and nobody else"
    assert told[0] == texts(bodies[3])
    assert '{"rate": 50, "risk": "high"}' in told[0]
    assert "- b: /rate: found 50, expected a number of at most 10" in told[0]


async def test_the_model_of_a_stand_in_is_told_whose_answer_was_not_taken(tmp_path: Path) -> None:
    first = crew(task("Rate it."), name="a", output=FIGURES)
    other = crew(task("Rate it with care."), name="careful")
    usual = {"type": "object", "properties": {"rate": {"type": "number", "maximum": 10}}}
    second = crew(task("Say {a}."), name="b", input=usual)
    handoffs = [{"from": "a", "to": "b", "stand_in": "careful"}]
    answers = ({"rate": 50, "risk": "high"}, GOOD, "done")
    async with crew_stage(tmp_path, in_turn(*(Answer(content=one) for one in answers))) as s:
        execution_id = await s.submit(workflow(first, other, second, handoffs=handoffs))
        assert await s.result(execution_id) == "done"
        bodies = asked(s)
    assert "Rate it with care." in (told := texts(bodies[1]))
    assert "The answer of a to this was not accepted" in told
    assert '{"rate": 50, "risk": "high"}' in told
    assert "- b: /rate: found 50, expected a number of at most 10" in told
    shape = bodies[1]["response_format"]["json_schema"]["schema"]
    assert list(shape["properties"]) == ["rate", "risk"], "it is asked for what its giver promises"


async def test_each_task_keeps_to_its_own_shape(tmp_path: Path) -> None:
    inner = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    tasks = [task("Say n.", name="task2", output=inner), task("Say it.")]
    async with crew_stage(tmp_path, in_turn(Answer(content={"n": 1}), Answer(content=GOOD))) as s:
        execution_id = await s.submit(workflow(crew(*tasks, output=FIGURES)))
        assert await s.result(execution_id) == GOOD
        asked_for = [body["response_format"]["json_schema"]["schema"] for body in asked(s)]
    assert [list(schema["properties"]) for schema in asked_for] == [["n"], ["rate", "risk"]]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ({"rate": 200, "risk": "low"}, "rate: found 200, expected a number of at most 100"),
        ("The rate is", "found 'The rate is', expected JSON"),
        ('{"rate": 5.', "cut off by max_tokens"),
        ('{"rate": NaN, "risk": "low"}', "JSON has no NaN"),
    ],
    ids=["schema", "prose", "cut", "nan"],
)
async def test_an_answer_that_breaks_its_schema_is_a_failure(
    tmp_path: Path, content: Any, problem: str
) -> None:
    async with crew_stage(tmp_path, in_turn(Answer(content=content))) as s:
        execution_id = await s.submit(workflow(crew(task("Rate."), output=FIGURES)))
        with pytest.raises(ExecutionFailed) as failed:
            await s.result(execution_id)
        assert failed.value.failure_kind == "output_schema"
        assert problem in (await failure(s, execution_id)).message
        assert s.provider.received == 1


# ---------------------------------------------------------------------- tools


async def test_a_required_tool_is_called_first_and_then_the_answer_given(tmp_path: Path) -> None:
    rules = in_turn(call("rate", principal=10, interest=1), Answer(content=GOOD))
    async with crew_stage(tmp_path, rules) as s:
        flow = workflow(crew(task("Rate.", tool_choice="required"), tools=["rate"], output=FIGURES))
        execution_id = await s.submit(flow)
        assert await s.result(execution_id) == GOOD
        first, second = asked(s)
        entries = await s.journal(execution_id)
    assert first["tool_choice"] == {"type": "function", "function": {"name": "rate"}}
    assert first["parallel_tool_calls"] is False
    assert "response_format" not in first
    (function,) = (one["function"] for one in first["tools"])
    assert function["description"] == "Compute a rate."
    assert set(function["parameters"]["properties"]) == {"principal", "interest", "years"}
    assert "tools" not in second
    assert "tool_choice" not in second
    assert second["response_format"]["json_schema"]["schema"]["required"] == ["rate", "risk"]
    shown = [message["content"] for message in second["messages"] if message["role"] == "tool"]
    assert [json.loads(one) for one in shown] == [{"rate": 10.0}]
    (intent,) = (e for e in events_of(entries, "call.intended") if e.key.kind == "tool")
    # The default argument is on record too: it may change before the call is looked up again.
    assert intent.request.inline == {"principal": 10, "interest": 1, "years": 1}
    assert (intent.key.name, intent.step, intent.idempotent) == ("rate", "0", False)


async def test_one_of_several_required_tools_and_the_one_with_a_chosen_name(
    tmp_path: Path,
) -> None:
    rules = in_turn(call("rate_async", principal=10, interest=1), Answer(content=GOOD))
    async with crew_stage(tmp_path, rules) as s:
        tools = ["rate", "rate_async"]
        flow = workflow(crew(task("Rate.", tool_choice="required"), tools=tools, output=FIGURES))
        assert await s.result(await s.submit(flow)) == GOOD
        first, second = asked(s)
    assert first["tool_choice"] == "required"
    assert '{"rate": 10.0}' in texts(second)


async def test_without_force_the_model_may_call_or_answer_under_the_schema(tmp_path: Path) -> None:
    rules = in_turn(call("rate", principal=10, interest=1), Answer(content=GOOD))
    async with crew_stage(tmp_path, rules) as s:
        flow = workflow(crew(task("Rate."), tools=["rate"], output=FIGURES))
        assert await s.result(await s.submit(flow)) == GOOD
        bodies = asked(s)
    assert len(bodies) == 2
    for body in bodies:
        assert body["tools"] and body.get("tool_choice", "auto") == "auto"
        assert body["response_format"]["json_schema"]["strict"] is True


async def test_tools_may_be_told_of_and_called_in_words(tmp_path: Path) -> None:
    said = 'Thought: I must.\nAction: rate\nAction Input: {"principal": 10, "interest": 1}'
    final = f"Thought: I know.\nFinal Answer: {json.dumps(GOOD)}"
    async with crew_stage(tmp_path, in_turn(Answer(content=said), Answer(content=final))) as s:
        flow = workflow(crew(task("Rate."), tools=["rate"], tool_calls="text", output=FIGURES))
        execution_id = await s.submit(flow)
        assert await s.result(execution_id) == GOOD
        first, second = asked(s)
        intents = events_of(await s.journal(execution_id), "call.intended")
    assert "tools" not in first and "response_format" not in first
    assert "Compute a rate." in texts(first)
    assert '{"rate": 10.0}' in texts(second)
    assert [e.key.kind for e in intents] == ["llm", "tool", "llm"]


async def test_a_task_has_the_tools_that_it_names_and_no_others(tmp_path: Path) -> None:
    tasks = [task("All."), task("One.", tools=["rate"]), task("None.", tools=[])]
    async with crew_stage(tmp_path, in_turn(*[Answer(content="x")] * 3)) as s:
        flow = workflow(crew(*tasks, tools=["rate", "describe"]))
        await s.result(await s.submit(flow))
        offered = [[t["function"]["name"] for t in b.get("tools", [])] for b in asked(s)]
    assert offered == [["rate", "describe"], ["rate"], []]


async def test_a_tool_gets_what_it_is_annotated_with(tmp_path: Path) -> None:
    loan = {"principal": 10, "starts": "2026-02-03"}
    rules = in_turn(call("describe", loan=loan), call("untyped", amount="4"), Answer(content="ok"))
    async with crew_stage(tmp_path, rules) as s:
        flow = workflow(crew(task("Say."), tools=["describe", "untyped"]))
        execution_id = await s.submit(flow)
        await s.result(execution_id)
        said = texts(asked(s)[-1])
        entries = await s.journal(execution_id)
    assert "Loan of 10.0 from 2026, é" in said
    assert "8.0" in said
    requests = [
        e.request.inline for e in events_of(entries, "call.intended") if e.key.kind == "tool"
    ]
    assert requests[0] == {"loan": loan, "note": "é"}


@pytest.mark.parametrize(
    ("name", "reason"),
    [("broken", "ValueError: no such account"), ("unfit", "object, cannot be written as JSON")],
)
async def test_a_tool_that_raises_is_told_to_the_model_and_put_on_record(
    tmp_path: Path, name: str, reason: str
) -> None:
    with gate() as till:
        rules = in_turn(call(name, till=till.name), Answer(content="then not"))
        async with crew_stage(tmp_path, rules) as s:
            execution_id = await s.submit(workflow(crew(task("Try."), tools=[name])))
            assert await s.result(execution_id) == "then not"
            assert reason in texts(asked(s)[1])
            (failed,) = events_of(await s.journal(execution_id), "call.failed")
    assert failed.failure.kind == "tool"
    assert reason in failed.failure.message


async def test_a_required_tool_is_asked_for_until_it_returns_something(tmp_path: Path) -> None:
    with gate() as till:
        rules = in_turn(
            call("noted"), call("broken", till=till.name), call("noted", till=till.name),
            Answer(content=GOOD),
        )  # fmt: skip
        async with crew_stage(tmp_path, rules) as s:
            tools = ["broken", "noted"]
            flow = workflow(crew(task("Do.", tool_choice="required"), tools=tools, output=FIGURES))
            assert await s.result(await s.submit(flow)) == GOOD
            bodies = asked(s)
    assert [body.get("tool_choice") for body in bodies] == ["required"] * 3 + [None]
    # The first call had no arguments that fit, and so no effect; the second raised.
    assert till.notes[0] == "ran"
    assert len(till.notes) == 2


async def test_a_tool_that_never_works_ends_the_task(tmp_path: Path) -> None:
    with gate() as till:
        rules = [Rule(answer=call("broken", till=till.name))]
        async with crew_stage(tmp_path, rules) as s:
            flow = workflow(
                crew(task("Do.", tool_choice="required"), tools=["broken"], output=FIGURES)
            )
            execution_id = await s.submit(flow)
            with pytest.raises(ExecutionFailed, match="same arguments 5 times") as failed:
                await s.result(execution_id)
            assert s.provider.received == 5
    assert failed.value.failure_kind == "agent"


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("starred", "'\\*amounts: float' cannot be given by name"),
        ("unknown_type", "its parameters cannot be those of a tool"),
    ],
)
async def test_a_function_that_cannot_be_a_tool_is_named(
    tmp_path: Path, name: str, reason: str
) -> None:
    async with crew_stage(tmp_path) as s:
        execution_id = await s.submit(workflow(crew(task("Do."), tools=[name])))
        with pytest.raises(ExecutionFailed, match=f"crews:{name}.*{reason}") as failed:
            await s.result(execution_id)
        assert s.provider.received == 0
    assert failed.value.failure_kind == "entrypoint"


# ---------------------------------------------------------------------- resuming


async def test_finished_tasks_are_not_run_again_after_a_kill(tmp_path: Path) -> None:
    with gate() as till:
        rules = in_turn(
            Answer(content="uno"),
            call("noted", till=till.name),
            call("held_again", till=till.name),
            Answer(content="dos"),
            Answer(content="tres"),
        )
        async with crew_stage(tmp_path, rules) as s:
            tasks = [task("Say one."), task("Say two."), task("Say three.")]
            flow = workflow(crew(*tasks, tools=["noted", "held_again"]))
            execution_id = await s.submit(flow)
            # Task 1 is done; in task 2 two calls of the model and one of a tool.
            await till.reached(2)
            s.kill()
            await till.reached(3)
            till.open()
            assert await s.result(execution_id) == "tres"
            bodies = asked(s)
            entries = await s.journal(execution_id)
    assert len(bodies) == 5
    assert "uno" in texts(bodies[1])
    assert "uno" in texts(bodies[4]) and "dos" in texts(bodies[4])
    assert [e.step for e in events_of(entries, "step.completed")] == ["0", "1", "2"]
    noted, held, again = till.notes
    # The tool that was under way ran twice, as it may, and was handed the same key.
    assert held == again != noted


async def test_a_call_of_the_model_in_flight_at_the_kill_is_not_repeated(tmp_path: Path) -> None:
    with gate() as upstream:

        def slow(_: dict[str, Any]) -> Answer:
            upstream.hold()
            return Answer(content=GOOD)

        rules = [Rule(answer=Answer(content="uno"), times=1), Rule(answer=slow)]
        async with crew_stage(tmp_path, rules) as s:
            flow = workflow(crew(task("Say one."), task("Say two."), output=FIGURES))
            execution_id = await s.submit(flow)
            await upstream.reached()
            s.kill()
            await s.until(execution_id, "attempt.started", times=2)
            upstream.open()
            assert await s.result(execution_id) == GOOD
            assert s.provider.received == 2


async def test_a_killed_tool_that_may_not_run_twice_pauses_the_execution(tmp_path: Path) -> None:
    with gate() as till:
        rules = in_turn(call("held", till=till.name), Answer(content="after"))
        async with crew_stage(tmp_path, rules) as s:
            execution_id = await s.submit(workflow(crew(task("Pay."), tools=["held"])))
            await till.reached()
            s.kill()
            with pytest.raises(ExecutionPaused, match="nobody knows how it ended"):
                await s.result(execution_id)
            assert (await s.client.view(execution_id)).row.status == "paused"
            assert s.provider.received == 1
            # Decided to be run again, it gets the key that it had.
            till.open()
            await s.client.resume(execution_id, decision="retry")
            assert await s.result(execution_id) == "after"
            assert s.provider.received == 2
    assert len(till.notes) == 2
    assert len(set(till.notes)) == 1


# ---------------------------------------------------------------------- the model


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "model_refused"),
        (401, "model_refused"),
        (429, "model_refused"),
        (500, "model_unreachable"),
        (503, "model_unreachable"),
    ],
)
async def test_a_refusal_of_the_provider_is_asked_for_once(
    tmp_path: Path, status: int, kind: str
) -> None:
    refusal = Answer(error=ErrorAnswer(status=status, message="rate limit of patience"))
    rules = [*in_turn(Answer(content="uno")), Rule(answer=refusal)]
    async with crew_stage(tmp_path, rules) as s:
        execution_id = await s.submit(workflow(crew(task("Say one."), task("Say two."))))
        with pytest.raises(ExecutionFailed) as failed:
            await s.result(execution_id)
        assert s.provider.received == 2
        told = await failure(s, execution_id)
        checkpoint = (await s.until(execution_id, "step.completed")).index
    assert failed.value.failure_kind == kind
    assert str(status) in told.message
    assert "rate limit of patience" in told.message
    assert (told.agent, told.step, told.checkpoint) == ("clerk", "1", checkpoint)


async def test_a_model_that_nobody_answers_for_is_unreachable(tmp_path: Path) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/v1"
        providers = {"scripted": Provider(name="scripted", base_url=url)}
        async with crew_stage(tmp_path, providers=providers) as s:
            execution_id = await s.submit(workflow(crew(task("Say one."))))
            with pytest.raises(ExecutionFailed, match="no connection") as failed:
                await s.result(execution_id)
            intended = (await s.types(execution_id)).count("call.intended")
    assert failed.value.failure_kind == "model_unreachable"
    assert intended == 1


async def test_cancelling_stops_a_crew_that_waits_for_its_model(tmp_path: Path) -> None:
    with gate() as upstream:

        def slow(_: dict[str, Any]) -> Answer:
            upstream.hold()
            return call("noted", till=upstream.name)

        async with crew_stage(tmp_path, [Rule(answer=slow)]) as s:
            execution_id = await s.submit(workflow(crew(task("Do."), tools=["noted"])))
            await upstream.reached()
            (worker,) = s.runtime.spawner.workers
            async with asyncio.timeout(1):
                await s.client.cancel(execution_id, by="tester")
                # The coordinator tells nobody of it: it can only be asked.
                while any(w.attempts for w in (await s.client.runtime()).workers):  # noqa: ASYNC110
                    await asyncio.sleep(0)
            # It stopped by itself: nobody had to end its process, which others share.
            assert list(s.runtime.spawner.workers) == [worker]
            upstream.open()
            with pytest.raises(ExecutionCancelled):
                await s.result(execution_id)
            await asyncio.to_thread(s.provider.wait, answered=1)
            assert s.provider.received == 1
    # Neither was the tool called that the late answer asks for.
    assert len(upstream.notes) == 1
