"""People among the members of a team."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from omium.errors import ExecutionPaused
from tests.actors.stage import Stage
from tests.frameworks.autogen_stage import (
    AUTOGEN,
    assistant,
    call,
    of_component,
    own_team,
    says,
    team,
    team_stage,
    workflow,
)

pytestmark = AUTOGEN
MODEL = "scripted/scripted"


async def question(s: Stage, execution_id: Any) -> Any:
    with pytest.raises(ExecutionPaused):
        await s.result(execution_id)
    await s.idle()
    (asked,) = (await s.client.view(execution_id)).questions
    return asked


async def test_a_user_proxy_asks_across_runtimes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flow = workflow(own_team("asks_a_person"))
    async with team_stage(tmp_path, says("A draft.", "A better one.")) as s:
        _point_at(s, monkeypatch)
        execution_id = await s.submit(flow, {})
        asked = await question(s, execution_id)
        assert asked.text == "A draft."
        assert s.provider.received == 1
    async with team_stage(tmp_path, says("A better one.")) as s:
        _point_at(s, monkeypatch)
        await s.client.resume(execution_id, decision="answer", answer="Improve it.")
        asked = await question(s, execution_id)
        assert asked.text == "A better one."
        await s.client.resume(execution_id, decision="answer", answer="APPROVE")
        assert await s.result(execution_id) == "APPROVE"
        assert s.provider.received == 1


async def test_a_team_hands_over_to_a_person_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flow = workflow(own_team("hands_over"))
    async with team_stage(tmp_path, says(call("transfer_to_user"), "Booked. DONE")) as s:
        _point_at(s, monkeypatch)
        execution_id = await s.submit(flow, {})
        asked = await question(s, execution_id)
        assert "user" in asked.text
        await s.client.resume(execution_id, decision="answer", answer="To Rome.")
        assert await s.result(execution_id) == "Booked. DONE"
        texts = str([one.body["messages"] for one in s.provider.calls][-1])
        assert "To Rome." in texts


async def test_a_tool_of_a_team_asks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flow = workflow(own_team("asks_in_a_tool"))
    async with team_stage(tmp_path, says(call("look", where="there"))) as s:
        _point_at(s, monkeypatch)
        execution_id = await s.submit(flow, {})
        asked = await question(s, execution_id)
        assert asked.text == "What is there?"
        await s.client.resume(execution_id, decision="answer", answer="A cat.")
        assert await s.result(execution_id) == "there: A cat."


def _point_at(s: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", f"{s.runtime.gateway_url}/v1")
    monkeypatch.setenv("OPENAI_API_KEY", f"{s.runtime.api_key}.worker")


APPROVED = {
    "name": "rate", "function": "tests.frameworks.team_tools:rate", "approval": "required",
}  # fmt: skip


def rated(**fields: Any) -> Any:
    component = team("RoundRobinGroupChat", assistant("clerk", tools=["rate"]), max_turns=1)
    return workflow(
        of_component(component, tools=["rate"], **fields), tools=[APPROVED], model=MODEL
    )


@pytest.mark.parametrize("fields", [{}, {"isolation": "member"}], ids=["here", "apart"])
async def test_a_tool_of_a_team_wants_approval(tmp_path: Path, fields: dict[str, Any]) -> None:
    rules = says(call("rate", principal=100, interest=5))
    async with team_stage(tmp_path, rules) as s:
        execution_id = await s.submit(rated(**fields))
        asked = await question(s, execution_id)
        assert (asked.kind, asked.tool) == ("approval", "rate")
        edited: Any = {"principal": 100, "interest": 7}
        await s.client.resume(execution_id, decision="answer", answer=edited, by="Ann")
        assert "7.0" in str(await s.result(execution_id))
        assert s.provider.received == 1


async def test_a_tool_of_a_team_that_is_denied_is_told_so(tmp_path: Path) -> None:
    async with team_stage(tmp_path, says(call("rate", principal=100, interest=5))) as s:
        execution_id = await s.submit(rated())
        await question(s, execution_id)
        await s.client.resume(execution_id, decision="deny", by="Ann", reason="too dear")
        assert "denied by Ann: too dear" in str(await s.result(execution_id))


async def test_a_tool_of_a_team_waits_for_a_signal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flow = workflow(own_team("waits_in_a_tool"))
    async with team_stage(tmp_path, says(call("await_go", where="there"))) as s:
        _point_at(s, monkeypatch)
        execution_id = await s.submit(flow, {})
        asked = await question(s, execution_id)
        assert (asked.kind, asked.name) == ("signal", "go")
        await s.client.signal(execution_id, "go", {"by": "Ann"})
        assert await s.result(execution_id) == "there: Ann"
