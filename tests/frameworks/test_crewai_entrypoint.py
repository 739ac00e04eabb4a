"""Crews that the user's own code makes: under the journal all the same, and refused by name."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pytest

from omium.errors import ExecutionFailed, ExecutionPaused
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

# CrewAI's own way to store a crew, which Omium does not use, cannot store a closure.
closures = pytest.mark.filterwarnings("ignore:function callbacks cannot be serialized:UserWarning")


# ---------------------------------------------------------------------- the journal


async def test_its_calls_and_tools_are_journaled_and_not_repeated_after_a_kill(
    tmp_path: Path, point: Any
) -> None:
    with gate() as till:
        rules = in_turn(
            Answer(content="uno"),
            call("note_it", till=till.name),
            call("ledger", till=till.name, amount=3),
            Answer(content="dos"),
            Answer(content="tres"),
        )
        async with crew_stage(tmp_path, rules) as s:
            point(s)
            flow = workflow(own_crew("three"), tools=LEDGER_IDEMPOTENT)
            execution_id = await s.submit(flow, {"topic": "numbers"})
            await till.reached(2)
            s.kill()
            await till.reached(3)
            till.open()
            assert await s.result(execution_id) == "tres"
            bodies = asked(s)
            entries = await s.journal(execution_id)
    assert len(bodies) == 5
    assert "Say one about numbers." in texts(bodies[0])
    # The third task's context is what the first two said, one of them before the kill.
    assert "uno" in texts(bodies[4]) and "dos" in texts(bodies[4])
    noted, first, again = till.notes
    assert first == again != noted
    intents = [e for e in events_of(entries, "call.intended") if e.key.kind == "tool"]
    assert {e.key.name: e.idempotent for e in intents} == {"Note It": False, "ledger": True}
    assert intents[0].request.inline == {"till": till.name, "amount": 1}
    assert [e.step for e in events_of(entries, "step.completed")] == ["0", "1", "2"]
    served = {e.served_by for e in events_of(entries, "call.completed")}
    assert "openai/gpt-4o-mini" in served


LEDGER_IDEMPOTENT = [
    {"name": "ledger", "function": "tests.frameworks.crews:held", "idempotent": True}
]


async def test_its_tool_that_may_not_run_twice_pauses_the_execution(
    tmp_path: Path, point: Any
) -> None:
    with gate() as till:
        rules = in_turn(call("ledger", till=till.name, amount=3), Answer(content="done"))
        async with crew_stage(tmp_path, rules) as s:
            point(s)
            execution_id = await s.submit(workflow(own_crew("with_ledger")))
            await till.reached()
            s.kill()
            with pytest.raises(ExecutionPaused, match="nobody knows how it ended"):
                await s.result(execution_id)
    assert len(till.notes) == 1


async def test_tools_called_side_by_side_are_told_apart(tmp_path: Path, point: Any) -> None:
    with gate() as till:
        both = Answer(
            tool_calls=(
                *call("note_it", till=till.name, amount=1).tool_calls,
                *call("note_it", till=till.name, amount=2).tool_calls,
                *call("note_it", till=till.name, amount=1).tool_calls,
            )
        )
        async with crew_stage(tmp_path, in_turn(both, Answer(content="done"))) as s:
            point(s)
            execution_id = await s.submit(workflow(own_crew("with_ledger")))
            assert await s.result(execution_id) == "done"
            shown = [m["content"] for m in asked(s)[1]["messages"] if m["role"] == "tool"]
            intents = events_of(await s.journal(execution_id), "call.intended")
    assert len(set(till.notes)) == 3
    assert [one.count("1") for one in shown] == [1, 0, 1]
    keys = [(e.key.occurrence, e.request.inline["amount"]) for e in intents if e.key.kind == "tool"]
    assert sorted(keys) == [(0, 1), (0, 2), (1, 1)]


async def test_tools_that_are_called_in_words_are_journaled_too(tmp_path: Path, point: Any) -> None:
    def in_words(name: str, **arguments: Any) -> Answer:
        said = f"Thought: I must.\nAction: {name}\nAction Input: {json.dumps(arguments)}"
        return Answer(content=said)

    with gate() as till:
        till.open()
        rules = in_turn(
            in_words("note_it", till=till.name, amount=2),
            in_words("ledger", till=till.name, amount=3),
            Answer(content="Thought: I know.\nFinal Answer: done"),
        )
        async with crew_stage(tmp_path, rules) as s:
            point(s)
            execution_id = await s.submit(workflow(own_crew("in_words")))
            assert await s.result(execution_id) == "done"
            intents = events_of(await s.journal(execution_id), "call.intended")
    assert [e.key.name for e in intents if e.key.kind == "tool"] == ["Note It", "ledger"]
    assert len(set(till.notes)) == 2


async def test_a_model_that_a_tool_returns_and_a_failure_that_it_reports(
    tmp_path: Path, point: Any
) -> None:
    with gate() as till:
        rules = in_turn(
            call("judge", case="mild"), call("report", till=till.name), Answer(content="done")
        )
        async with crew_stage(tmp_path, rules) as s:
            point(s)
            execution_id = await s.submit(workflow(own_crew("with_ledger")))
            assert await s.result(execution_id) == "done"
            said = texts(asked(s)[-1])
            entries = await s.journal(execution_id)
    assert '{"verdict":"mild","score":7}' in said
    assert "the till is closed (code: closed)" in said
    (failed,) = events_of(entries, "call.failed")
    assert "the till is closed" in failed.failure.message


async def test_executions_side_by_side_share_a_tool_but_no_journal(
    tmp_path: Path, point: Any
) -> None:
    with gate() as one, gate() as two:

        def answer(body: dict[str, Any]) -> Answer:
            said = texts(body)
            if "'amount': 1" in said or '"amount": 1' in said:
                return Answer(content="noted")
            name = one.name if "about one" in said else two.name
            return call("note_it", till=name) if "two about" in said else Answer(content="next")

        async with crew_stage(tmp_path, [Rule(answer=answer)]) as s:
            point(s)
            flow = workflow(own_crew("three"))
            ids = [await s.submit(flow, {"topic": topic}) for topic in ("one", "two", "one")]
            results = [await s.result(execution_id) for execution_id in ids]
            calls = [events_of(await s.journal(i), "call.intended") for i in ids]
    assert results
    assert [[e.key.kind for e in intents].count("tool") for intents in calls] == [1, 1, 1]
    assert (len(one.notes), len(two.notes)) == (2, 1)
    assert len({*one.notes, *two.notes}) == 3


async def test_a_cache_of_results_is_switched_off(tmp_path: Path, point: Any) -> None:
    with gate() as till:
        rules = in_turn(
            call("note_it", till=till.name), Answer(content="one"),
            call("note_it", till=till.name), Answer(content="two"),
        )  # fmt: skip
        async with crew_stage(tmp_path, rules) as s:
            point(s)
            await s.result(await s.submit(workflow(own_crew("caching"))))
    assert len(set(till.notes)) == 2


# ---------------------------------------------------------------------- resuming


@closures
async def test_outputs_that_are_models_survive_a_kill(tmp_path: Path, point: Any) -> None:
    verdict = {"verdict": "mild", "score": 7}
    with gate() as upstream:

        def slow(_: dict[str, Any]) -> Answer:
            upstream.hold()
            return Answer(content=verdict)

        rules = [*in_turn(Answer(content={**verdict, "score": 1})), Rule(answer=slow)]
        async with crew_stage(tmp_path, rules) as s:
            point(s)
            execution_id = await s.submit(workflow(own_crew("with_model")))
            await upstream.reached()
            s.kill()
            await s.until(execution_id, "attempt.started", times=2)
            upstream.open()
            assert await s.result(execution_id) == verdict
            assert s.provider.received == 2


@pytest.mark.parametrize("run", [False, True])
async def test_a_conditional_task_stays_decided_after_a_kill(
    tmp_path: Path, point: Any, run: bool
) -> None:
    with gate() as upstream:

        def answer(body: dict[str, Any]) -> Answer:
            if "Say 4." in texts(body):
                upstream.hold()
            return Answer(content="said")

        async with crew_stage(tmp_path, [Rule(answer=answer)]) as s:
            point(s)
            execution_id = await s.submit(workflow(own_crew("conditional")), {"run": run})
            await upstream.reached()
            s.kill()
            await s.until(execution_id, "attempt.started", times=2)
            upstream.open()
            assert await s.result(execution_id) == "said"
            assert s.provider.received == 3 + run
            steps = [e.step for e in events_of(await s.journal(execution_id), "step.completed")]
    assert steps == (["0", "1", "2", "3"] if run else ["0", "2", "3"])


@closures
async def test_the_users_own_callback_is_called_for_each_task(tmp_path: Path, point: Any) -> None:
    with gate() as till:
        async with crew_stage(tmp_path, in_turn(Answer(content="1"), Answer(content="2"))) as s:
            point(s)
            flow = workflow(own_crew("with_callback"))
            assert await s.result(await s.submit(flow, {"till": till.name})) == "2"
    assert till.notes == ["1", "2"]


# ---------------------------------------------------------------------- what it is called with


@pytest.mark.parametrize("function", ["with_inputs", "made_on_a_loop"])
async def test_it_may_take_the_inputs(tmp_path: Path, point: Any, function: str) -> None:
    async with crew_stage(tmp_path, in_turn(Answer(content="ok"))) as s:
        point(s)
        await s.result(await s.submit(workflow(own_crew(function)), {"topic": "it"}))
        assert "Say it in {curly}" in texts(asked(s)[0])


async def test_it_may_take_the_outputs_of_the_agents_before_it(tmp_path: Path, point: Any) -> None:
    before = crew(task("Say."), name="before")
    rules = in_turn(Answer(content="that"), Answer(content={"a": 1}))
    async with crew_stage(tmp_path, rules) as s:
        point(s)
        # The text that a crew ends with is read as JSON where the definition has a schema.
        flow = workflow(before, own_crew("with_both", output={"type": "object"}))
        assert await s.result(await s.submit(flow, {"topic": "it"})) == {"a": 1}
        assert "Say it after that" in texts(asked(s)[1])


async def test_its_refusals_reach_the_provider_once(tmp_path: Path, point: Any) -> None:
    refusal = Answer(error=ErrorAnswer(status=429, message="too many requests"))
    async with crew_stage(tmp_path, [Rule(answer=refusal)]) as s:
        point(s)
        execution_id = await s.submit(workflow(own_crew("three")), {"topic": "it"})
        with pytest.raises(ExecutionFailed) as failed:
            await s.result(execution_id)
        assert s.provider.received == 1
        assert "too many requests" in (await failure(s, execution_id)).message
    assert failed.value.failure_kind == "model_refused"


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        ("raises", "building the crew raised RuntimeError: no key for the vault"),
        ("no_crew", "it returned a list, not a Crew"),
        ("wants_more", "it takes 'key'; it can be given inputs and outputs"),
        ("with_memory", "its crew has 'memory': what it remembers"),
        ("with_knowledge", "its agent 'clerk' has 'knowledge_sources': its texts are searched"),
        ("with_training", "its crew has 'trained_agents_file': it is a pickle"),
        ("with_mcp", "its agent 'clerk' has 'mcps': calls of these tools"),
        ("missing", "has no 'missing'"),
        ("tests.frameworks.no_such:crew", "No module named"),
    ],
)
async def test_an_entrypoint_that_gives_no_crew_is_named(
    tmp_path: Path, point: Any, function: str, reason: str
) -> None:
    async with crew_stage(tmp_path) as s:
        point(s)
        execution_id = await s.submit(workflow(own_crew(function)))
        with pytest.raises(ExecutionFailed, match="entrypoint") as failed:
            await s.result(execution_id)
        assert reason in (await failure(s, execution_id)).message
        assert s.provider.received == 0
    assert failed.value.failure_kind == "entrypoint"


async def test_a_crew_that_two_executions_would_share_is_refused(
    tmp_path: Path, point: Any
) -> None:
    async with crew_stage(tmp_path, in_turn(Answer(content="mine"))) as s:
        point(s)
        flow = workflow(own_crew("shared"))
        assert await s.result(await s.submit(flow)) == "mine"
        with pytest.raises(ExecutionFailed, match="make crew, agents and tasks anew") as failed:
            await s.result(await s.submit(flow))
    assert failed.value.failure_kind == "entrypoint"


class Trap:
    """What runs when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return Path.touch, (self.mark,)


async def test_what_was_learned_in_training_is_never_unpickled(
    tmp_path: Path, point: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    mark = tmp_path / "ran"
    working = tmp_path / "working"
    working.mkdir()
    (working / "trained_agents_data.pkl").write_bytes(pickle.dumps(Trap(mark)))
    monkeypatch.chdir(working)
    async with crew_stage(tmp_path / "data", in_turn(Answer(content="mine"))) as s:
        point(s)
        with pytest.raises(ExecutionFailed, match="backstories of the agents") as failed:
            await s.result(await s.submit(workflow(own_crew("untrained"))))
        assert failed.value.failure_kind == "entrypoint"
        assert s.provider.received == 0
        # A definition says all there is, whatever lies where the process works.
        assert await s.result(await s.submit(workflow(crew(task("Say."))))) == "mine"
    assert not mark.exists()
