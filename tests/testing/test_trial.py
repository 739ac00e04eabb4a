"""Workflows tried in the process of a test, and the recording of what they did."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest

from omium.errors import Conflict, DeadlineExceeded, ExecutionFailed, InputError
from omium.testing import Answer, ErrorAnswer, Rule, When, atry_workflow, try_workflow

HERE = "tests.testing.trial_agents"


def workflow(*entrypoints: str, **fields: Any) -> dict[str, Any]:
    """A workflow of an agent for each function of ``tests.testing.trial_agents``."""
    return {
        "name": "tried",
        "version": "1",
        "tools": [{"name": "measure", "function": f"{HERE}:measure", "idempotent": True}],
        "agents": [
            {
                "name": name,
                "framework": "python",
                "entrypoint": f"{HERE}:{name}",
                "tools": ["measure"],
            }
            for name in entrypoints
        ],
        **fields,
    }


def test_a_workflow_is_tried_without_an_event_loop() -> None:
    path, env = list(sys.path), dict(os.environ)
    rules = [
        Rule(
            when=When(contains="On tea"),
            answer=Answer(content="Tea.", prompt_tokens=7, completion_tokens=2),
        )
    ]
    run = try_workflow(workflow("answer"), {"topic": "tea"}, rules=rules)
    assert run.result == {"text": "Tea.", "length": 4}
    assert [(step.agent, step.name, step.state) for step in run.steps] == [
        ("answer", "asked", "Tea.")
    ]
    assert [(call.kind, call.name, call.text) for call in run.calls] == [
        ("llm", "gpt-4o-mini", "Tea."),
        ("tool", "measure", ""),
    ]
    (measured,) = run.tool_calls("measure")
    assert (measured.request, measured.response) == ({"text": "Tea."}, 4)
    assert run.llm_calls("answer") == run.llm_calls()
    assert (run.usage.prompt_tokens, run.usage.completion_tokens) == (7, 2)
    assert run.usage.cost_micros is None
    # It leaves nothing behind.
    assert sys.path == path
    assert dict(os.environ) == env


async def test_it_is_awaited_where_a_loop_is_running() -> None:
    with pytest.raises(Conflict, match="await atry_workflow"):
        try_workflow(workflow("blocking"), {"topic": "x"})
    run = await atry_workflow(workflow("blocking"), {"topic": "four"})
    assert run.result == 4


def test_agents_that_nobody_follows_give_the_result_by_name() -> None:
    run = try_workflow(workflow("blocking", "answer", handoffs=[]), {"topic": "tea"})
    assert run.result == {"blocking": 3, "answer": {"text": "echo: On tea", "length": 12}}


def test_a_failure_is_told_by_the_recording() -> None:
    run = try_workflow(workflow("broken"))
    assert run.status == "failed"
    assert run.failure is not None
    assert (run.failure.kind, run.failure.agent) == ("agent", "broken")
    with pytest.raises(ExecutionFailed, match="it does not work"):
        _ = run.result


def test_what_a_tool_and_a_model_failed_with_is_on_record() -> None:
    run = try_workflow(workflow("blocking"), {"topic": ""})
    (call,) = run.calls
    assert call.failure is not None
    assert (call.answered, call.failure.message) == (False, "ValueError: nothing to measure")
    refused = Answer(error=ErrorAnswer(status=400, message="no"))
    run = try_workflow(workflow("answer"), {"topic": "x"}, rules=[Rule(answer=refused)])
    (call,) = run.calls
    assert call.failure is not None
    assert (call.kind, call.failure.kind) == ("llm", "model_refused")


def test_a_workflow_that_does_not_end_is_left() -> None:
    with pytest.raises(DeadlineExceeded):
        try_workflow(workflow("sleepy"), timeout_s=0.2)


def test_inputs_are_checked(tmp_path: Path) -> None:
    schema = {"type": "object", "properties": {"topic": {"type": "string"}}, "required": ["topic"]}
    with pytest.raises(InputError, match="topic"):
        try_workflow(workflow("blocking", inputs=schema))
    with pytest.raises(InputError, match="cannot read"):
        try_workflow(tmp_path / "none.yaml")
