"""Several hosts on one machine: a network namespace each, all on one bridge, with packets that are
lost on demand.

What one host sends to another is lost while it knows that one by a hardware address that nobody
has: the sender is told nothing, as with a cut cable, and it takes no filter in the kernel. The
benchmark itself is on the bridge too, outside of the namespaces, and is never cut off. It needs
root and iproute2. Whatever happens, ``close`` ends every process in a namespace and removes what
was made; what a killed benchmark left behind is removed by the next one.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import psutil

from benchmarks.chaos.plan import NETWORK, NODES

NOBODY = "02:00:00:00:00:01"
"""A locally administered address; the kernel draws those of the hosts."""

PREFIX = "omc"
NAMESPACES = Path("/run/netns")
LINKS = Path("/sys/class/net")
END_TIMEOUT_S = 10.0


def missing() -> str | None:
    """Why there can be no such hosts here; None where there can."""
    if os.geteuid() != 0:
        return "it takes root"
    if shutil.which("ip") is None:
        return "there is no ip (Debian: iproute2)"
    name = f"{PREFIX}-{os.getpid()}-probe"
    tried = _run(["ip", "netns", "add", name], check=False)
    if tried.returncode:
        return f"no network namespace can be made: {tried.stderr.strip()}"
    _run(["ip", "netns", "del", name])
    return None


class Network:
    """``count`` hosts, numbered from 1. See the module's docstring."""

    abilities = (NETWORK, NODES)

    def __init__(self, count: int) -> None:
        self.environment: Mapping[str, str] = {}
        self.hosts = range(1, count + 1)
        self._id = os.getpid()
        self._net = f"10.213.{self._id % 250}"
        self._bridge = f"{PREFIX}{self._id}"
        self._cut: list[tuple[int, int]] = []

    def address(self, host: int) -> str:
        return f"{self._net}.{host}"

    def within(self, host: int, *words: str) -> list[str]:
        """The command ``words``, to be run on a host."""
        return _inside(self._name(host), *words)

    def processes(self, host: int) -> list[int]:
        """The ids of all processes on a host."""
        return _processes(self._name(host))

    def open(self) -> None:
        """Make the hosts. Raises ``CalledProcessError`` where the system refuses."""
        sweep()
        bridge = self._bridge
        _run(["ip", "link", "add", bridge, "type", "bridge"])
        _run(["ip", "addr", "add", f"{self._net}.254/24", "dev", bridge])
        _run(["ip", "link", "set", bridge, "up"])
        for host in self.hosts:
            name, wire = self._name(host), f"{bridge}v{host}"
            _run(["ip", "netns", "add", name])
            _run([*_VETH, wire, "type", "veth", "peer", "name", "eth0", "netns", name])
            _run(["ip", "link", "set", wire, "master", bridge, "up"])
            address = f"{self.address(host)}/24"
            _run(["ip", "-n", name, "addr", "add", address, "dev", "eth0"])
            _run(["ip", "-n", name, "link", "set", "eth0", "up"])
            _run(["ip", "-n", name, "link", "set", "lo", "up"])

    def close(self) -> None:
        """End all that runs on the hosts, and remove them. May be repeated."""
        _remove(self._id)

    def drop(self, ways: Iterable[tuple[int, int]]) -> None:
        """From now on what goes from the first of each pair of hosts to the second is lost."""
        for source, target in ways:
            self._neighbour(source, "replace", target, "lladdr", NOBODY, "nud", "permanent")
            self._cut.append((source, target))

    def mend(self) -> None:
        """Nothing is lost any more."""
        cut, self._cut = self._cut, []
        for source, target in cut:
            self._neighbour(source, "del", target)

    def _neighbour(self, host: int, what: str, other: int, *options: str) -> None:
        at = (self.address(other), "dev", "eth0", *options)
        _run(["ip", "-n", self._name(host), "neighbour", what, *at])

    def _name(self, host: int) -> str:
        return f"{PREFIX}-{self._id}-{host}"


_VETH = ("ip", "link", "add")


def sweep() -> None:
    """Remove what benchmarks that were killed have left behind."""
    for name in _namespaces():
        owner = name.split("-")[1]
        if owner.isdecimal() and not psutil.pid_exists(int(owner)):
            _remove(int(owner))


def _remove(owner: int) -> None:
    names = [name for name in _namespaces() if name.startswith(f"{PREFIX}-{owner}-")]
    deadline_s = time.monotonic() + END_TIMEOUT_S
    while time.monotonic() < deadline_s:
        running = [pid for name in names for pid in _processes(name)]
        if not running:
            break
        for pid in running:
            # One that was stopped is killed as well.
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.1)
    for name in names:
        _run(["ip", "netns", "del", name], check=False)
    # The wires as well: a namespace without a name and a process may live on for a while.
    for link in (*LINKS.glob(f"{PREFIX}{owner}v*"), LINKS / f"{PREFIX}{owner}"):
        _run(["ip", "link", "del", link.name], check=False)


def _namespaces() -> list[str]:
    listed = _run(["ip", "netns", "list"], check=False).stdout.split()
    return [name for name in listed if name.startswith(f"{PREFIX}-")]


def _processes(name: str) -> list[int]:
    found: list[int] = []
    with suppress(FileNotFoundError):
        namespace = (NAMESPACES / name).stat().st_ino
        for pid in psutil.pids():
            # Whoever has ended meanwhile is in none.
            with suppress(OSError):
                if Path(f"/proc/{pid}/ns/net").stat().st_ino == namespace:
                    found.append(pid)
    return found


def _inside(name: str, *words: str) -> list[str]:
    return ["ip", "netns", "exec", name, *words]


def _run(words: Sequence[str], *, check: bool = True) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, check=check, capture_output=True, text=True, timeout=30)
