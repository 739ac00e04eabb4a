"""A cluster that is there before and stays: ``omium up`` joins it, ``serve deploy`` brings the API
to it through the dashboard, nodes come and are lost."""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from ruamel.yaml import YAML

from omium.client import Client, Handle
from omium.errors import ExecutionPaused
from omium.ports import free_ports
from omium.runtime.service_file import live_service
from omium.serve.edge import edge_environment
from tests.cli.programs import listens, programs, wait_for

pytestmark = [pytest.mark.ray, pytest.mark.timeout(600)]

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "serve" / "serve.yaml"
LIMIT_S = 200.0
SECOND_NODE = "127.0.0.2"
STARTS_MAX = 3
WORKERS_MAX = 16


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """A Ray that asks for its token. ``env`` is what leads there."""

    address: str
    dashboard: str
    env: dict[str, str]
    directory: Path

    def nodes(self) -> set[str]:
        """The addresses of the nodes that are alive."""
        answer = httpx.get(
            f"{self.dashboard}/api/v0/nodes",
            headers={"authorization": f"Bearer {self.env['RAY_AUTH_TOKEN']}"},
            trust_env=False,
            timeout=30,
        )
        rows = answer.raise_for_status().json()["data"]["result"]["result"]
        return {row["node_ip"] for row in rows if row["state"] == "ALIVE"}


@contextmanager
def started(directory: Path) -> Iterator[Cluster]:
    """``ray start --head``, whose nodes are set up as docs/operations.md says."""
    gcs, dashboard, agent, client = free_ports(4)
    edge = directory / "e"
    edge.mkdir(mode=0o700)
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    options = {
        "port": gcs,
        "dashboard-port": dashboard,
        "dashboard-agent-listen-port": agent,
        "ray-client-server-port": client,
        "node-ip-address": "127.0.0.1",
        "num-cpus": 2,
        "object-store-memory": 100 * 1024 * 1024,
        "temp-dir": directory,
    }
    words = [f"--{name}={value}" for name, value in options.items()]
    where = Cluster(
        address=f"127.0.0.1:{gcs}",
        dashboard=f"http://127.0.0.1:{dashboard}",
        env=token,
        directory=directory,
    )
    with Node(where, "--head", *words, **edge_environment(edge)):
        wait_for(lambda: listens("127.0.0.1", dashboard), "the dashboard does not listen")
        yield where


class Node:
    """``ray start WORDS``, as a process with all that it starts."""

    def __init__(self, cluster: Cluster, *words: str, **env: str) -> None:
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("OMIUM_", "RAY_"))}
        ray = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", *words]
        with (cluster.directory / "ray.log").open("ab") as log:
            self._process = subprocess.Popen(
                [*ray, "--disable-usage-stats"],
                env={**kept, **cluster.env, **env},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._top = psutil.Process(self._process.pid)
        self._seen: dict[int, psutil.Process] = {}

    def __enter__(self) -> Node:
        return self

    def __exit__(self, *_: object) -> None:
        self._look()
        self._process.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(20)
        self.kill()

    def has_ended(self) -> bool:
        return self._process.poll() is not None

    def kill(self) -> None:
        """All of it, with no time to say good-bye, as a machine that loses its power."""
        for one in self._look():
            with suppress(psutil.NoSuchProcess):
                one.kill()
        self._process.kill()
        self._process.wait()

    def _look(self) -> list[psutil.Process]:
        with suppress(psutil.NoSuchProcess):
            self._seen |= {one.pid: one for one in self._top.children(recursive=True)}
        return list(self._seen.values())


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    # Under a short name: the paths of sockets are bounded.
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as directory,
        started(Path(directory)) as one,
    ):
        yield one


def is_ready(address: str) -> bool:
    try:
        return httpx.get(f"{address}/readyz", trust_env=False, timeout=10).status_code == 200
    except httpx.HTTPError:
        return False


Omium = Callable[..., str]


@pytest.fixture
def omium(cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Omium]:
    """Runs the program, which joins the cluster, and returns what it prints."""
    # The keys that it stores are found by this process, too.
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    env = {**cluster.env, "RAY_ADDRESS": cluster.address}
    with programs(tmp_path) as start:

        def run(*words: str | Path) -> str:
            program = start(*words, **env)
            assert program.wait(LIMIT_S) == 0, f"{words}: {program.stdout}\n{program.stderr}"
            return program.stdout

        yield run
        data = tmp_path / "data"
        # A detached one is nobody's child, and a test that failed has not ended it.
        if live_service(data) is not None:
            run("down", "--data-dir", data)


def test_up_joins_a_cluster_and_leaves_it(cluster: Cluster, omium: Omium, tmp_path: Path) -> None:
    data, gate = tmp_path / "data", tmp_path / "gate"
    gate.touch()
    here = ("--data-dir", data)
    (port,) = free_ports(1)
    up = ("up", "--detach", "--port", str(port), "--app-dir", ROOT, "--json")
    told = json.loads(omium(*up, *here))
    address = told["address"]
    assert is_ready(address)
    # Nobody's token but the cluster's own opens its dashboard, so none is told.
    assert told["ray_token"] is None
    flow = tmp_path / "flow.json"
    flow.write_text(
        json.dumps(
            {
                "name": "waiting",
                "version": "1",
                "agents": [
                    {
                        "name": "a",
                        "framework": "python",
                        "entrypoint": "tests.cli.agents:gated",
                    }
                ],
            }
        )
    )
    there = ("--address", address)
    assert json.loads(omium("run", flow, "-i", f"gate={gate}", *there)) == "open"
    omium("down", *here)
    assert not is_ready(address)
    assert listens(*_pair(cluster.address)), "the cluster has ended, too"
    assert json.loads(omium("status", "--json", *here))["running"] is False
    # And it may be joined again, with what there was.
    omium(*up, *here)
    assert json.loads(omium("result", "last", *there)) == "open"
    omium("down", *here)


def _pair(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host, int(port)


def test_the_api_is_deployed_through_the_dashboard(cluster: Cluster, tmp_path: Path) -> None:
    (port,) = free_ports(1)
    yaml = YAML(typ="safe")
    config: Any = yaml.load(EXAMPLE.read_text())
    config["http_options"] = {"host": "127.0.0.1", "port": port}
    args = config["applications"][0]["args"]
    args["data_dir"] = str(tmp_path / "data")
    args["service"] = {"replicas": 1, "app_dir": str(tmp_path), "warm": [], "grace_s": 1}
    path = tmp_path / "serve.yaml"
    with path.open("w") as file:
        yaml.dump(config, file)

    def serve(*words: str | Path) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "ray.serve.scripts", *map(str, words), "-a", cluster.dashboard],
            env={**os.environ, **cluster.env},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, f"{words}: {done.stdout}\n{done.stderr}"
        return done.stdout

    address = f"http://127.0.0.1:{port}"
    serve("deploy", path)
    wait_for(lambda: is_ready(address), "it is not deployed")
    # The same once more changes nothing.
    serve("deploy", path)
    wait_for(lambda: is_ready(address), "it is not deployed any more")
    assert "RUNNING" in serve("status")
    unknown = httpx.get(f"{address}/v1/executions", trust_env=False, timeout=10)
    assert unknown.status_code == 401
    serve("shutdown", "-y")
    wait_for(lambda: not listens("127.0.0.1", port), "it is not taken away")


@contextmanager
def second_node(cluster: Cluster) -> Iterator[Node]:
    """A node that has joined. On a busy machine one may give itself up before it has."""
    words = (
        f"--address={cluster.address}",
        f"--node-ip-address={SECOND_NODE}",
        "--num-cpus=2",
        f"--object-store-memory={100 * 1024 * 1024}",
    )
    for _ in range(STARTS_MAX):
        with Node(cluster, *words) as node:

            def settled(node: Node = node) -> bool:
                return SECOND_NODE in cluster.nodes() or node.has_ended()

            wait_for(settled, "the second node does not come up")
            if not node.has_ended():
                yield node
                return
    raise AssertionError(f"no second node joined, {STARTS_MAX} times in a row")


@pytest.mark.slow
def test_the_node_that_asked_is_lost_before_the_answer(
    cluster: Cluster, omium: Omium, tmp_path: Path
) -> None:
    (port,) = free_ports(1)
    here = ("--data-dir", tmp_path / "data")
    # Before there is a second node, so that nothing but workers can be there.
    up = ("up", "--detach", "--port", str(port), "--app-dir", ROOT, "--json", *here)
    address = json.loads(omium(*up))["address"]
    with Client(address) as client, second_node(cluster) as node:
        run = asked_there(client)
        (question,) = run.questions()
        assert question.text == "Which way?"
        node.kill()
        run.answer("north", call=question.call)
        result: Any = run.result(timeout_s=LIMIT_S)
        assert result["asked_on"] == SECOND_NODE
        assert result["answer"] == "north"
        assert result["answered_on"] != SECOND_NODE
        events = list(run.events())
    omium("down", *here)
    types = [event.type for event in events]
    assert (types.count("call.intended"), types.count("call.decided")) == (1, 1)
    # The attempt that asked had ended. Another may have been given to the dead before that was
    # known; the last one ends with the agent.
    asked, *lost = [event.data["end"] for event in events if event.type == "attempt.ended"]
    assert (asked, {*lost} | {"worker_lost"}) == ("asked", {"worker_lost"})
    assert types.count("attempt.started") == len(lost) + 2


def asked_there(client: Client) -> Handle:
    """An execution that waits for an answer, and whose agent was on the second node.

    Ray puts workers where it likes, and every version has its own."""
    agent = {"name": "a", "framework": "python", "entrypoint": "tests.runtime.agents:asks_where"}
    for version in range(WORKERS_MAX):
        flow = {"name": "moving", "version": str(version), "agents": [agent]}
        client.register(flow)
        run = client.run("moving", version=str(version))
        with pytest.raises(ExecutionPaused):
            run.result(timeout_s=LIMIT_S)
        (checkpoint,) = run.checkpoints()
        if run.state(checkpoint.index) == SECOND_NODE:
            return run
    raise AssertionError(f"none of {WORKERS_MAX} workers was started on the second node")
