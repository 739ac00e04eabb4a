"""Teams and agents that a definition describes: by turns, each a step and a checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from omium.errors import ExecutionCancelled, ExecutionFailed, ExecutionPaused
from omium.execution.events import CallCompleted, StepCompleted
from omium.testing.script import Answer, ErrorAnswer, Rule
from tests.actors.gates import gate
from tests.actors.stage import Stage
from tests.frameworks.autogen_stage import (
    AUTOGEN,
    CHAT,
    asked,
    assistant,
    both,
    call,
    either,
    events_of,
    failure,
    of_component,
    says,
    scopes_of,
    steps_of,
    team,
    team_stage,
    texts,
    until,
    workflow,
)

pytestmark = AUTOGEN


def pair(condition: dict[str, Any] | None, **config: Any) -> dict[str, Any]:
    return team(
        "RoundRobinGroupChat",
        assistant("writer"),
        assistant("critic"),
        termination_condition=condition,
        **config,
    )


APPROVED = until("TextMention", text="APPROVE")


def index_of(entries: list[Any], kind: type[Any], number: int = 0) -> int:
    return [entry.index for entry in entries if isinstance(entry.event, kind)][number]


# ---------------------------------------------------------------------- kinds


async def test_a_round_robin_takes_turns_until_a_text_is_mentioned(tmp_path: Path) -> None:
    async with team_stage(tmp_path, says("draft one", "no", "draft two", "APPROVE")) as s:
        flow = workflow(of_component(pair(APPROVED), answer_from="writer", task="On {topic}."))
        execution_id = await s.submit(flow, {"topic": "rain"})
        assert await s.result(execution_id) == "draft two"
        entries = await s.journal(execution_id)
        bodies = asked(s)
    assert steps_of(entries) == [("0", "writer"), ("1", "critic"), ("2", "writer"), ("3", "critic")]
    assert scopes_of(entries) == ["0|writer", "1|critic", "2|writer", "3|critic"]
    assert texts(bodies[3]) == "I am critic.\nOn rain.\ndraft one\nno\ndraft two"


async def test_a_checkpoint_holds_what_was_said_and_why_it_ended(tmp_path: Path) -> None:
    async with team_stage(tmp_path, says("draft", "APPROVE")) as s:
        execution_id = await s.submit(workflow(of_component(pair(APPROVED))))
        await s.result(execution_id)
        states = [
            event.state.inline
            for event in events_of(await s.journal(execution_id), "step.completed")
        ]
    assert [state["stop_reason"] for state in states] == [None, "Text 'APPROVE' mentioned"]
    assert [state["answer"] for state in states] == [None, "APPROVE"]
    said = [[message["content"] for message in turn] for turn in states[1]["turns"]]
    assert said == [["draft"], ["APPROVE"]]
    assert [message["content"] for message in states[0]["task"]] == ["Do it."]
    assert set(states[0]["parts"]["root"]["agent_states"]) == {
        "writer",
        "critic",
        "RoundRobinGroupChatManager",
    }


async def test_a_selector_is_asked_in_the_turn_that_it_begins(tmp_path: Path) -> None:
    component = team(
        "SelectorGroupChat",
        assistant("writer", description="writes"),
        assistant("critic", description="judges"),
        allow_repeated_speaker=True,
        termination_condition=APPROVED,
    )
    async with team_stage(tmp_path, says("critic", "nothing yet", "writer", "APPROVE")) as s:
        execution_id = await s.submit(workflow(of_component(component)))
        assert await s.result(execution_id) == "APPROVE"
        entries = await s.journal(execution_id)
    assert steps_of(entries) == [("0", "critic"), ("1", "writer")]
    assert scopes_of(entries) == ["0", "0|critic", "1", "1|writer"]


async def test_a_swarm_hands_over_and_asks_when_it_hands_to_a_person(tmp_path: Path) -> None:
    component = team(
        "Swarm",
        assistant("clerk", handoffs=["expert"]),
        assistant("expert", handoffs=["user", {"target": "clerk"}]),
        termination_condition=either(
            until("Handoff", target="user"), until("MaxMessage", max_messages=9)
        ),
    )
    rules = says(call("transfer_to_expert"), "let me see", call("transfer_to_user"), *["so"] * 9)
    async with team_stage(tmp_path, rules) as s:
        execution_id = await s.submit(workflow(of_component(component)))
        with pytest.raises(ExecutionPaused, match="Transferred to user"):
            await s.result(execution_id)
        entries = await s.journal(execution_id)
        await s.client.resume(execution_id, decision="answer", answer="Go on.")
        assert await s.result(execution_id) == "so"
    assert steps_of(entries) == [("0", "clerk"), ("1", "expert"), ("2", "expert")]
    # Handing over is part of the turn, and no tool.
    assert {event.key.kind for event in events_of(entries, "call.intended")} == {"llm", "human"}


def edge(target: str, condition: str | None = None, **fields: Any) -> dict[str, Any]:
    return {"target": target, "condition": condition, **fields}


async def test_members_that_a_graph_runs_side_by_side_share_a_turn(tmp_path: Path) -> None:
    nodes = {
        "a": [edge("b"), edge("c")],
        "b": [edge("d")],
        "c": [edge("d")],
        "d": [],
    }
    component = team(
        "GraphFlow",
        *(assistant(name) for name in nodes),
        graph={"nodes": {n: {"name": n, "edges": edges} for n, edges in nodes.items()}},
    )

    def answer(body: dict[str, Any]) -> Answer:
        return Answer(content=texts(body)[5])

    async with team_stage(tmp_path, [Rule(answer=answer)]) as s:
        execution_id = await s.submit(workflow(of_component(component)))
        assert await s.result(execution_id) == "d"
        entries = await s.journal(execution_id)
    assert steps_of(entries) == [("0", "a"), ("1", "b, c"), ("2", "d")]
    assert sorted(scopes_of(entries)) == ["0|a", "1|b", "1|c", "2|d"]


async def test_a_single_agent_is_one_step(tmp_path: Path) -> None:
    async with team_stage(tmp_path, says("forty-two")) as s:
        execution_id = await s.submit(workflow(of_component(assistant("clerk"))))
        assert await s.result(execution_id) == "forty-two"
        entries = await s.journal(execution_id)
    assert steps_of(entries) == [("0", "clerk")]
    assert scopes_of(entries) == ["0|clerk"]


async def test_a_streaming_client_is_journaled_and_answered_from_the_journal(
    tmp_path: Path,
) -> None:
    component = team(
        "RoundRobinGroupChat",
        assistant("writer", tools=["held_again"], model_client_stream=True, max_tool_iterations=2),
        max_turns=1,
    )
    with gate() as till:
        rules = says(call("held_again", till=till.name), "streamed")
        async with team_stage(tmp_path, rules) as s:
            execution_id = await s.submit(workflow(of_component(component)))
            await till.reached()
            s.kill()
            await till.reached(2)
            till.open()
            assert await s.result(execution_id) == "streamed"
            assert [body["stream"] for body in asked(s)] == [True, True]


# ---------------------------------------------------------------------- answers under a schema

SCHEMA = {
    "type": "object",
    "properties": {"apr": {"type": "number"}, "risk": {"enum": ["low", "high"]}},
    "required": ["apr", "risk"],
}


async def test_an_output_schema_is_what_the_agent_is_asked_under(tmp_path: Path) -> None:
    answer = {"apr": 5.5, "risk": "low"}
    async with team_stage(tmp_path, says(answer)) as s:
        execution_id = await s.submit(workflow(of_component(assistant("clerk"), output=SCHEMA)))
        assert await s.result(execution_id) == answer
        (body,) = asked(s)
    assert body["response_format"]["json_schema"]["schema"] == {
        **SCHEMA,
        "additionalProperties": False,
    }


async def test_beside_tools_the_schema_waits_for_the_last_answer(tmp_path: Path) -> None:
    answer = {"apr": 5.5, "risk": "low"}
    component = assistant("clerk", tools=["rate"])
    rules = says(call("rate", principal=100, interest=5.5), answer)
    async with team_stage(tmp_path, rules) as s:
        execution_id = await s.submit(workflow(of_component(component, output=SCHEMA)))
        assert await s.result(execution_id) == answer
        first, second = asked(s)
    assert "response_format" not in first and "tools" in first
    assert "response_format" in second and "tools" not in second


async def test_an_answer_that_is_no_json_fails_under_its_schema(tmp_path: Path) -> None:
    async with team_stage(tmp_path, says("about five")) as s:
        execution_id = await s.submit(workflow(of_component(assistant("clerk"), output=SCHEMA)))
        with pytest.raises(ExecutionFailed, match="found 'about five', expected JSON") as failed:
            await s.result(execution_id)
        # What is no answer is no checkpoint either.
        assert steps_of(await s.journal(execution_id)) == []
    assert failed.value.failure_kind == "output_schema"


async def test_members_have_schemas_of_their_own_and_survive_a_loss(tmp_path: Path) -> None:
    def shaped(name: str, **properties: Any) -> dict[str, Any]:
        schema = {"type": "object", "properties": properties, "required": list(properties)}
        factory = {
            "provider": f"{CHAT}.messages.StructuredMessageFactory",
            "config": {"json_schema": schema},
        }
        return assistant(name, structured_message_factory=factory)

    component = team(
        "RoundRobinGroupChat",
        shaped("writer", note={"type": "string"}),
        shaped("critic", verdict={"type": "string", "enum": ["good", "bad"]}),
        termination_condition=until("TextMention", text='"good"'),
    )
    with gate() as upstream:

        def slow(_: dict[str, Any]) -> Answer:
            upstream.hold()
            return Answer(content={"verdict": "good"})

        rules = [*says({"note": "a"}, {"verdict": "bad"}, {"note": "b"}), Rule(answer=slow)]
        async with team_stage(tmp_path, rules) as s:
            execution_id = await s.submit(workflow(of_component(component, answer_from="writer")))
            await upstream.reached()
            s.kill()
            await s.until(execution_id, "attempt.started", times=2)
            upstream.open()
            assert await s.result(execution_id) == {"note": "b"}
            bodies = asked(s)
    assert len(bodies) == 4
    schema = bodies[1]["response_format"]["json_schema"]["schema"]
    assert schema["properties"]["verdict"]["enum"] == ["good", "bad"]


# ---------------------------------------------------------------------- when it ends


@pytest.mark.parametrize(
    ("condition", "turns"),
    [
        (until("MaxMessage", max_messages=5), 4),
        (either(until("MaxMessage", max_messages=9), until("TextMention", text="3")), 3),
        (both(until("MaxMessage", max_messages=3), until("TextMention", text="1")), 2),
        (both(until("TextMention", text="1"), until("MaxMessage", max_messages=5)), 4),
        (until("TokenUsage", max_total_token=None, max_prompt_token=None,
               max_completion_token=40), 4),
    ],
    ids=["messages", "or", "and", "and_across", "tokens"],
)  # fmt: skip
async def test_what_a_condition_has_counted_is_not_lost_with_a_worker(
    tmp_path: Path, condition: dict[str, Any], turns: int
) -> None:
    with gate() as upstream:

        def answer(body: dict[str, Any]) -> Answer:
            turn = len(body["messages"]) - 1
            if turn == 2:
                upstream.hold()
            return Answer(content=str(turn), completion_tokens=10)

        async with team_stage(tmp_path, [Rule(answer=answer)]) as s:
            execution_id = await s.submit(workflow(of_component(pair(condition))))
            await upstream.reached()
            s.kill()
            await s.until(execution_id, "attempt.started", times=2)
            upstream.open()
            assert await s.result(execution_id) == str(turns)
            assert s.provider.received == turns


async def test_the_limit_of_turns_is_of_all_attempts_together(tmp_path: Path) -> None:
    with gate() as upstream:

        def answer(body: dict[str, Any]) -> Answer:
            if len(body["messages"]) == 3:
                upstream.hold()
            return Answer(content="said")

        async with team_stage(tmp_path, [Rule(answer=answer)]) as s:
            execution_id = await s.submit(workflow(of_component(pair(None, max_turns=3))))
            await upstream.reached()
            s.kill()
            await s.until(execution_id, "attempt.started", times=2)
            upstream.open()
            await s.result(execution_id)
            assert len(steps_of(await s.journal(execution_id))) == 3


async def test_a_team_that_never_ends_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with team_stage(tmp_path, [Rule(answer=Answer(content="said"))]) as s:
        monkeypatch.setattr("omium.frameworks.autogen_run.TURNS_MAX", 3)
        execution_id = await s.submit(workflow(of_component(pair(None))))
        with pytest.raises(ExecutionFailed, match="made 3 turns and did not end"):
            await s.result(execution_id)
        assert s.provider.received == 3


async def test_a_task_that_meets_the_condition_is_answered_by_nobody(tmp_path: Path) -> None:
    async with team_stage(tmp_path) as s:
        flow = workflow(of_component(pair(APPROVED), task="I APPROVE."))
        assert await s.result(await s.submit(flow)) == "I APPROVE."
        assert s.provider.received == 0


async def test_a_member_that_never_spoke_cannot_have_the_answer(tmp_path: Path) -> None:
    async with team_stage(tmp_path, says("APPROVE")) as s:
        execution_id = await s.submit(workflow(of_component(pair(APPROVED), answer_from="critic")))
        with pytest.raises(ExecutionFailed, match="before 'critic' of its team said anything"):
            await s.result(execution_id)


# ---------------------------------------------------------------------- forks


async def test_a_fork_forces_the_past_and_lives_on_with_the_changed_prompt(tmp_path: Path) -> None:
    component = pair(APPROVED)
    component["config"]["participants"][0] = assistant(
        "writer", tools=["noted"], max_tool_iterations=2
    )
    with gate() as till:
        rules = says(call("noted", till=till.name), "draft", "APPROVE", "a better draft", "APPROVE")
        async with team_stage(tmp_path, rules) as s:
            origin = await s.submit(workflow(of_component(component)))
            assert await s.result(origin) == "APPROVE"
            entries = await s.journal(origin)
            # After the tool, in the midst of the writer's turn.
            prompt = "agents.group.component.config.participants.0.config.system_message"
            fork = await s.client.fork(
                origin, index_of(entries, CallCompleted, 1), {prompt: "I am better."}
            )
            assert await s.result(fork) == "APPROVE"
            bodies = asked(s)
    # Neither the first answer nor the tool was asked for again.
    assert len(till.notes) == 1
    assert len(bodies) == 5
    assert texts(bodies[3]).startswith("I am better.")
    assert bodies[3]["messages"][-1]["role"] == "tool"


async def test_a_fork_at_a_checkpoint_goes_on_with_the_next_turn(tmp_path: Path) -> None:
    async with team_stage(tmp_path, says("draft", "APPROVE", "REALLY, APPROVE")) as s:
        origin = await s.submit(workflow(of_component(pair(APPROVED))))
        await s.result(origin)
        fork = await s.client.fork(origin, index_of(await s.journal(origin), StepCompleted))
        assert await s.result(fork) == "REALLY, APPROVE"
        assert texts(asked(s)[2]) == "I am critic.\nDo it.\ndraft"


# ---------------------------------------------------------------------- what goes wrong


@pytest.mark.parametrize("kind", ["RoundRobinGroupChat", "SelectorGroupChat"])
async def test_a_failing_model_fails_the_step_as_what_it_is(tmp_path: Path, kind: str) -> None:
    refusal = Answer(error=ErrorAnswer(status=429, message="too many requests"))
    component = team(
        kind, assistant("a", description="a"), assistant("b", description="b"), max_turns=2
    )
    async with team_stage(tmp_path, [Rule(answer=refusal)]) as s:
        execution_id = await s.submit(workflow(of_component(component)))
        with pytest.raises(ExecutionFailed) as failed:
            await s.result(execution_id)
        assert s.provider.received == 1
        assert "too many requests" in (await failure(s, execution_id)).message
    assert failed.value.failure_kind == "model_refused"


async def _cancelled(s: Stage, execution_id: Any) -> None:
    await s.client.cancel(execution_id)
    with pytest.raises(ExecutionCancelled):
        await s.result(execution_id)
    await s.idle()


@pytest.mark.parametrize("kind", ["RoundRobinGroupChat", "SelectorGroupChat"])
async def test_cancelling_reaches_a_team_that_waits_for_its_model(
    tmp_path: Path, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    component = team(
        kind, assistant("a", description="a"), assistant("b", description="b"), max_turns=2
    )
    with gate() as upstream:

        def slow(_: dict[str, Any]) -> Answer:
            upstream.hold()
            return Answer(content="late")

        async with team_stage(tmp_path, [Rule(answer=slow)]) as s:
            execution_id = await s.submit(workflow(of_component(component)))
            await upstream.reached()
            await _cancelled(s, execution_id)
            upstream.open()
    assert "Error processing" not in caplog.text
