"""People in a crew: feedback on an answer, and questions of tools."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from omium.errors import ExecutionPaused
from omium.testing.script import Answer
from tests.actors.stage import Stage
from tests.frameworks.crewai_stage import CREWAI, call, crew_stage, in_turn, own_crew, workflow

pytestmark = CREWAI


async def question(s: Stage, execution_id: Any) -> Any:
    with pytest.raises(ExecutionPaused):
        await s.result(execution_id)
    await s.idle()
    (asked,) = (await s.client.view(execution_id)).questions
    return asked


async def test_feedback_is_taken_round_by_round_across_runtimes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flow = workflow(own_crew("asks_a_person"))
    async with crew_stage(tmp_path, in_turn(Answer(content="One."))) as s:
        _point_at(s, monkeypatch)
        execution_id = await s.submit(flow, {})
        asked = await question(s, execution_id)
        assert "One." in asked.text
    async with crew_stage(tmp_path, in_turn(Answer(content="Two."))) as s:
        _point_at(s, monkeypatch)
        await s.client.resume(execution_id, decision="answer", answer="Say another.")
        asked = await question(s, execution_id)
        assert "Two." in asked.text
        # The answer of before was not asked for again, and the feedback was told.
        assert s.provider.received == 1
        assert "Say another." in str(s.provider.calls[0].body["messages"])
        await s.client.resume(execution_id, decision="answer", answer="")
        assert await s.result(execution_id) == "Two."
        assert s.provider.received == 1


async def test_a_tool_of_a_crew_asks_and_another_wants_approval(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pay = {"name": "paid", "function": "tests.frameworks.crews:paid", "approval": "required"}
    flow = workflow(own_crew("asks_in_tools"), tools=[pay])
    rules = in_turn(call("looked", where="there"), call("paid", amount=7), Answer(content="Done."))
    async with crew_stage(tmp_path, rules) as s:
        _point_at(s, monkeypatch)
        execution_id = await s.submit(flow, {})
        asked = await question(s, execution_id)
        assert asked.text == "What is there?"
        await s.client.resume(execution_id, decision="answer", answer="a cat")
        asked = await question(s, execution_id)
        assert (asked.kind, asked.tool) == ("approval", "paid")
        await s.client.resume(execution_id, decision="answer", answer={"amount": 3}, by="Ann")
        assert await s.result(execution_id) == "Done."
        said = str(s.provider.calls[-1].body["messages"])
        assert "there: a cat" in said
        assert "paid 3" in said


async def test_a_tool_of_a_crew_waits_for_a_signal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rules = in_turn(call("await_go", where="there"), Answer(content="Done."))
    async with crew_stage(tmp_path, rules) as s:
        _point_at(s, monkeypatch)
        execution_id = await s.submit(workflow(own_crew("waits_in_a_tool")), {})
        asked = await question(s, execution_id)
        assert (asked.kind, asked.name) == ("signal", "go")
        await s.client.signal(execution_id, "go", "Ann")
        assert await s.result(execution_id) == "Done."
        assert "there: Ann" in str(s.provider.calls[-1].body["messages"])


def _point_at(s: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Does for the clients of user code what a worker's process does."""
    monkeypatch.setenv("OPENAI_BASE_URL", f"{s.runtime.gateway_url}/v1")
    monkeypatch.setenv("OPENAI_API_KEY", f"{s.runtime.api_key}.worker")
