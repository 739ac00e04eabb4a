"""A service of one's own for a benchmark: a data directory, a scripted provider, `omium up`."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).parent.parent
STOP_TIMEOUT_S = 90
CALLS_NAME = "calls.jsonl"
DATA_NAME = "data"
REPLICA_TITLE = "ray::ServeReplica"
CONTROLLER_TITLE = "ray::ServeController"
COORDINATOR_TITLE = "ray::CoordinatorActor"
WORKFLOW: dict[str, Any] = {
    "name": "one-step",
    "version": "1",
    "model": "openai/scripted",
    "agents": [
        {"name": "asker", "framework": "python", "entrypoint": "benchmarks.agents:one_step"}
    ],
}
SCRIPT = {"rules": [{"answer": {"content": "done"}}]}


@dataclass(frozen=True, kw_only=True)
class Served:
    """A service that answers: where, with which key, and its process."""

    address: str
    api_key: str
    process: subprocess.Popen[bytes]
    folder: Path

    @property
    def calls(self) -> Path:
        """What reached the provider, where that was to be recorded."""
        return self.folder / CALLS_NAME

    def kill(self, title: str) -> str:
        """SIGKILL one process of the service whose title begins so. Returns its title."""
        for process in psutil.Process(self.process.pid).children(recursive=True):
            name = " ".join(process.cmdline())
            if name.startswith(title):
                os.kill(process.pid, signal.SIGKILL)
                return f"{name} ({process.pid})"
        raise RuntimeError(f"there is no {title}")

    def kill_all(self) -> int:
        """SIGKILL of the service and of all that it has started. How many processes that were."""
        root = psutil.Process(self.process.pid)
        victims = [root, *root.children(recursive=True)]
        for victim in victims:
            with suppress(psutil.NoSuchProcess):
                victim.kill()
        psutil.wait_procs(victims[1:], timeout=STOP_TIMEOUT_S)
        return len(victims)


@contextmanager
def scripted_provider(
    folder: Path,
    script: dict[str, Any] = SCRIPT,
    *,
    log: Path | None = None,
    prefix: Sequence[str] = (),
) -> Iterator[str]:
    """The scripted provider in a process of its own, which writes what reaches it into ``log``;
    its base URL. ``prefix`` are the words of a command that runs it elsewhere."""
    path = folder / "script.json"
    path.write_text(json.dumps(script))
    process = subprocess.Popen(
        [
            *(*prefix, sys.executable, "-m", "omium.testing.scripted", "--script", str(path)),
            *("--port", "0"),
            *(("--log", str(log)) if log is not None else ()),
        ],
        stdout=subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        with process.stdout as told:
            yield told.readline().decode().strip()
    finally:
        process.terminate()
        process.wait(timeout=10)


@contextmanager
def service(
    script: dict[str, Any] = SCRIPT, *, records: bool = False, **settings: str
) -> Iterator[Served]:
    """``omium up`` on free ports with everything in a folder of its own, ended afterwards.

    ``settings`` are environment variables without their ``OMIUM_``. With ``records`` the
    provider writes down its calls, in ``Served.calls``.
    """
    folder = Path(tempfile.mkdtemp(prefix="omium-bench-"))
    try:
        log = folder / CALLS_NAME if records else None
        with (
            scripted_provider(folder, script, log=log) as base_url,
            started(folder, environment_in(folder, base_url, **settings)) as served,
        ):
            yield served
    finally:
        shutil.rmtree(folder)


def environment_in(folder: Path, base_url: str, **settings: str) -> dict[str, str]:
    """The environment of whatever belongs to a service in ``folder`` that asks ``base_url``."""
    return {
        **os.environ,
        "OMIUM_DATA_DIR": str(folder / DATA_NAME),
        "OPENAI_BASE_URL": base_url,
        "OPENAI_API_KEY": "scripted",
        "XDG_CONFIG_HOME": str(folder / "config"),
        **{f"OMIUM_{name}": value for name, value in settings.items()},
    }


@contextmanager
def started(folder: Path, environment: dict[str, str]) -> Iterator[Served]:
    """One life of ``omium up`` in that environment, ended afterwards if it has not been before.

    Raises ``RuntimeError`` with the end of what it said where it does not come up.
    """
    with (folder / "service.err").open("wb") as errors:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "omium", "up", "--port", "0", "--json"),
                *("--app-dir", str(ROOT)),
            ],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=errors,
        )
    try:
        assert process.stdout is not None
        with process.stdout as told:
            line = told.readline()
            if b'"address"' not in line:
                said = (folder / "service.err").read_text()[-2_000:]
                raise RuntimeError(f"{line.decode()}{said}")
            address = json.loads(line)["address"]
            stored = json.loads((folder / "config" / "omium" / "credentials.json").read_text())
            yield Served(address=address, api_key=stored[address], process=process, folder=folder)
    finally:
        process.terminate()
        process.wait(timeout=STOP_TIMEOUT_S)
