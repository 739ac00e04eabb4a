"""Components: what the loader is given, what it must not be given, and the tools in them."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from omium.errors import DefinitionError, ExecutionFailed, ExecutionPaused
from tests.actors.gates import gate
from tests.frameworks.autogen_stage import (
    AUTOGEN,
    CHAT,
    asked,
    assistant,
    call,
    events_of,
    failure,
    of_component,
    says,
    team,
    team_stage,
    texts,
    until,
    workflow,
)

pytestmark = AUTOGEN


def shown(body: dict[str, Any]) -> str:
    """What the last tool's result was, as the model was shown it."""
    return [m["content"] for m in body["messages"] if m["role"] == "tool"][-1]


# ---------------------------------------------------------------------- the guard


@pytest.mark.parametrize(
    "component",
    [
        {"provider": "tests.frameworks.raises_when_imported.Agent", "config": {}},
        {
            "provider": "autogen_core.tools.FunctionTool",
            "config": {
                "source_code": "raise SystemError('ran')",
                "name": "f",
                "description": "",
                "global_imports": [],
                "has_cancellation_support": False,
            },
        },
        assistant("a", tools=[{"provider": "autogen_core.tools.FunctionTool", "config": {}}]),
    ],
)
def test_the_loader_is_never_given_what_names_or_carries_code(component: dict[str, Any]) -> None:
    from omium.frameworks.autogen_component import subject_of_component

    definition = SimpleNamespace(name="a", tools=(), output=None)
    session: Any = SimpleNamespace(assignment=SimpleNamespace(agent=definition, endpoint=None))
    with pytest.raises(DefinitionError, match="the component of agent 'a'"):
        subject_of_component(session, component)


@pytest.mark.parametrize(
    ("component", "problem"),
    [
        (assistant("not a name"), "must be a valid Python identifier"),
        (assistant("a", max_tool_iterations=0), "AssistantAgentConfig: max_tool_iterations: Input"),
        (team("RoundRobinGroupChat", assistant("a"), assistant("a")), "names must be unique"),
        (team("GraphFlow", assistant("a")), "graph: Field required"),
        (assistant("a", model_client={"provider": "OpenAIChatCompletionClient",
                                      "config": {"model_info": {"vision": 1}}}),
         "Missing required field"),
    ],
)  # fmt: skip
async def test_data_that_autogen_does_not_take_is_told_of(
    tmp_path: Path, component: dict[str, Any], problem: str
) -> None:
    async with team_stage(tmp_path) as s:
        execution_id = await s.submit(workflow(of_component(component)))
        with pytest.raises(ExecutionFailed) as failed:
            await s.result(execution_id)
        assert problem in (await failure(s, execution_id)).message
        assert s.provider.received == 0
    assert failed.value.failure_kind in ("definition", "agent")


# ---------------------------------------------------------------------- models


def client(**config: Any) -> dict[str, Any]:
    return {"provider": f"{CHAT.replace('agentchat', 'ext')}.models.openai."
            "OpenAIChatCompletionClient", "config": config}  # fmt: skip


async def test_a_member_has_a_model_of_its_own_where_nothing_else_names_one(
    tmp_path: Path,
) -> None:
    component = team(
        "RoundRobinGroupChat",
        assistant("a", model_client=client(model="scripted/small", temperature=0.1)),
        assistant("b", model_client=client(model="openai/large")),
        max_turns=2,
    )
    async with team_stage(tmp_path, says("a", "b")) as s:
        flow = workflow(of_component(component, temperature=0.9))
        execution_id = await s.client.submit(flow, {})
        await s.result(execution_id)
        settings = [(body["model"], body["temperature"]) for body in asked(s)]
    assert settings == [("small", 0.1), ("large", 0.9)]


async def test_no_model_at_all_is_told_of(tmp_path: Path) -> None:
    async with team_stage(tmp_path) as s:
        execution_id = await s.client.submit(workflow(of_component(assistant("a"))), {})
        with pytest.raises(ExecutionFailed, match="no model for agent 'group'") as failed:
            await s.result(execution_id)
    assert failed.value.failure_kind == "config"


# ---------------------------------------------------------------------- tools


@pytest.mark.parametrize("name", ["rate", "rate_async"])
async def test_a_tool_gets_typed_arguments_and_its_result_is_shown_as_json(
    tmp_path: Path, name: str
) -> None:
    component = assistant("clerk", tools=[name], max_tool_iterations=2)
    rules = says(call(name, principal=200, interest=11), "5.5")
    async with team_stage(tmp_path, rules) as s:
        execution_id = await s.submit(workflow(of_component(component)))
        assert await s.result(execution_id) == "5.5"
        assert shown(asked(s)[1]) == '{"rate": 5.5}'
        entries = await s.journal(execution_id)
    completed = [e for e in events_of(entries, "call.completed") if e.served_by == f"tool/{name}"]
    assert [e.response.inline for e in completed] == [{"rate": 5.5}]


async def test_a_tool_may_take_and_return_models(tmp_path: Path) -> None:
    component = assistant("clerk", tools=["lend"], max_tool_iterations=2)
    rules = says(call("lend", loan={"principal": 3, "starts": "2026-01-02"}), "lent")
    async with team_stage(tmp_path, rules) as s:
        assert await s.result(await s.submit(workflow(of_component(component)))) == "lent"
        assert shown(asked(s)[1]) == '{"principal": 3.0, "starts": "2027-01-02"}'


async def test_an_idempotent_tool_is_run_again_under_the_same_key(tmp_path: Path) -> None:
    component = assistant("clerk", tools=["held_again"], max_tool_iterations=2)
    with gate() as till:
        async with team_stage(tmp_path, says(call("held_again", till=till.name), "done")) as s:
            execution_id = await s.submit(workflow(of_component(component)))
            await till.reached()
            s.kill()
            await till.reached(2)
            till.open()
            assert await s.result(execution_id) == "done"
            assert s.provider.received == 2
    assert till.notes[0] == till.notes[1] is not None


async def test_a_tool_that_is_not_idempotent_pauses_the_execution(tmp_path: Path) -> None:
    component = assistant("clerk", tools=["held"], max_tool_iterations=2)
    with gate() as till:
        async with team_stage(tmp_path, says(call("held", till=till.name), "done")) as s:
            execution_id = await s.submit(workflow(of_component(component)))
            await till.reached()
            s.kill()
            with pytest.raises(ExecutionPaused):
                await s.result(execution_id)
            till.open()
            await s.client.resume(execution_id, decision="answer", answer="as decided")
            assert await s.result(execution_id) == "done"
            assert shown(asked(s)[1]) == "as decided"
    assert len(till.notes) == 1


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("broken", "tool 'broken': ValueError: no such account"),
        ("unfit", "cannot be written as JSON"),
        ("leaves", "SystemExit: 3"),
    ],
)
async def test_a_tool_that_fails_is_told_to_its_agent(tmp_path: Path, name: str, told: str) -> None:
    component = assistant("clerk", tools=[name], max_tool_iterations=2)
    with gate() as till:
        async with team_stage(tmp_path, says(call(name, till=till.name), "sorry")) as s:
            execution_id = await s.submit(workflow(of_component(component)))
            assert await s.result(execution_id) == "sorry"
            assert told in shown(asked(s)[1])
            (failed,) = events_of(await s.journal(execution_id), "call.failed")
    assert failed.failure.kind == "tool"


async def test_arguments_that_do_not_fit_are_told_to_the_agent(tmp_path: Path) -> None:
    component = assistant("clerk", tools=["rate"], max_tool_iterations=2)
    async with team_stage(tmp_path, says(call("rate", principal="much"), "sorry")) as s:
        execution_id = await s.submit(workflow(of_component(component)))
        assert await s.result(execution_id) == "sorry"
        assert "interest" in shown(asked(s)[1])


async def test_a_function_that_cannot_be_a_tool_is_named(tmp_path: Path) -> None:
    async with team_stage(tmp_path) as s:
        flow = workflow(of_component(assistant("clerk", tools=["unknown_type"])))
        execution_id = await s.submit(flow)
        with pytest.raises(ExecutionFailed, match="parameters cannot be those of a tool") as failed:
            await s.result(execution_id)
    assert failed.value.failure_kind == "entrypoint"


async def test_texts_of_a_component_are_not_templates_and_the_task_is(tmp_path: Path) -> None:
    component = team(
        "RoundRobinGroupChat",
        assistant("a", system_message='Write {"json": 1}.'),
        termination_condition=until("MaxMessage", max_messages=2),
    )
    first = of_component(assistant("x"), name="first", task="Begin.")
    async with team_stage(tmp_path, says("begun", "done")) as s:
        flow = workflow(first, of_component(component, task="After {first}, {topic}."))
        assert await s.result(await s.submit(flow, {"topic": "rain"})) == "done"
        assert texts(asked(s)[1]) == 'Write {"json": 1}.\nAfter begun, rain.'


async def test_a_team_is_told_why_its_answer_was_not_taken(tmp_path: Path) -> None:
    first = of_component(assistant("x"), name="first", task="Begin.", retries=1)
    short = {"type": "string", "maxLength": 4}
    second = of_component(assistant("y"), name="second", task="After {first}.", input=short)
    async with team_stage(tmp_path, says("too long", "fits", "done")) as s:
        assert await s.result(await s.submit(workflow(first, second))) == "done"
        told = texts(asked(s)[1])
    assert told.startswith("I am x.\nBegin.\n")
    assert '"too long"' in told
    assert "- second: " in told
