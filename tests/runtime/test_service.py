"""``omium up``, ``status`` and ``down`` on a real Ray, and what is killed under them."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import httpx
import psutil
import pytest

from omium.actors.client import Client
from omium.clock import SystemClock
from omium.definitions import workflow_from
from omium.execution.events import AttemptEnded, StepCompleted
from omium.runtime.endpoint import live_endpoint
from omium.runtime.service_file import FILE_NAME, live_service
from omium.storage.blobs import open_blob_store
from omium.storage.journal import Journal
from omium.storage.replica import FILE_NAME as REPLICA_NAME
from omium.types import ExecutionId
from tests.cli.programs import Program, Start, listens, programs, wait_for

pytestmark = [pytest.mark.ray, pytest.mark.timeout(600)]

ROOT = str(Path(__file__).parents[2])
START_S = 200.0
T = TypeVar("T")


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    with programs(tmp_path) as starter:
        yield starter


class Site:
    """A data directory, and the programs that are started on it."""

    def __init__(self, start: Start, directory: Path) -> None:
        self._start = start
        self.data = directory / "data"
        self.gates = directory / "gates"
        self.config = directory / "config"
        self.gates.mkdir(parents=True)

    def omium(self, *arguments: str, **env: str) -> Program:
        # Keys are stored in the user's own folder, which is none of a test's.
        env = {"XDG_CONFIG_HOME": str(self.config), **env}
        return self._start(*arguments, "--data-dir", self.data, **env)

    def key(self, address: str) -> str:
        """What ``up`` has stored for the user."""
        stored = self.config / "omium" / "credentials.json"
        assert stored.stat().st_mode & 0o777 == 0o600
        return json.loads(stored.read_text())[address]

    def done(self, *arguments: str, code: int = 0, **env: str) -> Program:
        """Run a program to its end."""
        program = self.omium(*arguments, **env)
        assert program.wait(START_S) == code, f"{program.stdout}\n{program.stderr}"
        return program

    def told(self) -> dict[str, Any]:
        return json.loads(self.done("status", "--json").stdout)

    def process(self) -> psutil.Process:
        record = live_service(self.data)
        assert record is not None
        return psutil.Process(record.pid)

    def client(self, work: Callable[[Client], Awaitable[T]]) -> T:
        """What ``work`` gets from the coordinator."""

        async def asking() -> T:
            endpoint = live_endpoint(self.data)
            assert endpoint is not None
            client = Client(
                (endpoint.host, endpoint.port),
                bytes.fromhex(endpoint.secret),
                blobs=open_blob_store("memory://"),
                clock=SystemClock(),
            )
            client.open()
            try:
                return await work(client)
            finally:
                await client.close()

        return asyncio.run(asking())

    def submit(self, steps: int) -> ExecutionId:
        flow = workflow_from(
            {
                "name": "gated",
                "version": "1",
                "agents": [
                    {
                        "name": "gated",
                        "framework": "python",
                        "entrypoint": "tests.runtime.agents:gated",
                    }
                ],
            }
        )
        inputs: dict[str, Any] = {"steps": steps, "gates": str(self.gates)}
        return self.client(lambda c: c.submit(flow, inputs, import_paths=(ROOT,)))

    def open_gate(self, number: int) -> None:
        (self.gates / str(number)).touch()

    def events(self, execution_id: ExecutionId, kind: type[T]) -> list[T]:
        journal = Journal.open(self.data / REPLICA_NAME)
        try:
            return [
                entry.event
                for entry in journal.all_entries(execution_id)
                if isinstance(entry.event, kind)
            ]
        finally:
            journal.close()

    def steps(self, execution_id: ExecutionId) -> int:
        return len(self.events(execution_id, StepCompleted))

    def is_at_work(self) -> bool:
        view = self.client(lambda c: c.runtime())
        return any(worker.attempts for worker in view.workers)

    def close(self) -> None:
        with suppress(psutil.NoSuchProcess, AssertionError):
            kill_all(self.process())


def kill_all(process: psutil.Process) -> None:
    for one in [*process.children(recursive=True), process]:
        with suppress(psutil.NoSuchProcess):
            one.kill()


def port_of(address: str) -> int:
    return int(address.rpartition(":")[2])


def is_ready(address: str) -> bool:
    try:
        return httpx.get(f"{address}/readyz", trust_env=False, timeout=10).status_code == 200
    except httpx.HTTPError:
        return False


def ended(processes: list[psutil.Process]) -> bool:
    return not any(p.is_running() and p.status() != psutil.STATUS_ZOMBIE for p in processes)


@pytest.fixture
def site(start: Start, tmp_path: Path) -> Iterator[Site]:
    one = Site(start, tmp_path / "one")
    yield one
    one.close()


def test_whatever_is_killed_an_execution_goes_on_and_completes(site: Site) -> None:
    site.done("up", "--detach", "--port", "0")
    told = site.told()
    address: str = told["address"]
    assert told["running"] and is_ready(address)
    assert told["gateway"]["url"] and told["coordinator"]["pid"]
    assert (site.data / FILE_NAME).stat().st_mode & 0o777 == 0o600

    bearer = {"authorization": f"Bearer {site.key(address)}"}
    keys = httpx.get(f"{address}/v1/keys", headers=bearer, trust_env=False, timeout=10)
    assert keys.status_code == 200, keys.text

    second = site.done("up", code=8)
    assert address in second.stderr

    execution_id = site.submit(3)
    wait_for(site.is_at_work, "the execution is not at work")

    (replica,) = told["replicas"]
    psutil.Process(replica["pid"]).kill()
    wait_for(lambda: is_ready(address) and replica not in site.told()["replicas"], "no replica")

    psutil.Process(told["coordinator"]["pid"]).kill()
    wait_for(lambda: is_ready(address), "the API does not get over the coordinator's death")
    site.open_gate(0)
    wait_for(lambda: site.steps(execution_id) == 1, "the execution does not go on")

    service = site.process()
    beneath = service.children(recursive=True)
    # Ray's own agents take their time, and hold nothing that a next start needs.
    vital = [one for one in beneath if "Agent" not in " ".join(one.cmdline())]
    service.kill()
    wait_for(lambda: ended(vital), "what a killed service started does not end")
    assert not listens("127.0.0.1", port_of(address))
    assert not site.told()["running"]

    site.done("up", "--detach", "--port", str(port_of(address)))
    # The pepper has stayed, so the key has too.
    assert bearer == {"authorization": f"Bearer {site.key(address)}"}
    for number in (1, 2):
        site.open_gate(number)
    result = site.client(lambda c: c.result(execution_id, timeout_s=90))
    assert result == {"done": 3}
    assert site.steps(execution_id) == 3

    beneath = [site.process(), *site.process().children(recursive=True)]
    down = site.done("down")
    assert "nothing was left unfinished" in down.stderr
    assert ended(beneath)
    assert not (site.data / FILE_NAME).exists()
    assert site.told() == {"running": False, "executions": {"completed": 1}}


def test_two_side_by_side_end_in_good_order(start: Start, tmp_path: Path) -> None:
    one, two = Site(start, tmp_path / "one"), Site(start, tmp_path / "two")
    patient, hasty = {"OMIUM_SERVICE__GRACE_S": "60"}, {"OMIUM_SERVICE__GRACE_S": "0.5"}
    first = one.omium("up", "--port", "0", **patient)
    second = two.omium("up", "--port", "0", **hasty)
    addresses: list[str] = []
    for program in (first, second):
        program.until("stdout", "Omium serves at ", START_S)
        addresses.append(program.stdout.split()[-1])
    assert all(is_ready(address) for address in addresses)
    assert len(set(addresses)) == 2

    finishing, cut_off = one.submit(2), two.submit(2)
    wait_for(one.is_at_work, "the first is not at work")
    wait_for(two.is_at_work, "the second is not at work")
    for program in (first, second):
        program.descendants()

    # The step takes longer than the grace: it is cut off, and no step is half written.
    second.signal(signal.SIGTERM, group=False)
    assert second.wait() == 143
    assert "1 execution unfinished" in second.stderr
    assert two.steps(cut_off) == 0
    assert not second.left()
    assert is_ready(addresses[0])

    # Ctrl-C reaches every process of the terminal.
    first.signal(signal.SIGINT, group=True)
    first.until("stderr", "letting running steps finish")
    one.open_gate(0)
    one.open_gate(1)
    assert first.wait() == 130
    assert not first.left()
    # The step under way came to its end, the next one did not begin.
    assert one.steps(finishing) == 1
    assert [event.end for event in one.events(finishing, AttemptEnded)] == ["worker_lost"]
    for site, address in ((one, addresses[0]), (two, addresses[1])):
        assert not (site.data / FILE_NAME).exists()
        assert not listens("127.0.0.1", port_of(address))


def test_a_port_that_is_taken_is_told_at_once(site: Site) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        refused = site.done("up", "--port", str(port), code=2)
        assert f"127.0.0.1:{port}" in refused.stderr
        assert "starting Ray" not in refused.stderr
        detached = site.done("up", "--detach", "--port", str(port), code=2)
    assert f"cannot listen on 127.0.0.1:{port}" in detached.stderr


def test_without_a_service_there_is_nothing_to_end(site: Site) -> None:
    site.data.mkdir()
    assert "no service" in site.done("down").stderr
    assert json.loads(site.done("down", "--json").stdout)["ended"] is False
    assert "no service" in site.done("status").stdout
