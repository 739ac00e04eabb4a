"""People among the nodes and tools of a graph."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from omium.definitions import workflow_from
from omium.errors import ExecutionPaused
from omium.types import ExecutionId
from tests.actors.gates import Gate, gate
from tests.actors.stage import Stage
from tests.frameworks.langgraph_stage import LANGGRAPH, graph, graph_stage

pytestmark = LANGGRAPH


def flow(function: str) -> Any:
    pay = {"name": "pay", "function": "tests.frameworks.people_graphs:pay", "approval": "required"}
    agent = graph(f"tests.frameworks.people_graphs:{function}")
    return workflow_from({"name": "asking", "version": "1", "tools": [pay], "agents": [agent]})


def told(till: Gate) -> dict[str, Any]:
    return {"till": till.name, "said": []}


async def questions(s: Stage, execution_id: ExecutionId) -> list[Any]:
    with pytest.raises(ExecutionPaused):
        await s.result(execution_id)
    await s.idle()
    return list((await s.client.view(execution_id)).questions)


async def answer(s: Stage, execution_id: ExecutionId, value: Any, call: int = 0) -> None:
    await s.client.resume(execution_id, decision="answer", answer=value, call=call)


async def test_one_node_interrupts_itself_twice_across_runtimes(tmp_path: Path) -> None:
    with gate() as till:
        async with graph_stage(tmp_path) as s:
            execution_id = await s.submit(flow("twice_in_one_node"), told(till))
            (asked,) = await questions(s, execution_id)
            assert asked.text == "How many?"
        async with graph_stage(tmp_path) as s:
            await answer(s, execution_id, 1)
            (again,) = await questions(s, execution_id)
            assert again.call > asked.call
        async with graph_stage(tmp_path) as s:
            await answer(s, execution_id, 2)
            result: Any = await s.result(execution_id)
        assert result["said"] == ["before", 1, 2]
        assert till.notes == ["before", "asked"]


async def test_parallel_nodes_ask_at_once_and_are_answered_in_any_order(tmp_path: Path) -> None:
    async with graph_stage(tmp_path) as s:
        with gate() as till:
            execution_id = await s.submit(flow("in_parallel"), told(till))
            asked = await questions(s, execution_id)
            assert sorted(q.text for q in asked) == ['{"who": "one"}', '{"who": "two"}']
            for question in reversed(asked):
                await answer(s, execution_id, f"to {question.text}", question.call)
            result: Any = await s.result(execution_id)
            assert sorted(result["said"]) == ["beside", 'to {"who": "one"}', 'to {"who": "two"}']
            assert till.notes == ["beside"]


async def test_a_subgraph_asks(tmp_path: Path) -> None:
    with gate() as till:
        async with graph_stage(tmp_path) as s:
            execution_id = await s.submit(flow("in_a_subgraph"), told(till))
            (first,) = await questions(s, execution_id)
            assert first.text == "First?"
        async with graph_stage(tmp_path) as s:
            await answer(s, execution_id, "a")
            (second,) = await questions(s, execution_id)
            assert second.text == "Second?"
            await answer(s, execution_id, "b")
            result: Any = await s.result(execution_id)
        assert result["said"] == ["a", "b"]
        assert till.notes == ["second", "second"]


async def test_nodes_ask_through_omium(tmp_path: Path) -> None:
    async with graph_stage(tmp_path) as s:
        with gate() as till:
            execution_id = await s.submit(flow("with_omium"), told(till))
            asked = {q.text: q.call for q in await questions(s, execution_id)}
            await answer(s, execution_id, 2, asked["Two?"])
            await answer(s, execution_id, 1, asked["One?"])
            result: Any = await s.result(execution_id)
            assert sorted(result["said"]) == [1, 2]
            assert sorted(till.notes) == ["one", "two"]


async def test_tools_ask_and_want_approval(tmp_path: Path) -> None:
    async with graph_stage(tmp_path) as s:
        with gate() as till:
            execution_id = await s.submit(flow("in_tools"), {"till": till.name, "messages": []})
            said: list[str] = []
            for _ in range(4):
                view = await s.client.view(execution_id)
                if view.status in ("queued", "running"):
                    try:
                        await s.result(execution_id)
                        break
                    except ExecutionPaused:
                        view = await s.client.view(execution_id)
                for question in view.questions:
                    said.append(question.text)
                    if question.kind == "approval":
                        edited = {"till": till.name, "amount": 3}
                        await s.client.resume(
                            execution_id,
                            decision="answer",
                            answer=edited,
                            by="Ann",
                            call=question.call,
                        )
                    else:
                        await answer(s, execution_id, "yes", question.call)
            assert await s.result(execution_id) == ["confirmed: yes", "inquired: yes", "paid 3"]
            assert sorted(map(str, till.notes)) == ["3", "yes", "yes"]
            assert len(said) == 3


async def test_a_node_waits_for_a_signal(tmp_path: Path) -> None:
    async with graph_stage(tmp_path) as s:
        with gate() as till:
            execution_id = await s.submit(flow("waits_for_a_signal"), told(till))
            (asked,) = await questions(s, execution_id)
            assert (asked.kind, asked.name) == ("signal", "go")
            await s.client.signal(execution_id, "go", {"by": "Ann"})
            result: Any = await s.result(execution_id)
            assert result["said"] == ["before", {"by": "Ann"}]
            assert till.notes == ["before"]
