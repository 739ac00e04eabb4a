"""People in the loop: questions, approvals and signals, and what survives between them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from omium.definitions import Workflow, workflow_from
from omium.errors import AnswerError, Conflict, ExecutionFailed, ExecutionPaused, InputError
from omium.execution.events import CallDecided, CallIntended, type_of
from omium.types import ExecutionId
from tests.actors.gates import gate
from tests.actors.stage import Stage, stage

HERE = "tests.actors.people"
KINDS = pytest.mark.parametrize("entrypoint", ["asks", "asks_blocking"])


def flow(*entrypoints: str, handoffs: list[str] | None = None, **fields: Any) -> Workflow:
    agents = [
        {
            "name": f"agent{number}",
            "framework": "python",
            "entrypoint": f"{HERE}:{entrypoint}",
            "tools": ["note", "pay", "pay_blocking", "ask_then_note"],
        }
        for number, entrypoint in enumerate(entrypoints, start=1)
    ]
    tools: list[dict[str, Any]] = [
        {"name": "note", "function": f"{HERE}:note"},
        {"name": "pay", "function": f"{HERE}:pay", "approval": "required"},
        {
            "name": "pay_blocking",
            "function": f"{HERE}:pay_blocking",
            "approval": "required",
        },
        {"name": "ask_then_note", "function": f"{HERE}:ask_then_note"},
    ]
    return workflow_from(
        {
            "name": "people",
            "version": "1",
            "tools": tools,
            "agents": agents,
            "handoffs": [] if handoffs is None else handoffs,
            **fields,
        }
    )


async def paused(s: Stage, execution_id: ExecutionId) -> Any:
    """The view of an execution once it waits for somebody."""
    with pytest.raises(ExecutionPaused):
        await s.result(execution_id)
    view = await s.client.view(execution_id)
    assert view.status == "paused"
    return view


@KINDS
async def test_a_question_holds_nothing_and_is_answered_once(
    tmp_path: Path, entrypoint: str
) -> None:
    async with stage(tmp_path) as s:
        with gate() as till:
            execution_id = await s.submit(flow(entrypoint), {"till": till.name})
            view = await paused(s, execution_id)
            (asked,) = view.questions
            assert (view.pause_reason, view.pause_call) == ("question", asked.call)
            assert (asked.agent, asked.text) == ("agent1", "Which rate?")
            assert asked.schema["required"] == ["rate"]
            assert "Which rate?" in view.row.detail
            await s.idle()
            await s.client.resume(
                execution_id, decision="answer", answer={"rate": 5}, by="Ann", call=asked.call
            )
            assert await s.result(execution_id) == ["before", {"rate": 5}, "after"]
            assert till.notes == ["before", "after"]
        entries = await s.journal(execution_id)
        (decided,) = [e.event for e in entries if isinstance(e.event, CallDecided)]
        assert (decided.decision, decided.by, decided.call) == ("answer", "Ann", asked.call)
        row = (await s.client.view(execution_id)).row
        assert row.tool_calls == 2


async def test_an_answer_that_does_not_fit_changes_nothing(tmp_path: Path) -> None:
    async with stage(tmp_path) as s:
        with gate() as till:
            execution_id = await s.submit(flow("asks"), {"till": till.name})
            before = await paused(s, execution_id)
            with pytest.raises(AnswerError) as refused:
                await s.client.resume(execution_id, decision="answer", answer={"rate": "x", "y": 1})
            assert len(refused.value.problems) == 2
            assert "rate" in str(refused.value)
            with pytest.raises(Conflict, match=r"waits for an answer .* to 'Which rate\?'"):
                await s.client.resume(execution_id)
            with pytest.raises(Conflict, match="not 'retry'"):
                await s.client.resume(execution_id, decision="retry")
            with pytest.raises(Conflict, match="no answer to call 1"):
                await s.client.resume(execution_id, decision="answer", answer=1, call=1)
            with pytest.raises(InputError):
                await s.client.resume(execution_id, decision="deny", answer=1)
            after = await s.client.view(execution_id)
            assert after.row.last_index == before.row.last_index
            await s.client.resume(execution_id, decision="answer", answer={"rate": 5})
            await s.result(execution_id)


@pytest.mark.parametrize("entrypoint", ["asks_twice_at_once", "asks_in_a_group"])
@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
async def test_several_questions_of_one_agent(
    tmp_path: Path, entrypoint: str, order: tuple[int, int]
) -> None:
    async with stage(tmp_path) as s:
        with gate() as till:
            execution_id = await s.submit(flow(entrypoint), {"till": till.name})
            view = await paused(s, execution_id)
            assert [q.text for q in view.questions] == ["One?", "Two?"]
            first, second = (view.questions[number] for number in order)
            await s.client.resume(
                execution_id, decision="answer", answer=first.text, call=first.call
            )
            view = await s.client.view(execution_id)
            assert view.status == "paused"
            assert [q.text for q in view.questions] == [second.text]
            assert view.pause_call == second.call
            await s.client.resume(execution_id, decision="answer", answer=second.text)
            result: Any = await s.result(execution_id)
            assert result[:2] == ["One?", "Two?"]
            if entrypoint == "asks_twice_at_once":
                assert till.notes == ["beside"]


async def test_who_asks_waits_and_others_go_on(tmp_path: Path) -> None:
    async with stage(tmp_path) as s:
        with gate() as till, gate() as held:
            inputs = {"till": till.name, "held": held.name}
            execution_id = await s.submit(flow("asks", "holds_free"), inputs)
            await held.reached()
            # The tool of the one, then its question; the other calls nothing.
            await s.until(execution_id, "attempt.ended")
            view = await s.client.view(execution_id)
            assert view.status == "running"
            assert "Which rate?" in view.row.detail
            await s.client.resume(execution_id, decision="answer", answer={"rate": 5})
            await till.reached(2)
            held.open()
            assert await s.result(execution_id) == {
                "agent1": ["before", {"rate": 5}, "after"],
                "agent2": "held",
            }
        types = await s.types(execution_id)
        assert "execution.paused" not in types


async def test_the_pause_comes_when_nobody_has_anything_to_do(tmp_path: Path) -> None:
    async with stage(tmp_path) as s:
        with gate() as till:
            execution_id = await s.submit(flow("asks", "asks"), {"till": till.name})
            view = await paused(s, execution_id)
            # They ask in the order in which they come to it.
            first, second = (q.agent for q in view.questions)
            assert {first, second} == {"agent1", "agent2"}
            await s.client.resume(execution_id, decision="answer", answer={"rate": 1})
            view = await paused(s, execution_id)
            assert [q.agent for q in view.questions] == [second]
            await s.client.resume(execution_id, decision="answer", answer={"rate": 1})
            await s.result(execution_id)
            assert till.notes == ["before", "before", "after", "after"]


async def test_a_tool_that_asks_is_run_again_from_its_top(tmp_path: Path) -> None:
    async with stage(tmp_path) as s:
        with gate() as till:
            execution_id = await s.submit(flow("asks_in_a_tool"), {"till": till.name})
            await paused(s, execution_id)
            await s.client.resume(execution_id, decision="answer", answer="said")
            assert await s.result(execution_id) == "said"
            assert till.notes == ["said"]


async def test_a_person_may_decline(tmp_path: Path) -> None:
    async with stage(tmp_path) as s:
        execution_id = await s.submit(flow("asks_politely"), {})
        await paused(s, execution_id)
        await s.client.resume(execution_id, decision="deny", reason="not my job", by="Ann")
        assert await s.result(execution_id) == ("'Which rate?' was not answered by Ann: not my job")


async def test_asking_on_an_event_loop_in_the_blocking_way_is_told(tmp_path: Path) -> None:
    async with stage(tmp_path) as s:
        execution_id = await s.submit(flow("asks_by_blocking"), {})
        with pytest.raises(ExecutionFailed, match="await the _async form"):
            await s.result(execution_id)


# ------------------------------------------------------------------ approvals


@pytest.mark.parametrize(
    ("entrypoint", "tool"), [("pays", "pay"), ("pays_blocking", "pay_blocking")]
)
async def test_an_approved_tool_runs_once(tmp_path: Path, entrypoint: str, tool: str) -> None:
    async with stage(tmp_path) as s:
        with gate() as till:
            till.open()
            execution_id = await s.submit(flow(entrypoint), {"till": till.name})
            view = await paused(s, execution_id)
            (asked,) = view.questions
            assert (asked.kind, asked.tool) == ("approval", tool)
            assert asked.arguments.inline == {"till": till.name, "amount": 7}
            assert till.notes == []
            await s.client.resume(execution_id, decision="approve", by="Ann")
            assert await s.result(execution_id) == [7]
            assert till.notes == [7]
        entries = await s.journal(execution_id)
        paid = next(
            e.event for e in entries if isinstance(e.event, CallIntended) and e.event.approval
        )
        assert (paid.key.kind, paid.key.name, paid.approval) == ("tool", tool, asked.call)


async def test_an_approval_is_for_one_call(tmp_path: Path) -> None:
    async with stage(tmp_path) as s:
        with gate() as till:
            till.open()
            execution_id = await s.submit(flow("pays"), {"till": till.name, "times": 2})
            await paused(s, execution_id)
            await s.client.resume(execution_id, decision="approve", by="Ann")
            view = await paused(s, execution_id)
            assert till.notes == [7]
            assert len(view.questions) == 1
            await s.client.resume(execution_id, decision="approve", by="Bob")
            assert await s.result(execution_id) == [7, 7]


async def test_a_denied_tool_is_a_tool_error(tmp_path: Path) -> None:
    async with stage(tmp_path) as s:
        with gate() as till:
            till.open()
            execution_id = await s.submit(flow("pays"), {"till": till.name})
            await paused(s, execution_id)
            await s.client.resume(execution_id, decision="deny", reason="too much", by="Ann")
            assert await s.result(execution_id) == ["tool 'pay': denied by Ann: too much"]
            assert till.notes == []


async def test_edited_arguments_are_what_the_tool_is_run_with(tmp_path: Path) -> None:
    async with stage(tmp_path) as s:
        with gate() as till:
            till.open()
            execution_id = await s.submit(flow("pays"), {"till": till.name})
            await paused(s, execution_id)
            with pytest.raises(AnswerError, match="the arguments to run the tool with"):
                await s.client.resume(execution_id, decision="answer", answer=3, by="Ann")
            await s.client.resume(
                execution_id, decision="answer", answer={"till": till.name, "amount": 3}, by="Ann"
            )
            assert await s.result(execution_id) == [3]
            assert till.notes == [3]


async def test_an_approved_tool_whose_outcome_is_unknown_is_decided_about(tmp_path: Path) -> None:
    async with stage(tmp_path) as s:
        with gate() as till:
            execution_id = await s.submit(flow("pays"), {"till": till.name})
            await paused(s, execution_id)
            await s.client.resume(execution_id, decision="approve", by="Ann")
            await till.reached()
            s.kill()
            view = await paused(s, execution_id)
            assert view.pause_reason == "outcome_unknown"
            till.open()
            await s.client.resume(execution_id, decision="retry")
            assert await s.result(execution_id) == [7]


# ------------------------------------------------------------------ signals


async def test_signals_are_read_in_the_order_of_the_journal(tmp_path: Path) -> None:
    async with stage(tmp_path) as s:
        with gate() as till:
            execution_id = await s.submit(flow("waits"), {"till": till.name})
            await till.reached()
            await s.client.signal(execution_id, "note", 1)
            s.kill()
            await till.reached(2)
            till.open()
            view = await paused(s, execution_id)
            assert view.pause_reason == "signal"
            await s.idle()
            await s.client.signal(execution_id, "note", 2)
            assert (await s.client.view(execution_id)).status == "paused"
            await s.client.signal(execution_id, "go", {"now": True}, by="Ann")
            # The first look saw nothing, and sees nothing when the agent goes over it again.
            assert await s.result(execution_id) == [[], {"now": True}, "Ann", [1, 2]]


async def test_a_signal_that_came_before_is_not_waited_for(tmp_path: Path) -> None:
    async with stage(tmp_path) as s:
        with gate() as till:
            execution_id = await s.submit(flow("waits"), {"till": till.name})
            await till.reached()
            await s.client.signal(execution_id, "go", 1)
            till.open()
            assert await s.result(execution_id) == [[], 1, "", []]
        assert "execution.paused" not in await s.types(execution_id)


# ------------------------------------------------------------------ what survives


async def test_a_question_survives_the_runtime(tmp_path: Path) -> None:
    with gate() as till:
        async with stage(tmp_path) as s:
            execution_id = await s.submit(flow("asks"), {"till": till.name})
            await paused(s, execution_id)
        async with stage(tmp_path) as s:
            assert (await s.client.view(execution_id)).status == "paused"
            await s.client.resume(execution_id, decision="answer", answer={"rate": 2})
            assert await s.result(execution_id) == ["before", {"rate": 2}, "after"]
            assert till.notes == ["before", "after"]


async def test_a_fork_keeps_the_answers_and_the_approvals_of_its_past(tmp_path: Path) -> None:
    async with stage(tmp_path) as s:
        with gate() as till:
            till.open()
            execution_id = await s.submit(flow("pays"), {"till": till.name, "times": 2})
            await paused(s, execution_id)
            await s.client.resume(execution_id, decision="approve", by="Ann")
            view = await paused(s, execution_id)
            entries = await s.journal(execution_id)
            done = [e.index for e in entries if type_of(e.event) == "call.completed"]
            forked = await s.client.fork(execution_id, done[0])
            await paused(s, forked)
            assert till.notes == [7]
            await s.client.resume(forked, decision="deny", by="Bob")
            assert await s.result(forked) == [7, "tool 'pay': denied by Bob"]
            assert (await s.client.view(execution_id)).row.last_index == view.row.last_index
