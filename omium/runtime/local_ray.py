"""A Ray to run on: the cluster that ``RAY_ADDRESS`` names, else one started here.

What is started here is gone when it is closed, whatever became of it meanwhile.
"""

from __future__ import annotations

import contextlib
import logging
import os
from typing import Any

import psutil
import ray

from omium.config import RaySettings
from omium.errors import Unavailable

NODE_PROCESSES = ("gcs_server", "raylet")
END_TIMEOUT_S = 5.0

_QUIET = {
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DEDUP_LOGS": "0",
}


class RayCluster:
    """A connection to Ray. Make one with ``connect``."""

    def __init__(self, *, joined: bool, processes: list[psutil.Process]) -> None:
        self.joined = joined
        """Whether the cluster was there before, and stays."""
        self._processes = processes
        self._vital = [(p.name(), p) for p in processes if p.name() in NODE_PROCESSES]

    @classmethod
    def connect(
        cls, address: str | None, settings: RaySettings, *, show_worker_output: bool = False
    ) -> RayCluster:
        """Join the cluster at ``address``, or start one here. Takes seconds.

        Raises ``Unavailable`` when there is none at the address or none can be started.
        """
        os.environ.update({k: v for k, v in _QUIET.items() if k not in os.environ})
        before = {child.pid for child in psutil.Process().children()}
        options: dict[str, Any] = {} if address else _local_options(settings)
        try:
            ray.init(
                address=address or "local",
                log_to_driver=show_worker_output,
                logging_level=logging.ERROR,
                configure_logging=False,
                **options,
            )
        except (ConnectionError, RuntimeError, OSError, ValueError) as error:
            place = f"join Ray at {address!r}" if address else "start Ray here"
            raise Unavailable(f"cannot {place}: {error}") from error
        children = [c for c in psutil.Process().children() if c.pid not in before]
        return cls(joined=address is not None, processes=[] if address else children)

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


def _local_options(settings: RaySettings) -> dict[str, Any]:
    return {
        "num_cpus": settings.num_cpus or os.cpu_count() or 1,
        "num_gpus": 0,
        "object_store_memory": settings.object_store_mb * 1024 * 1024,
        "include_dashboard": False,
    }


def _with_descendants(process: psutil.Process) -> list[psutil.Process]:
    try:
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _end(processes: list[psutil.Process]) -> None:
    """End what is left, politely first."""
    _, alive = psutil.wait_procs(processes, timeout=1.0)
    for act in (psutil.Process.terminate, psutil.Process.kill):
        for process in alive:
            with contextlib.suppress(psutil.NoSuchProcess):
                act(process)
        _, alive = psutil.wait_procs(alive, timeout=END_TIMEOUT_S)
