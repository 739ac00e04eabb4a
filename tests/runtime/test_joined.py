"""A cluster that is there before and stays: ``omium up`` joins it, ``serve deploy`` brings the API
to it through the dashboard."""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from ruamel.yaml import YAML

from omium.ports import free_ports
from omium.serve.edge import edge_environment
from tests.cli.programs import Start, listens, programs, wait_for

pytestmark = [pytest.mark.ray, pytest.mark.timeout(600)]

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "serve" / "serve.yaml"
LIMIT_S = 200.0


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """A Ray that asks for its token. ``env`` is what leads there."""

    address: str
    dashboard: str
    env: dict[str, str]


@contextmanager
def started(directory: Path) -> Iterator[Cluster]:
    """``ray start --head``, whose nodes are set up as docs/operations.md says."""
    gcs, dashboard, agent, client = free_ports(4)
    edge = directory / "e"
    edge.mkdir(mode=0o700)
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("OMIUM_", "RAY_"))}
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
    log = (directory / "ray.log").open("wb")
    ray = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", *words]
    process = subprocess.Popen(
        [*ray, "--disable-usage-stats"],
        env={**kept, **token, **edge_environment(edge)},
        stdout=log,
        stderr=log,
        start_new_session=True,
    )
    top = psutil.Process(process.pid)
    seen: dict[int, psutil.Process] = {}
    try:
        wait_for(lambda: listens("127.0.0.1", dashboard), "the dashboard does not listen")
        yield Cluster(
            address=f"127.0.0.1:{gcs}", dashboard=f"http://127.0.0.1:{dashboard}", env=token
        )
    finally:
        with suppress(psutil.NoSuchProcess):
            seen = {one.pid: one for one in top.children(recursive=True)}
        process.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(20)
        for one in seen.values():
            with suppress(psutil.NoSuchProcess):
                one.kill()
        process.kill()
        process.wait()
        log.close()


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    # Under a short name: the paths of sockets are bounded.
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as directory,
        started(Path(directory)) as one,
    ):
        yield one


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    with programs(tmp_path) as starter:
        yield starter


def is_ready(address: str) -> bool:
    try:
        return httpx.get(f"{address}/readyz", trust_env=False, timeout=10).status_code == 200
    except httpx.HTTPError:
        return False


def test_up_joins_a_cluster_and_leaves_it(cluster: Cluster, start: Start, tmp_path: Path) -> None:
    data, gate = tmp_path / "data", tmp_path / "gate"
    gate.touch()
    env = {
        **cluster.env,
        "RAY_ADDRESS": cluster.address,
        "XDG_CONFIG_HOME": str(tmp_path / "config"),
    }

    def omium(*words: str | Path) -> str:
        program = start(*words, **env)
        assert program.wait(LIMIT_S) == 0, f"{words}: {program.stdout}\n{program.stderr}"
        return program.stdout

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
