"""People over the handles of ``omium.run`` and ``omium.arun``, without Ray: the runtime of the
process is in the process."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import omium
from omium.config import Settings, load_settings
from omium.errors import AnswerError, Conflict, ExecutionPaused, NotFound
from omium.runtime import api
from tests.cli.in_process import DrivenInProcess

TIMEOUT_S = 30.0
HERE = "tests.cli.agents"


class InProcess(DrivenInProcess):
    """Stands in for the runtime that a process shares."""

    async def start(self) -> None:
        await self.__aenter__()

    async def stop(self) -> None:
        await self.__aexit__(None, None, None)


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    monkeypatch.setattr(api, "Runtime", InProcess)
    # As if installed: else each execution takes all of the checkout with it.
    monkeypatch.setattr("omium.runtime.prepare.code_of", lambda *_, **__: None)
    yield load_settings({"data_dir": tmp_path / "data"})
    omium.shutdown()


def definition(entrypoint: str, **tool: Any) -> dict[str, Any]:
    tools = [{"name": "pay", "function": f"{HERE}:pay", **tool}]
    agent = {"name": "a", "framework": "python", "entrypoint": f"{HERE}:{entrypoint}"}
    return {
        "name": "asking",
        "version": "1",
        "tools": tools,
        "agents": [{**agent, "tools": ["pay"]}],
    }


def paused(execution: omium.Execution) -> dict[str, Any]:
    """What it asks, once it waits for that."""
    with pytest.raises(ExecutionPaused):
        execution.result(TIMEOUT_S)
    (question,) = execution.questions()
    return question


def test_a_question_is_seen_and_answered(settings: Settings) -> None:
    run = omium.run(definition("asks"), settings=settings)
    question = paused(run)
    assert (question["agent"], question["kind"], question["text"]) == (
        "a",
        "question",
        "Which rate?",
    )
    assert question["schema"]["properties"]["rate"]["maximum"] == 30
    with pytest.raises(AnswerError, match="rate: found 99"):
        run.answer({"rate": 99})
    with pytest.raises(Conflict, match="no answer to call 1"):
        run.answer({"rate": 9}, call=1)
    assert (run.status(), run.questions()) == ("paused", [question])
    run.answer({"rate": 9}, call=question["call"])
    assert run.result(TIMEOUT_S) == {"rate": 9}
    assert run.questions() == []
    with pytest.raises(Conflict):
        run.answer({"rate": 9})


def test_a_tool_is_approved_denied_or_run_in_another_way(
    settings: Settings, tmp_path: Path
) -> None:
    ledger = tmp_path / "ledger"
    ledger.touch()

    def asked() -> omium.Execution:
        flow = definition("pays", approval="required")
        run = omium.run(flow, {"ledger": str(ledger)}, settings=settings)
        question = paused(run)
        assert (question["kind"], question["tool"]) == ("approval", "pay")
        assert question["arguments"]["inline"] == {"ledger": str(ledger), "amount": 7}
        return run

    run = asked()
    run.approve(reason="it is due")
    assert run.result(TIMEOUT_S) == "paid 7"
    run = asked()
    run.deny("over the limit")
    assert run.result(TIMEOUT_S) == "tool 'pay': denied by python: over the limit"
    run = asked()
    run.answer({"ledger": str(ledger), "amount": 3})
    assert run.result(TIMEOUT_S) == "paid 3"
    assert ledger.read_text() == "7\n3\n"


async def test_the_same_of_an_async_handle(settings: Settings, tmp_path: Path) -> None:
    ledger = tmp_path / "ledger"
    run = await omium.arun(definition("asks"), settings=settings)
    with pytest.raises(ExecutionPaused):
        await run.result(TIMEOUT_S)
    (question,) = await run.questions()
    with pytest.raises(AnswerError):
        await run.answer("much", call=question["call"])
    await run.answer({"rate": 9}, call=question["call"])
    assert await run.result(TIMEOUT_S) == {"rate": 9}

    flow = definition("pays", approval="required")
    for decide, result in (("approve", "paid 7"), ("deny", "tool 'pay': denied by python")):
        run = await omium.arun(flow, {"ledger": str(ledger)}, settings=settings)
        with pytest.raises(ExecutionPaused):
            await run.result(TIMEOUT_S)
        await getattr(run, decide)()
        assert await run.result(TIMEOUT_S) == result
    assert ledger.read_text() == "7\n"


def test_a_later_process_finds_what_was_asked(settings: Settings) -> None:
    asked = omium.run(definition("asks"), settings=settings)
    question = paused(asked)
    omium.shutdown()

    with pytest.raises(NotFound):
        omium.attach("ex_none", settings=settings)
    run = omium.attach(asked.id, settings=settings)
    assert (run.id, run.status(), run.questions()) == (asked.id, "paused", [question])
    run.answer({"rate": 9})
    assert run.result(TIMEOUT_S) == {"rate": 9}
