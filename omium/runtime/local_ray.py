"""A Ray to run on: the cluster that ``RAY_ADDRESS`` names, else one started here.

What is started here is gone when it is closed, whatever became of it meanwhile.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import shutil
import socket
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import ray

from omium.config import RaySettings
from omium.errors import ConfigError, Unavailable

NODE_PROCESSES = ("gcs_server", "raylet")
END_TIMEOUT_S = 5.0
CONNECT_TIMEOUT_S = 5.0
STARTS_MAX = 2
"""How often Ray is started before it is given up: it gives itself 30 s, which on a machine where
several start at once may be too few."""

_SCRATCH = "omium-"


class RayCluster:
    """A connection to Ray. Make one with ``connect``."""

    def __init__(
        self,
        *,
        joined: bool,
        scratch_dir: Path,
        processes: list[psutil.Process],
        dashboard: str | None = None,
    ) -> None:
        self.joined = joined
        """Whether the cluster was there before, and stays."""
        self.scratch_dir = scratch_dir
        """A folder for files that nobody misses. Gone when this is closed."""
        self.dashboard = f"http://{dashboard}" if dashboard else None
        """The address of Ray's dashboard, where there is one."""
        self.token = None if joined else os.environ.get("RAY_AUTH_TOKEN")
        """What the Ray that was started here asks of whoever uses its dashboard."""
        self._processes = processes
        self._vital = [(p.name(), p) for p in processes if p.name() in NODE_PROCESSES]

    @classmethod
    def connect(
        cls,
        address: str | None,
        settings: RaySettings,
        *,
        show_worker_output: bool = False,
        dashboard: bool = False,
        prepare: Callable[[Path], None] = lambda _: None,
    ) -> RayCluster:
        """Join the cluster at ``address``, or start one here, with Ray's ``dashboard`` or
        without. Takes seconds. ``prepare`` is called before one is started, with the scratch
        directory.

        Raises ``Unavailable`` when there is none at the address or none can be started.
        """
        if address is not None:
            _check_address(address)
        else:
            # A token of this run only: else Ray leaves one in the user's home, which makes
            # every later `ray start` ask for it.
            os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
        before = {child.pid for child in psutil.Process().children()}
        sweep()
        scratch = Path(tempfile.mkdtemp(prefix=f"{_SCRATCH}{os.getpid()}-"))
        if address is None:
            prepare(scratch)
        options: dict[str, Any] = {} if address else _local_options(settings, scratch, dashboard)
        try:
            context = _begun(
                before,
                tries=1 if address else STARTS_MAX,
                address=address or "local",
                log_to_driver=show_worker_output,
                logging_level=logging.ERROR,
                configure_logging=False,
                **options,
            )
        except Exception as error:
            # On a busy machine it is a bare Exception.
            shutil.rmtree(scratch, ignore_errors=True)
            if address is None:
                raise Unavailable(f"cannot start Ray here: {error}") from error
            raise Unavailable(
                f"cannot join Ray at {address!r}: {error} "
                "(RAY_AUTH_MODE=token, where the cluster asks for its token)"
            ) from error
        return cls(
            joined=address is not None,
            scratch_dir=scratch,
            processes=[] if address else _children_but(before),
            dashboard=context.dashboard_url or None,
        )

    def failure(self) -> str | None:
        """Why this Ray is of no more use, if it is not: a process of its node has died."""
        for name, process in self._vital:
            if not process.is_running() or process.status() == psutil.STATUS_ZOMBIE:
                return f"{name} (process {process.pid}) of the Ray node has died"
        return None

    def close(self) -> None:
        """Leave the cluster; end the one that was started here with all its processes."""
        mine = [p for top in self._processes for p in _with_descendants(top)]
        if self.failure() is None:
            ray.shutdown()
            _end(mine)
        else:
            # Without its node nothing ends politely; and Ray can be started again in this
            # process only once it has been told that this one is over.
            _kill(mine)
            ray.shutdown()
        shutil.rmtree(self.scratch_dir, ignore_errors=True)


def _check_address(address: str) -> None:
    """Find out at once whether anybody is there: Ray itself tries for ten minutes."""
    if address.startswith("ray://"):
        raise ConfigError(
            f"RAY_ADDRESS {address!r} is of Ray Client; Omium's driver runs in the cluster: "
            "give the address of its GCS (host:6379), or submit a Ray job"
        )
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdecimal():
        return  # a word such as "auto", which Ray looks up on this machine
    try:
        socket.create_connection((host, int(port)), timeout=CONNECT_TIMEOUT_S).close()
    except OSError as error:
        raise Unavailable(f"no Ray answers at {address!r}: {error}") from error


def end_by_force(process: psutil.Process) -> None:
    """Kill a process, and whatever it has started, such as its Ray."""
    _kill(_with_descendants(process))


def sweep() -> None:
    """Remove the scratch folders of processes that were killed."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_SCRATCH}*"):
        pid = folder.name.removeprefix(_SCRATCH).partition("-")[0]
        if pid.isdecimal() and not psutil.pid_exists(int(pid)):
            shutil.rmtree(folder, ignore_errors=True)


def _local_options(settings: RaySettings, scratch: Path, dashboard: bool) -> dict[str, Any]:
    return {
        # Ray leaves its logs and sockets behind; in a folder of ours they go with the run.
        "_temp_dir": str(scratch),
        "num_cpus": settings.num_cpus or os.cpu_count() or 1,
        "num_gpus": 0,
        "object_store_memory": settings.object_store_mb * 1024 * 1024,
        "include_dashboard": dashboard,
    }


def _begun(before: set[int], *, tries: int, **options: Any) -> Any:
    """Ray's context, begun with ``options``: tried so often, with nothing left behind of a try
    that failed. ``before`` are the children that were there. Raises whatever the last one did."""
    while True:
        try:
            return ray.init(**options)
        except Exception:
            # Whatever Ray raises. What it has started by then it leaves behind.
            _kill([p for top in _children_but(before) for p in _with_descendants(top)])
            tries -= 1
            if not tries:
                raise


def _children_but(before: set[int]) -> list[psutil.Process]:
    return [child for child in psutil.Process().children() if child.pid not in before]


def _with_descendants(process: psutil.Process) -> list[psutil.Process]:
    try:
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _kill(processes: list[psutil.Process]) -> None:
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(processes, timeout=END_TIMEOUT_S)


def _end(processes: list[psutil.Process]) -> None:
    """End what is left, politely first."""
    _, alive = psutil.wait_procs(processes, timeout=1.0)
    for act in (psutil.Process.terminate, psutil.Process.kill):
        for process in alive:
            with contextlib.suppress(psutil.NoSuchProcess):
                act(process)
        _, alive = psutil.wait_procs(alive, timeout=END_TIMEOUT_S)
