"""Replays of executions that were sent signals: to whom these come again, and when."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from omium.errors import ExecutionPaused
from omium.execution.events import CallIntended
from omium.runtime.located import located
from omium.testing import InProcessRuntime, Recording
from omium.testing.trial import recorded
from omium.types import Json
from tests.testing import trial_agents
from tests.testing.test_trial import workflow
from tests.testing.test_trial_people import replayed

FLOW = workflow("polls")
LARGE = "x" * 100_000
"""A payload that lies in the blob store."""

SENT: Sequence[Sequence[tuple[str, Any, str]]] = [
    [("tea", 1, "ann"), ("go", 2, ""), ("tea", LARGE, "")],
    [],
    [("tea", 4, ""), ("go", 5, "bob")],
]
"""What is sent before each of the questions is answered."""


async def signalled(directory: Path, *, forked: bool = False) -> Recording:
    """An execution that was sent ``SENT``; or a fork of it, from its last call."""
    async with InProcessRuntime(directory) as runtime:
        client = runtime.client
        execution = await client.submit(located(FLOW).workflow, {})
        for signals in SENT:
            with suppress(ExecutionPaused):
                await client.result(execution, timeout_s=30)
            for name, payload, by in signals:
                await client.signal(execution, name, payload, by=by)
            await client.resume(execution, decision="answer", answer="yes")
        await client.result(execution, timeout_s=30)
        if forked:
            entries = [entry async for entry in client.events(execution)]
            last = max(one.index for one in entries if isinstance(one.event, CallIntended))
            execution = await client.fork(execution, last)
            await client.result(execution, timeout_s=30)
        return await recorded(client, execution)


async def test_signals_come_again_to_who_took_them_and_in_the_same_call(tmp_path: Path) -> None:
    run = await signalled(tmp_path)
    taken: Any = run.result
    assert [[one["payload"] for one in each] for each in taken[:-1]] == [[], [1, 2, LARGE], [], [4]]
    assert (taken[-1]["payload"], taken[-1]["by"]) == (5, "bob")
    wait = run.questions()[-1]
    assert (wait.response, wait.by, [one.name for one in wait.signals]) == (5, "bob", ["go"])
    done = await replayed(run, FLOW)
    again: Any = done.replayed.result
    assert again[:-1] == taken[:-1]
    # What is waited for is sent anew, and has an entry of its own.
    assert {**again[-1], "index": 0} == {**taken[-1], "index": 0}
    assert {one.where for one in done.differences} <= {"outputs.polls.4.index"}
    assert done.divergences == ()
    polls = [call for call in done.replayed.questions() if call.name in ("signals", "tea")]
    assert [call.response for call in polls] == [[], [1, 2, LARGE], [], [4]]


@pytest.mark.parametrize(("name", "kind"), [("none", "not_made"), ("tea", ""), ("go", "not_made")])
async def test_where_other_signals_are_taken_now_none_have_come(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, kind: str
) -> None:
    run = await signalled(tmp_path)
    monkeypatch.setattr(trial_agents, "LAST", name)
    done = await replayed(run, FLOW)
    taken: Any = done.replayed.result
    assert [one["payload"] for one in taken[3]] == ([] if kind else [4])
    assert [(one.kind, one.name) for one in done.divergences] == ([(kind, "tea")] if kind else [])


@pytest.mark.parametrize(
    ("polled_in", "taken", "not_made"),
    [(["first", "second"], [[], ["stop"]], False), (["first"], [[]], True)],
    ids=["too", "instead"],
)
async def test_a_call_in_another_step_takes_no_signals(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    polled_in: list[str],
    taken: Json,
    not_made: bool,
) -> None:
    flow = workflow("polls_in_steps")
    async with InProcessRuntime(tmp_path) as runtime:
        client = runtime.client
        execution = await client.submit(located(flow).workflow, {})
        with pytest.raises(ExecutionPaused):
            await client.result(execution, timeout_s=30)
        await client.signal(execution, "stop", None)
        await client.resume(execution, decision="answer", answer="yes")
        assert await client.result(execution, timeout_s=30) == [["stop"]]
        run = await recorded(client, execution)
    monkeypatch.setattr(trial_agents, "POLLED_IN", polled_in)
    done = await replayed(run, flow)
    assert done.replayed.result == taken
    told = [(one.kind, one.name) for one in done.divergences]
    assert told == ([("not_made", "signals")] if not_made else [])


async def test_what_a_fork_copied_was_given_is_in_its_recording(tmp_path: Path) -> None:
    run = await signalled(tmp_path, forked=True)
    _, polled, waited = run.questions()
    assert ([one.name for one in polled.signals], polled.response) == (["tea"], [4])
    assert (waited.response, waited.by) == (5, "bob")
