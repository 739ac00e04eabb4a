"""A data directory with executions of every kind, made by the real runtime in one process."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from omium.cli.app import app
from omium.clock import ManualClock
from omium.definitions import Workflow, workflow_from
from omium.errors import ExecutionFailed
from omium.execution.events import (
    Append,
    AttemptEnded,
    AttemptStarted,
    CallIntended,
    Created,
    Event,
    Paused,
    StepCompleted,
)
from omium.execution.records import CallKey, Payload, PlannedAgent
from omium.storage.replica import Replica, Written
from omium.testing.runtime import InProcessRuntime
from omium.types import DEFAULT_TENANT, ExecutionId, WorkerId

START_MS = 1_700_000_000_000
Omium = Callable[..., Result]


def workflow_of(name: str, *entrypoints: str) -> Workflow:
    """Agents ``a``, ``b``, … one after another."""
    return workflow_from(
        {
            "name": name,
            "version": "1",
            "agents": [
                {"name": agent, "framework": "python", "entrypoint": f"tests.cli.agents:{entry}"}
                for agent, entry in zip("abc", entrypoints, strict=False)
            ],
        }
    )


async def _run_some(directory: Path) -> None:
    async with InProcessRuntime(directory, clock=ManualClock(START_MS)) as runtime:
        client = runtime.client
        one = await client.submit(workflow_of("counting", "count", "count"), {"to": 1})
        await client.result(one, timeout_s=20)
        two = await client.submit(workflow_of("failing", "count", "boom"), {"to": 1})
        with pytest.raises(ExecutionFailed):
            await client.result(two, timeout_s=20)


def _commit(replica: Replica, execution_id: str, *events: Event) -> None:
    for offset, event in enumerate(events):
        (outcome,) = replica.commit(
            [
                Append(
                    execution_id=ExecutionId(execution_id),
                    events=(event,),
                    at_ms=START_MS + 60_000 + 1_500 * offset,
                )
            ]
        )
        assert isinstance(outcome, Written), outcome


def _left_behind(directory: Path) -> None:
    """What a killed runtime leaves: an execution that runs, and one that had paused."""
    workflow = workflow_of("sending", "count")
    created = Created(
        tenant=DEFAULT_TENANT,
        workflow=workflow.name,
        version=workflow.version,
        digest=workflow.digest,
        definition=Payload(inline=workflow.to_data()),
        inputs=Payload(inline={"to": 9}),
        plan=(PlannedAgent(name="a"),),
    )
    started = AttemptStarted(agent="a", epoch=1, worker=WorkerId("w_001"), cause="first")
    intent = CallIntended(
        agent="a",
        step="0",
        key=CallKey(kind="tool", scope="0", name="send", digest="sha256:0", occurrence=0),
        ordinal=0,
        request=Payload(inline={"to": "you"}),
    )
    replica = Replica.open(directory, owner="a test")
    try:
        _commit(
            replica,
            "ex_0003",
            created,
            started,
            intent,
            AttemptEnded(agent="a", epoch=1, end="paused"),
            Paused(reason="outcome_unknown", call=3, detail="nobody knows how call 3 ended"),
        )
        done = StepCompleted(agent="a", step="0", name="one", state=Payload(inline={"n": 1}))
        _commit(replica, "ex_0004", created, started, done)
    finally:
        replica.close()


@pytest.fixture(scope="session")
def history(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory, to be read only.

    ``ex_0001`` completed, ``ex_0002`` failed, ``ex_0003`` paused, ``ex_0004`` was interrupted.
    """
    directory = tmp_path_factory.mktemp("history")
    asyncio.run(_run_some(directory))
    _left_behind(directory)
    return directory


@pytest.fixture
def data_dir(history: Path, tmp_path: Path) -> Path:
    """A copy of ``history`` to write to."""
    return Path(shutil.copytree(history, tmp_path / "data"))


@pytest.fixture
def omium(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Omium:
    """Runs the program in this process, without any setting of the one who runs the tests."""
    for name in (*(n for n in os.environ if n.startswith("OMIUM_")), "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    empty = tmp_path / "omium.toml"
    empty.write_text("")
    monkeypatch.setenv("OMIUM_CONFIG", str(empty))
    runner = CliRunner()

    def run(*arguments: str | Path) -> Result:
        return runner.invoke(app, [str(one) for one in arguments], prog_name="omium")

    return run
