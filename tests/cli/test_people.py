"""``omium resume`` to executions that wait for people: at a service, through the data directory
that a service uses, and on a data directory where nobody works."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

from omium.actors.client import Client
from omium.cli import driving
from omium.clock import SystemClock
from omium.definitions import Workflow, workflow_from
from omium.errors import ExecutionPaused
from omium.runtime import endpoint, service_file
from omium.testing.runtime import InProcessRuntime
from omium.types import ExecutionId
from tests.cli.conftest import Omium, workflow_of
from tests.cli.in_process import DrivenInProcess
from tests.cli.served import Service, service

WAIT_S = 20.0

Submit = Callable[[Client], Coroutine[Any, Any, ExecutionId]]


@pytest.fixture(scope="module")
def at(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with service(tmp_path_factory.mktemp("service")) as one:
        yield one


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where executions wait. ``options`` lead a command there."""

    omium: Omium
    options: tuple[str, ...]
    have_paused: Callable[[Submit], ExecutionId]

    def paused(self, flow: Workflow, **inputs: Any) -> ExecutionId:
        """A new execution of ``flow``, once it waits for somebody."""

        async def submitted(client: Client) -> ExecutionId:
            execution_id = await client.submit(flow, inputs)
            with pytest.raises(ExecutionPaused):
                await client.result(execution_id, timeout_s=WAIT_S)
            return execution_id

        return self.have_paused(submitted)

    def resume(self, execution_id: str, *words: str) -> Result:
        return self.omium("resume", execution_id, *words, *self.options)

    def shown(self, execution_id: str) -> dict[str, Any]:
        return json.loads(self.omium("show", execution_id, "--json", *self.options).stdout)


@pytest.fixture(params=["address", "directory of a service", "directory"])
def place(
    request: pytest.FixtureRequest, omium: Omium, at: Service, monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> Iterator[Place]:  # fmt: skip
    # After ``omium``, which forgets all settings.
    monkeypatch.setenv("OMIUM_API_KEY", at.key)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("OMIUM_DATA_DIR", str(tmp_path / "none"))
    if request.param == "directory":
        data = tmp_path / "data"
        # In the place of the one that starts a Ray.
        monkeypatch.setattr(driving, "Runtime", DrivenInProcess)

        async def alone(submit: Submit) -> ExecutionId:
            async with InProcessRuntime(data) as runtime:
                return await submit(runtime.client)

        here = ("--data-dir", str(data))
        yield Place(omium=omium, options=here, have_paused=lambda s: asyncio.run(alone(s)))
        return
    options = ("--address", at.address)
    port, secret = at.endpoint
    reached = endpoint.Endpoint(host="127.0.0.1", port=port, secret=secret, pid=os.getpid())
    record = service_file.ServiceRecord(
        address=at.address, pid=os.getpid(), dashboard=None, started_ms=SystemClock().now_ms()
    )
    if request.param == "directory of a service":
        options = ("--data-dir", str(at.data_dir))
        endpoint.publish(at.data_dir, reached)
        service_file.publish(at.data_dir, record)
    try:
        yield Place(omium=omium, options=options, have_paused=lambda s: at.do(s(at.client)))
    finally:
        service_file.withdraw(at.data_dir, record)
        endpoint.withdraw(at.data_dir, reached)


def paying() -> Workflow:
    """An agent whose tool wants approval."""
    pay = {"name": "pay", "function": "tests.cli.agents:pay", "approval": "required"}
    agent = {"name": "a", "framework": "python", "entrypoint": "tests.cli.agents:pays"}
    return workflow_from(
        {
            "name": "paying",
            "version": "1",
            "tools": [pay],
            "agents": [{**agent, "tools": ["pay"]}],
        }
    )


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    """What the tool has paid, a line each time."""
    path = tmp_path / "ledger"
    path.touch()
    return path


def test_a_tool_that_is_approved_runs_once(place: Place, ledger: Path) -> None:
    one = place.paused(paying(), ledger=str(ledger))
    (asked,) = place.shown(one)["questions"]
    assert (asked["kind"], asked["tool"]) == ("approval", "pay")
    assert ledger.read_text() == ""
    bare = place.resume(one)
    assert bare.exit_code == 4
    assert "--approve | --deny | --answer ARGUMENTS" in bare.stderr
    done = place.resume(one, "--approve", "--reason", "it is due", "--call", str(asked["call"]))
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout) == "paid 7"
    assert ledger.read_text() == "7\n"
    shown = place.shown(one)
    assert (shown["status"], shown["questions"]) == ("completed", [])
    (decided,) = [e for e in shown["events"] if e["type"] == "call.decided"]
    assert (decided["decision"], decided["reason"]) == ("approve", "it is due")
    assert decided["by"]
    # It has completed: there is nothing left to approve, and nothing runs again.
    again = place.resume(one, "--approve")
    assert (again.exit_code, json.loads(again.stdout)) == (0, "paid 7")
    assert ledger.read_text() == "7\n"


def test_a_tool_that_is_denied_does_not_run(place: Place, ledger: Path) -> None:
    one = place.paused(paying(), ledger=str(ledger))
    done = place.resume(one, "--deny", "--reason", "over the limit")
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert told.startswith("tool 'pay': denied by ")
    assert told.endswith(": over the limit")
    assert ledger.read_text() == ""


def test_a_tool_runs_with_the_arguments_that_are_given(place: Place, ledger: Path) -> None:
    one = place.paused(paying(), ledger=str(ledger))
    before = place.shown(one)
    for words, error in (
        (("--answer", "7"), "expected an object: the arguments to run the tool with"),
        (("--answer", "{"), "--answer '{' is not JSON"),
        (("--decide", "retry"), "approve it, deny it, or answer with other arguments, not 'retry'"),
        (("--approve", "--call", "1"), "waits for no answer to call 1"),
        (("--approve", "--deny"), "approve and deny at once"),
    ):
        wrong = place.resume(one, *words)
        assert (wrong.exit_code, error in wrong.stderr) == (2, True), wrong.output
        assert place.shown(one) == before
    arguments = json.dumps({"ledger": str(ledger), "amount": 3})
    done = place.resume(one, "--answer", arguments)
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout) == "paid 3"
    assert ledger.read_text() == "3\n"


def test_an_answer_that_fits_is_taken_and_another_is_not(place: Place) -> None:
    one = place.paused(workflow_of("asking", "asks"))
    before = place.shown(one)
    (asked,) = before["questions"]
    assert (before["status"], asked["text"]) == ("paused", "Which rate?")
    for answer, mistake in (
        ('{"rate": 99}', "rate: found 99, expected a number of at most 30"),
        ('{"rate": "much"}', "rate: found 'much', expected number"),
        ("{}", "rate: "),
        ("plenty", "found 'plenty', expected object"),
    ):
        wrong = place.resume(one, "--answer", answer)
        assert wrong.exit_code == 2, wrong.output
        assert wrong.stdout == ""
        assert f"the answer to call {asked['call']}" in wrong.stderr
        assert mistake in wrong.stderr, wrong.stderr
        told = json.loads(place.resume(one, "--answer", answer, "--json").stdout)
        assert told["kind"] == "answer"
        assert place.shown(one) == before
    done = place.resume(one, "--answer", '{"rate": 9}')
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout) == {"rate": 9}
