"""A Ray cluster on several hosts, and `omium up` that has joined it: started, looked at, ended.

The first host has Ray's head, the service's driver, its gateway and the proxy. It knows which
process is what, and does nothing to them by itself.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil

from benchmarks.chaos.hosts import Hosts
from benchmarks.served import ROOT
from omium.ports import free_ports
from omium.runtime.endpoint import Endpoint, live_endpoint
from omium.serve.edge import edge_environment

HEAD = 1
COORDINATORS = 3
START_TIMEOUT_S = 180.0
POLL_S = 0.1
STORE_BYTES = 80_000_000
PATIENT = {"RAY_agent_register_timeout_ms": "120000"}
"""A raylet whose agents do not come up within half a minute, on a busy machine, ends by itself."""

TEXT_CHARS = 2_000

TITLES = {
    "coordinator": "ray::CoordinatorActor",
    "gateway": "ray::GatewayActor",
    "worker": "ray::WorkerActor",
    "ingress": "ray::ServeReplica",
    "controller": "ray::ServeController",
    "proxy": "haproxy",
    "raylet": "raylet",
    "gcs": "gcs_server",
}
"""How a process of each kind is called: the beginning of its title, or the name of its program."""


class Cluster:
    """See the module's docstring. ``folder`` is its own; its path is to be short."""

    def __init__(self, hosts: Hosts, folder: Path, data_dir: Path, *, provider: str) -> None:
        self.hosts = hosts
        self.folder = folder
        self.data_dir = data_dir
        self.blobs = folder / "blobs"
        self._provider = provider
        self._gcs_port, self._port = free_ports(2)
        self._processes: list[subprocess.Popen[bytes]] = []
        self._nodes: dict[int, subprocess.Popen[bytes]] = {}
        self.api_key = ""
        edge = folder / "e"
        edge.mkdir(mode=0o700)
        self._edge = edge_environment(edge)
        # A token of this cluster: whether Ray asks for one else depends on the user's home.
        self._token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}

    @property
    def address(self) -> str:
        """Where the HTTP API is."""
        return f"http://{self.hosts.address(HEAD)}:{self._port}"

    def start(self) -> None:
        """Start Ray on all hosts, and the service. Raises ``RuntimeError`` where one does not
        come up in time."""
        for host in self.hosts.hosts:
            # One after the other: Ray's nodes on one machine share a folder, and two that start
            # at once take the same names in it.
            self._start_node(host)
            self._until(lambda host=host: self._is_up(host), f"the Ray node of host {host}")
        self._start_service()

    def mind(self) -> None:
        """Start the node of each host again whose Ray has ended, as an init system would."""
        for host, node in list(self._nodes.items()):
            # Without its head a cluster is no more, and so is the service.
            if host != HEAD and node.poll() is not None:
                for pid in self.hosts.processes(host):
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                self._start_node(host)

    def _start_node(self, host: int) -> None:
        own = f"--node-ip-address={self.hosts.address(host)}"
        where = f"{self.hosts.address(HEAD)}:{self._gcs_port}"
        head = (
            *("--head", f"--port={self._gcs_port}", f"--temp-dir={self.folder / 'r'}"),
            "--include-dashboard=false",
        )
        self._nodes[host] = self._spawn(
            host,
            f"ray-{host}.log",
            *("ray.scripts.scripts", "start", "--block", "--disable-usage-stats", own),
            *("--num-cpus=2", f"--object-store-memory={STORE_BYTES}"),
            *(head if host == HEAD else (f"--address={where}",)),
            environment={**self._edge, **PATIENT},
        )

    def find(self, host: int, kind: str) -> list[psutil.Process]:
        """The processes of a kind on a host."""
        return [process for process in self._on(host) if _is(process, TITLES[kind])]

    def everywhere(self, kind: str) -> list[psutil.Process]:
        """The processes of a kind on all hosts."""
        return [process for host in self.hosts.hosts for process in self.find(host, kind)]

    def host_of(self, pid: int) -> int | None:
        """Which host a process is on."""
        on = (host for host in self.hosts.hosts if pid in self.hosts.processes(host))
        return next(on, None)

    def seat_of(self, process: psutil.Process) -> int | None:
        """Which seat a coordinator's process has; None where it has ended, or does not listen yet.

        Seats are spread over the hosts by their addresses, from the driver's on."""
        if len(self.hosts.hosts) > 1:
            return self.host_of(process.pid)
        with suppress(psutil.NoSuchProcess):
            there = process.net_connections("tcp")
            ports = {one.laddr.port for one in there if one.status == psutil.CONN_LISTEN}
            for seat, (_, port) in enumerate(self.endpoint().peers, start=1):
                if port in ports:
                    return seat
        return None

    def endpoint(self) -> Endpoint:
        """Where the coordinators are. Raises ``RuntimeError`` before the start."""
        found = live_endpoint(self.data_dir)
        if found is None:
            raise RuntimeError(f"no runtime has {self.data_dir}")
        return found

    def _on(self, host: int) -> list[psutil.Process]:
        found: list[psutil.Process] = []
        for pid in self.hosts.processes(host):
            with suppress(psutil.NoSuchProcess):
                found.append(psutil.Process(pid))
        return found

    def _is_up(self, host: int) -> bool:
        # The raylet starts it once it is known to the head.
        return any(_is(process, "ray::RuntimeEnvAgent") for process in self._on(host))

    def _start_service(self) -> None:
        environment = {
            "OMIUM_DATA_DIR": str(self.data_dir),
            "OMIUM_BLOBS_URL": str(self.blobs),
            "OMIUM_COORDINATORS": str(COORDINATORS),
            "OMIUM_SERVICE__REPLICAS": "2",
            "OMIUM_POOL__SPARE": "2",
            "RAY_ADDRESS": f"{self.hosts.address(HEAD)}:{self._gcs_port}",
            "OPENAI_BASE_URL": self._provider,
            "OPENAI_API_KEY": "scripted",
            "XDG_CONFIG_HOME": str(self.folder / "config"),
        }
        said = self.folder / "service.out"
        process = self._spawn(
            HEAD,
            said.name,
            *("omium", "up", "--host", "0.0.0.0", "--port", str(self._port), "--json"),
            *("--app-dir", str(ROOT)),
            environment=environment,
            errors="service.err",
        )

        def told() -> bool:
            if process.poll() is not None:
                texts = [
                    (self.folder / name).read_text()[-TEXT_CHARS:]
                    for name in (f"ray-{HEAD}.log", said.name, "service.err")
                ]
                raise RuntimeError("\n".join(("the service did not start:", *texts)))
            # Other lines may come first, such as a warning of Ray's.
            return '"address"' in _last_line(said)

        self._until(told, "the service")
        stored = self.folder / "config" / "omium" / "credentials.json"
        self.api_key = json.loads(stored.read_text())[json.loads(_last_line(said))["address"]]

    def _spawn(
        self,
        host: int,
        log: str,
        *words: str,
        environment: dict[str, str],
        errors: str | None = None,
    ) -> subprocess.Popen[bytes]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("OMIUM_", "RAY_"))}
        with (
            (self.folder / log).open("ab") as output,
            (self.folder / (errors or log)).open("ab") as error,
        ):
            process = subprocess.Popen(
                self.hosts.within(host, sys.executable, "-m", *words),
                env={**kept, **self._token, **self.hosts.environment, **environment},
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=error,
                # Ctrl-C is the benchmark's, which ends all of this in its own order.
                start_new_session=True,
            )
        self._processes.append(process)
        return process

    def _until(self, there: Callable[[], object], what: str) -> None:
        deadline_s = time.monotonic() + START_TIMEOUT_S
        while not there():
            if time.monotonic() > deadline_s:
                raise RuntimeError(f"{what} did not come up within {START_TIMEOUT_S:g} s")
            self.mind()
            time.sleep(POLL_S)

    def close(self) -> None:
        """End everything."""
        self.hosts.close()
        for process in self._processes:
            process.wait()


def _last_line(path: Path) -> str:
    """The last whole line of a file; empty where there is none."""
    lines = [line for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]
    return lines[-1] if lines else ""


def _is(process: psutil.Process, title: str) -> bool:
    try:
        words = process.cmdline()
        return bool(words) and (words[0].startswith(title) or Path(words[0]).name == title)
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return False
