"""Tools of graphs: journaled, run once in effect, however they are called."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from omium.errors import ExecutionFailed, ExecutionPaused
from omium.testing.script import Answer
from tests.actors.gates import gate
from tests.frameworks.crewai_stage import asked, call, events_of, in_turn, workflow
from tests.frameworks.langgraph_stage import LANGGRAPH, graph, graph_stage

pytestmark = LANGGRAPH

HOLD_IDEMPOTENT = [
    {"name": "hold_it", "function": "tests.frameworks.graphs:hold_it", "idempotent": True}
]


def shown(body: dict[str, Any]) -> list[str]:
    """What a request says that tools said."""
    return [m["content"] for m in body["messages"] if m["role"] == "tool"]


async def test_tools_are_journaled_and_an_idempotent_one_is_run_again_after_a_kill(
    tmp_path: Path,
) -> None:
    with gate() as till:
        both = Answer(
            tool_calls=(
                *call("note_it", till=till.name, amount=3).tool_calls,
                *call("hold_it", till=till.name).tool_calls,
                *call("note_async", till=till.name).tool_calls,
            )
        )
        async with graph_stage(tmp_path, in_turn(both, Answer(content="done"))) as s:
            execution_id = await s.submit(workflow(graph("react"), tools=HOLD_IDEMPOTENT))
            await till.reached(3)
            await s.until(execution_id, "call.completed", 3)
            s.kill()
            await till.reached(4)
            till.open()
            result: Any = await s.result(execution_id)
            bodies = asked(s)
            entries = await s.journal(execution_id)
    assert result["messages"][-1]["content"] == "done"
    assert shown(bodies[1]) == ['{"amount": 3}', "let go", "noted"]
    assert len(bodies) == 2
    # Only the one that was held ran twice, and with the same key.
    assert len(till.notes) == 4 and len(set(till.notes)) == 3
    intents = [e for e in events_of(entries, "call.intended") if e.key.kind == "tool"]
    assert {e.key.name: e.idempotent for e in intents} == {
        "note_it": False, "hold_it": True, "note_async": False,
    }  # fmt: skip
    asked_for = {e.key.name: e.request.inline for e in intents}
    assert asked_for["note_it"] == {"till": till.name, "amount": 3}
    assert {e.key.scope for e in intents} == {"2|tools"}


async def test_one_that_is_not_idempotent_pauses_the_execution(tmp_path: Path) -> None:
    with gate() as till:
        rules = in_turn(call("hold_it", till=till.name), Answer(content="done"))
        async with graph_stage(tmp_path, rules) as s:
            execution_id = await s.submit(workflow(graph("react"), tools=[]))
            await till.reached()
            s.kill()
            with pytest.raises(ExecutionPaused, match="nobody knows how it ended"):
                await s.result(execution_id)
            await s.client.resume(execution_id, decision="answer", answer={"let": "go"})
            result: Any = await s.result(execution_id)
            assert shown(asked(s)[1]) == ['{"let": "go"}']
    assert result["messages"][-1]["content"] == "done"
    assert len(till.notes) == 1


async def test_tools_that_a_node_calls_by_itself_are_journaled(tmp_path: Path) -> None:
    with gate() as till:
        async with graph_stage(tmp_path) as s:
            flow = workflow(graph("tools_by_hand"), tools=HOLD_IDEMPOTENT)
            execution_id = await s.submit(flow, {"till": till.name})
            await till.reached(3)
            s.kill()
            await till.reached(4)
            till.open()
            result: Any = await s.result(execution_id)
    assert result["said"] == ["noted", "{'amount': 2}", "let go"]
    assert len(till.notes) == 4 and len(set(till.notes)) == 3


async def test_results_that_are_no_json_are_the_same_from_the_journal(tmp_path: Path) -> None:
    with gate() as till:
        several = Answer(
            tool_calls=(
                *call("look_up", word="loan").tool_calls,
                *call("remember", fact="rates rise").tool_calls,
                *call("hold_it", till=till.name).tool_calls,
            )
        )
        async with graph_stage(tmp_path, in_turn(several, Answer(content="done"))) as s:
            execution_id = await s.submit(workflow(graph("react"), tools=HOLD_IDEMPOTENT))
            await s.until(execution_id, "call.completed", 3)
            await till.reached()
            s.kill()
            await till.reached(2)
            till.open()
            result: Any = await s.result(execution_id)
            bodies = asked(s)
    assert sorted(shown(bodies[1])) == ["found loan", "kept", "let go"]
    assert result["facts"] == ["rates rise after 2 messages"]
    artifacts = [m.get("artifact") for m in result["messages"] if m["type"] == "tool"]
    assert {"word": "loan", "pages": [1, 2]} in artifacts


async def test_what_a_tool_raises_is_shown_as_the_graph_wants_it(tmp_path: Path) -> None:
    with gate() as till:
        rules = in_turn(
            call("fail_it", till=till.name),
            call("note_it", till=till.name, amount="many"),
            call("hold_it", till=till.name),
            Answer(content="done"),
        )
        async with graph_stage(tmp_path, rules) as s:
            execution_id = await s.submit(workflow(graph("react"), tools=HOLD_IDEMPOTENT))
            await till.reached(2)
            s.kill()
            await till.reached(3)
            till.open()
            result: Any = await s.result(execution_id)
            bodies = asked(s)
            entries = await s.journal(execution_id)
    assert result["messages"][-1]["content"] == "done"
    first, second = shown(bodies[2])
    assert "no such account" in first
    # Arguments that do not fit are the model's mistake: the tool was not run, nor journaled.
    assert "amount" in second and "valid integer" in second
    assert till.notes[0] == "ran" and len(till.notes) == 3
    assert len(events_of(entries, "call.failed")) == 1


async def test_what_a_tool_raises_ends_the_agent_where_the_graph_does_not_handle_it(
    tmp_path: Path,
) -> None:
    with gate() as till:
        async with graph_stage(tmp_path, in_turn(call("fail_it", till=till.name))) as s:
            execution_id = await s.submit(workflow(graph("react"), tools=[]), {"handle": False})
            with pytest.raises(ExecutionFailed, match="no such account") as failed:
                await s.result(execution_id)
    assert failed.value.failure_kind == "tool"
