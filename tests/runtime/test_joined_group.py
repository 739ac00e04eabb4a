"""A group in a cluster that was joined, with a seat on each of its nodes: it is started while one
of them is away, which then comes back."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import socket
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from omium.actors.group.looking import look
from omium.actors.group.opening import recorded_group, seat_folder
from omium.actors.group.talk import SeatView
from omium.cli.linking import linked
from omium.ports import free_ports
from omium.runtime.endpoint import Endpoint, live_endpoint
from omium.storage.journal import Journal
from omium.storage.replica import FILE_NAME
from omium.storage.verifying import disagreements
from omium.types import ExecutionId
from tests.cli.programs import Program, Start, json_lines, programs, wait_for

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(600)]

HEAD = 1
SEATS = (1, 2, 3)
LIMIT_S = 200.0
TRIES = 3
AGENT = """
import asyncio
from pathlib import Path


async def pass_on(context):
    while not Path(context.inputs["gate"]).exists():
        await asyncio.sleep(0.05)
    return Path(context.inputs["gate"]).name
"""
FLOW = {
    "name": "gated",
    "version": "1",
    "agents": [{"name": "a", "framework": "python", "entrypoint": "gates:pass_on"}],
}


class Cluster:
    """A Ray of several nodes on this machine, each at a loopback address of its own. ``env`` is
    what leads there. ``folder`` is to have a short path."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._nodes: dict[int, psutil.Popen] = {}
        (self._port,) = free_ports(1)
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("OMIUM_", "RAY_"))}
        token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
        self._node_env = {**kept, **token}
        self.env = {**token, "RAY_ADDRESS": f"{address_of(HEAD)}:{self._port}"}

    def start(self, number: int) -> None:
        """Start the node of that number, and wait until it is part of the cluster. On a busy
        machine it may give up by itself, and is started again."""
        said = ""
        for _ in range(TRIES):
            log = self._folder / f"node-{number}.log"
            node = self._nodes[number] = self._spawn(number, log)
            wait_for(
                lambda node=node, log=log: (
                    node.poll() is not None or "Ray runtime started" in log.read_text()
                ),
                f"node {number} does not start",
            )
            if node.poll() is None:
                return
            said = log.read_text()
            self.stop(number)
        raise AssertionError(said)

    def _spawn(self, number: int, log: Path) -> psutil.Popen:
        words = [
            *(sys.executable, "-m", "ray.scripts.scripts", "start", "--block"),
            *("--disable-usage-stats", f"--node-ip-address={address_of(number)}"),
            *("--num-cpus=2", "--object-store-memory=80000000"),
        ]
        if number == HEAD:
            words += ["--head", f"--port={self._port}", f"--temp-dir={self._folder}"]
            words += ["--include-dashboard=false"]
        else:
            words += [f"--address={address_of(HEAD)}:{self._port}"]
        with log.open("wb") as output:
            return psutil.Popen(
                words,
                env=self._node_env,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def stop(self, number: int) -> None:
        """End a node with all that runs on it. The others are told."""
        node = self._nodes.pop(number)
        mine: list[psutil.Process] = []
        with suppress(psutil.NoSuchProcess, psutil.TimeoutExpired):
            mine = node.children(recursive=True)
            node.terminate()
            node.wait(20)
        for one in (*mine, node):
            with suppress(psutil.NoSuchProcess):
                one.kill()
        psutil.wait_procs([*mine, node], timeout=10)

    def close(self) -> None:
        # The head last, without which the others end by themselves and leave what is theirs.
        for number in sorted(self._nodes, reverse=True):
            self.stop(number)


def address_of(number: int) -> str:
    return f"127.0.0.{number}"


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with socket.socket() as probe:
        try:
            probe.bind((address_of(SEATS[-1]), 0))
        except OSError:
            pytest.skip("this system has one loopback address")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        made = Cluster(Path(folder))
        try:
            for number in SEATS:
                # One after the other: two that start at once take the same names.
                made.start(number)
            yield made
        finally:
            made.close()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    with programs(tmp_path) as starter:
        yield starter


def seats_of(endpoint: Endpoint) -> list[SeatView | None]:
    return asyncio.run(look(endpoint.peers, bytes.fromhex(endpoint.secret), 5.0))


async def result_of(endpoint: Endpoint, execution: str) -> object:
    """What the leader says: a read that a majority has confirmed."""
    async with linked(endpoint) as client:
        return await client.result(ExecutionId(execution), timeout_s=LIMIT_S)


def test_a_group_starts_without_one_of_its_nodes(
    cluster: Cluster, start: Start, tmp_path: Path
) -> None:
    data, flow, gates = tmp_path / "data", tmp_path / "flow" / "flow.json", tmp_path / "gates"
    for folder in (flow.parent, gates):
        folder.mkdir()
    flow.write_text(json.dumps(FLOW))
    (flow.parent / "gates.py").write_text(AGENT)
    env = {**cluster.env, "OMIUM_COORDINATORS": "3"}

    def run(gate: str) -> Program:
        return start("run", flow, "-i", f"gate={gates / gate}", "--data-dir", data, "--json", **env)

    (gates / "first").touch()
    life = run("first")
    assert life.wait(LIMIT_S) == 0, life.stderr
    first = json_lines(life.stdout)[-1]
    assert first["output"] == "first"
    record = recorded_group(data)
    assert record is not None
    assert record.formed
    # The head's is another one, since Ray takes this machine's for the first loopback address.
    assert record.nodes[1:] == tuple(map(address_of, SEATS[1:]))
    assert record.nodes[0] not in record.nodes[1:]

    cluster.stop(3)
    life = run("second")
    life.until("stdout", '"attempt.started"', LIMIT_S)
    endpoint = live_endpoint(data)
    assert endpoint is not None
    one, two, three = seats_of(endpoint)
    assert one is not None
    assert two is not None
    assert three is None
    assert asyncio.run(result_of(endpoint, first["execution"])) == "first"

    cluster.start(3)

    def caught_up() -> bool:
        one, two, back = seats_of(endpoint)
        far = max(applied(one), applied(two))
        return back is not None and back.role == "follower" and applied(back) >= far

    wait_for(caught_up, "the seat of the node that came back is behind")
    (gates / "second").touch()
    assert life.wait(LIMIT_S) == 0, life.stderr
    disks = {f"seat {seat}": seat_folder(data, seat) / FILE_NAME for seat in SEATS}
    assert list(disagreements(disks)) == []
    journal = Journal.open(disks["seat 3"])
    try:
        assert len(journal.executions()) == 2
    finally:
        journal.close()


def applied(seat: SeatView | None) -> int:
    return seat.applied if seat is not None else -1
