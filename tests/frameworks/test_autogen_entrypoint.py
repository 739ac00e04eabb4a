"""Teams that the user's own code makes: under the journal all the same, and refused by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from omium.errors import ExecutionCancelled, ExecutionFailed
from omium.testing.script import Answer, ErrorAnswer, Rule
from tests.actors.gates import gate
from tests.frameworks.autogen_stage import (
    AUTOGEN,
    asked,
    call,
    events_of,
    failure,
    own_team,
    says,
    scopes_of,
    steps_of,
    team_stage,
    texts,
    workflow,
)

pytestmark = AUTOGEN


IDEMPOTENT = [
    {"name": name, "function": "tests.frameworks.team_tools:held", "idempotent": True}
    for name in ("hold_it", "await_it", "ring")
]


# ---------------------------------------------------------------------- the journal


async def test_its_calls_and_tools_are_journaled_and_not_repeated_after_a_kill(
    tmp_path: Path, point: Any
) -> None:
    with gate() as till:
        rules = says(
            call("note_it", till=till.name, amount=2),
            "noted",
            "no",
            call("hold_it", till=till.name),
            "booked",
            "APPROVE",
        )
        async with team_stage(tmp_path, rules) as s:
            point(s)
            flow = workflow(own_team("pair_with_tools"), tools=IDEMPOTENT)
            execution_id = await s.submit(flow)
            await till.reached(2)
            s.kill()
            await till.reached(3)
            till.open()
            assert await s.result(execution_id) == "APPROVE"
            bodies = asked(s)
            entries = await s.journal(execution_id)
    assert len(bodies) == 6
    noted, first, again = till.notes
    assert first == again != noted
    intents = [e for e in events_of(entries, "call.intended") if e.key.kind == "tool"]
    assert {e.key.name: e.idempotent for e in intents} == {"note_it": False, "hold_it": True}
    assert intents[0].request.inline == {"till": till.name, "amount": 2}
    assert {e.key.scope for e in intents} == {"0|clerk", "2|clerk"}
    # A model of the user's is shown as AutoGen shows it.
    assert '{"amount": 2, "text": "noted"}' in texts(bodies[1])
    assert {e.served_by for e in events_of(entries, "call.completed")} >= {"openai/scripted"}


async def test_tools_called_side_by_side_are_told_apart(tmp_path: Path, point: Any) -> None:
    with gate() as till:
        both = Answer(
            tool_calls=(
                *call("note_it", till=till.name, amount=1).tool_calls,
                *call("note_it", till=till.name, amount=2).tool_calls,
                *call("note_it", till=till.name, amount=1).tool_calls,
            )
        )
        async with team_stage(tmp_path, says(both, "done")) as s:
            point(s)
            execution_id = await s.submit(workflow(own_team("with_tools")))
            assert await s.result(execution_id) == "done"
            intents = events_of(await s.journal(execution_id), "call.intended")
    assert len(set(till.notes)) == 3
    keys = [(e.key.occurrence, e.request.inline["amount"]) for e in intents if e.key.kind == "tool"]
    assert sorted(keys) == [(0, 1), (0, 2), (1, 1)]


async def test_a_tool_that_raises_is_told_of_and_not_run_again(tmp_path: Path, point: Any) -> None:
    with gate() as till:
        rules = says(
            call("break_it", till=till.name), "it broke", "no", call("hold_it", till=till.name),
            "held", "APPROVE",
        )  # fmt: skip
        async with team_stage(tmp_path, rules) as s:
            point(s)
            execution_id = await s.submit(workflow(own_team("pair_with_tools"), tools=IDEMPOTENT))
            await till.reached(2)
            s.kill()
            till.open()
            assert await s.result(execution_id) == "APPROVE"
            (failed,) = events_of(await s.journal(execution_id), "call.failed")
            said = texts(asked(s)[1])
    assert failed.failure.message == "ValueError: no such account"
    assert "tool 'break_it': ValueError: no such account" in said
    assert till.notes.count("ran") == 1


async def test_a_tool_that_cancels_itself_does_not_leave_the_team_waiting(
    tmp_path: Path, point: Any
) -> None:
    async with team_stage(tmp_path, says(call("cancel_it", till="none"))) as s:
        point(s)
        execution_id = await s.submit(workflow(own_team("pair_with_tools")))
        with pytest.raises(ExecutionFailed, match="tool 'cancel_it' was cancelled from within"):
            await s.result(execution_id)


async def test_a_workbench_of_the_users_is_journaled_and_its_state_kept(
    tmp_path: Path, point: Any
) -> None:
    with gate() as till:
        rules = says(
            call("ring", till="none"), "failed",
            call("ring", till=till.name), "one",
            call("ring", till=till.name), "two",
            "closed",
        )  # fmt: skip
        async with team_stage(tmp_path, rules) as s:
            point(s)
            execution_id = await s.submit(workflow(own_team("with_register"), tools=IDEMPOTENT))
            await till.reached()
            till.open()
            await s.until(execution_id, "step.completed", times=2)
            till.close()
            await till.reached(2)
            s.kill()
            # Not before the next attempt: the first one may still be able to tell its result.
            await till.reached(3)
            till.open()
            assert await s.result(execution_id) == "closed"
            said = [texts(body) for body in asked(s)]
            entries = await s.journal(execution_id)
    assert "tool 'ring': no such till" in said[1]
    assert "rung 2" in said[5]
    assert len(events_of(entries, "call.failed")) == 1


async def test_agents_inside_agents_have_scopes_and_states_of_their_own(
    tmp_path: Path, point: Any
) -> None:
    with gate() as till, gate() as upstream:

        def answer(body: dict[str, Any]) -> Answer:
            said = texts(body)
            results = sum(message["role"] == "tool" for message in body["messages"])
            if "I am helper." in said:
                if results == said.count("Help"):
                    return Answer(content=f"helped {results}")
                return call("note_it", till=till.name, amount=results + 1)
            if "I am clerk." in said:
                last = body["messages"][-1]
                turns = said.count("judged")
                return (
                    Answer(content="got it")
                    if last["role"] == "tool"
                    else call("helper", task=f"Help {turns}")
                )
            if "I am inner_judge." in said:
                if said.count("got it") == 2:
                    upstream.hold()
                    return Answer(content="judged, APPROVE")
                return Answer(content="judged")
            return Answer(content="typed")

        async with team_stage(tmp_path, [Rule(answer=answer)]) as s:
            point(s)
            execution_id = await s.submit(workflow(own_team("with_inner_agents")))
            await upstream.reached()
            s.kill()
            await s.until(execution_id, "attempt.started", times=2)
            upstream.open()
            assert await s.result(execution_id) == "judged, APPROVE"
            entries = await s.journal(execution_id)
            bodies = asked(s)
    # A wrapped agent speaks under its own name.
    names = [name for _, name in steps_of(entries)]
    assert names == ["clerk", "inner_judge", "society", "clerk", "inner_judge"]
    assert {scope.partition("|")[2] for scope in scopes_of(entries)} == {
        "clerk",
        "clerk/helper",
        "judge/inner_judge",
        "society/office/typist",
        "society",
    }
    # The agent that is a tool remembers its first task; so does the wrapped one what it judged.
    assert len(till.notes) == len(set(till.notes)) == 2
    helper = [texts(body) for body in bodies if "I am helper." in texts(body)]
    assert "helped 1" in helper[-1]
    judge = [texts(body) for body in bodies if "I am inner_judge." in texts(body)]
    assert judge[-1].count("got it") == 2


async def test_structured_messages_that_autogen_does_not_know_of(
    tmp_path: Path, point: Any
) -> None:
    rules = says({"amount": 1, "text": "a"}, {"verdict": "good", "score": 7})
    async with team_stage(tmp_path, rules) as s:
        point(s)
        execution_id = await s.submit(workflow(own_team("structured")))
        assert await s.result(execution_id) == {"verdict": "good", "score": 7}


async def test_executions_side_by_side_share_a_process_but_no_journal(
    tmp_path: Path, point: Any
) -> None:
    with gate() as one, gate() as two:

        def answer(body: dict[str, Any]) -> Answer:
            said = texts(body)
            if "tool" in {message["role"] for message in body["messages"]}:
                return Answer(content="APPROVE")
            return call("note_it", till=one.name if "Do one." in said else two.name)

        async with team_stage(tmp_path, [Rule(answer=answer)]) as s:
            point(s)
            flow = workflow(own_team("pair_with_tools", task="Do {which}."))
            ids = [await s.submit(flow, {"which": which}) for which in ("one", "two", "one")]
            assert [await s.result(execution_id) for execution_id in ids] == ["APPROVE"] * 3
            calls = [events_of(await s.journal(i), "call.intended") for i in ids]
    assert [[e.key.kind for e in intents].count("tool") for intents in calls] == [1, 1, 1]
    assert (len(one.notes), len(two.notes)) == (2, 1)


# ---------------------------------------------------------------------- endings and kinds


async def test_a_condition_of_the_users_own_is_shown_the_past_again(
    tmp_path: Path, point: Any
) -> None:
    with gate() as upstream:

        def answer(body: dict[str, Any]) -> Answer:
            if len(body["messages"]) == 5:
                upstream.hold()
            return Answer(content="said")

        async with team_stage(tmp_path, [Rule(answer=answer)]) as s:
            point(s)
            execution_id = await s.submit(workflow(own_team("own_ending")), {})
            await upstream.reached()
            s.kill()
            await s.until(execution_id, "attempt.started", times=2)
            upstream.open()
            await s.result(execution_id)
            names = [name for _, name in steps_of(await s.journal(execution_id))]
    assert names == ["writer", "critic", "writer", "critic", "writer"]


async def test_a_timer_ends_a_team(tmp_path: Path, point: Any) -> None:
    async with team_stage(tmp_path, says("one", "two", "three")) as s:
        point(s)
        execution_id = await s.submit(workflow(own_team("own_ending")), {"seconds": 0.0})
        assert await s.result(execution_id) == "Do it."


async def test_its_limit_of_turns_and_its_function_for_who_speaks(
    tmp_path: Path, point: Any
) -> None:
    async with team_stage(tmp_path, says("a", "b", "c", "d", "APPROVE")) as s:
        point(s)
        assert await s.result(await s.submit(workflow(own_team("bounded")))) == "c"
        execution_id = await s.submit(workflow(own_team("selecting")))
        assert await s.result(execution_id) == "APPROVE"
        names = [name for _, name in steps_of(await s.journal(execution_id))]
    assert names == ["writer", "critic"]


async def test_a_team_that_cannot_be_stopped_on_its_way_is_one_step(
    tmp_path: Path, point: Any
) -> None:
    ledger = {
        key: {"reason": "r", "answer": answer}
        for key, answer in {
            "is_request_satisfied": True, "is_in_loop": False, "is_progress_being_made": True,
            "next_speaker": "writer", "instruction_or_question": "go",
        }.items()
    }  # fmt: skip
    async with team_stage(tmp_path, says("facts", "plan", ledger, "the end")) as s:
        point(s)
        execution_id = await s.submit(workflow(own_team("magentic")))
        assert await s.result(execution_id) == "the end"
        assert len(steps_of(await s.journal(execution_id))) == 1


@pytest.mark.parametrize("function", ["with_inputs", "made_on_a_loop"])
async def test_it_is_called_with_what_it_takes(tmp_path: Path, point: Any, function: str) -> None:
    async with team_stage(tmp_path, says("APPROVE")) as s:
        point(s)
        flow = workflow(own_team(function, task=None))
        assert await s.result(await s.submit(flow, {"topic": "it"})) == "APPROVE"
        said = texts(asked(s)[0])
    assert said == ("Say it after {}." if function == "with_inputs" else "I am writer.")


# ---------------------------------------------------------------------- what goes wrong


@pytest.mark.parametrize("function", ["raising", "raising_inside"])
async def test_an_agent_that_raises_fails_with_what_it_raised(
    tmp_path: Path, point: Any, function: str
) -> None:
    async with team_stage(tmp_path) as s:
        point(s)
        execution_id = await s.submit(workflow(own_team(function)))
        with pytest.raises(ExecutionFailed, match=r"KeyError: 'the vault'$") as failed:
            await s.result(execution_id)
        assert (await failure(s, execution_id)).error_type == "KeyError"
    assert failed.value.failure_kind == "agent"


async def test_an_agent_that_wants_to_leave_the_process_fails(tmp_path: Path, point: Any) -> None:
    async with team_stage(tmp_path) as s:
        point(s)
        execution_id = await s.submit(workflow(own_team("leaving")))
        with pytest.raises(ExecutionFailed, match="SystemExit: 3"):
            await s.result(execution_id)


async def test_cancelling_waits_for_a_tool_in_a_thread(tmp_path: Path, point: Any) -> None:
    with gate() as till:
        async with team_stage(tmp_path, says(call("hold_it", till=till.name))) as s:
            point(s)
            execution_id = await s.submit(workflow(own_team("pair_with_tools")))
            await till.reached()
            await s.client.cancel(execution_id)
            with pytest.raises(ExecutionCancelled):
                await s.result(execution_id)
            assert [w.attempts for w in (await s.client.runtime()).workers] == [1]
            till.open()
            await s.idle()


async def test_cancelling_ends_a_tool_on_the_loop(tmp_path: Path, point: Any) -> None:
    with gate() as till:
        async with team_stage(tmp_path, says(call("await_it", till=till.name))) as s:
            point(s)
            execution_id = await s.submit(workflow(own_team("pair_with_tools")))
            await till.reached()
            await s.client.cancel(execution_id)
            with pytest.raises(ExecutionCancelled):
                await s.result(execution_id)
            await s.idle()


async def test_a_failing_model_of_a_client_of_the_users(tmp_path: Path, point: Any) -> None:
    refusal = Answer(error=ErrorAnswer(status=401, message="no such key"))
    async with team_stage(tmp_path, [Rule(answer=refusal)]) as s:
        point(s)
        execution_id = await s.submit(workflow(own_team("pair")))
        with pytest.raises(ExecutionFailed, match="no such key") as failed:
            await s.result(execution_id)
        assert s.provider.received == 1
    assert failed.value.failure_kind == "model_refused"


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        ("raises", "building the team raised RuntimeError: no key for the vault"),
        ("no_team", "it returned a list, not a team or an agent of AutoGen"),
        ("wants_more", "it takes 'key'; it can be given inputs and outputs"),
        ("runs_code", "agent 'coder' runs code past the journal"),
        ("own_runtime", "has a runtime of its own"),
        ("missing", "has no 'missing'"),
        ("tests.frameworks.no_such:team", "No module named"),
    ],
)
async def test_an_entrypoint_that_gives_no_team_is_named(
    tmp_path: Path, point: Any, function: str, reason: str
) -> None:
    async with team_stage(tmp_path) as s:
        point(s)
        execution_id = await s.submit(workflow(own_team(function)))
        with pytest.raises(ExecutionFailed, match="entrypoint") as failed:
            await s.result(execution_id)
        assert reason in (await failure(s, execution_id)).message
        assert s.provider.received == 0
    assert failed.value.failure_kind == "entrypoint"


async def test_a_team_that_two_executions_would_share_is_refused(
    tmp_path: Path, point: Any
) -> None:
    async with team_stage(tmp_path, says("APPROVE")) as s:
        point(s)
        flow = workflow(own_team("shared"))
        assert await s.result(await s.submit(flow)) == "APPROVE"
        with pytest.raises(ExecutionFailed, match="run already") as failed:
            await s.result(await s.submit(flow))
    assert failed.value.failure_kind == "entrypoint"


@pytest.mark.parametrize(
    ("first", "then", "reason"),
    [
        ("pair", "pair_with_tools", "which is of another team"),
        ("trio", "pair", "its team has no 'editor' any more"),
    ],
)
async def test_a_checkpoint_of_another_team_is_refused(
    tmp_path: Path, point: Any, first: str, then: str, reason: str
) -> None:
    async with team_stage(tmp_path, says("draft", "APPROVE")) as s:
        point(s)
        origin = await s.submit(workflow(own_team(first)))
        await s.result(origin)
        entries = await s.journal(origin)
        at = next(e.index for e in entries if e.event in events_of(entries, "step.completed"))
        changed = {"agents.group.entrypoint": f"tests.frameworks.teams:{then}"}
        fork = await s.client.fork(origin, at, changed)
        with pytest.raises(ExecutionFailed, match=reason):
            await s.result(fork)
