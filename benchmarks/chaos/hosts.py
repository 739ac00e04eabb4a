"""What the benchmark needs of the hosts that Ray's nodes are on, and the one host that there is
where no namespaces can be made. Its coordinators are cut off from one another by proxies."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Protocol

import psutil

from benchmarks.chaos.plan import NETWORK
from benchmarks.chaos.proxies import Proxies


class Hosts(Protocol):
    """Hosts by number, from 1. ``network.Network`` is the other implementation."""

    @property
    def hosts(self) -> Sequence[int]: ...

    @property
    def abilities(self) -> Collection[str]:
        """What can be done to them beside killing and stopping processes: ``plan.Kind.needs``."""
        ...

    @property
    def environment(self) -> Mapping[str, str]:
        """What the processes on them are to have in theirs, once they are open."""
        ...

    def address(self, host: int) -> str: ...

    def within(self, host: int, *words: str) -> list[str]:
        """The command ``words``, to be run on a host."""
        ...

    def processes(self, host: int) -> list[int]:
        """The ids of all processes of the benchmark on a host."""
        ...

    def open(self) -> None: ...

    def close(self) -> None:
        """End all that runs on them. May be repeated."""
        ...

    def drop(self, ways: Iterable[tuple[int, int]]) -> None:
        """Lose what goes from the first of each pair of seats to the second; where there are
        several hosts, each seat is on the host of its number."""
        ...

    def mend(self) -> None: ...


class Alone:
    """This machine, as one host with one Ray node and all coordinators. ``folder`` is to be made by
    it."""

    hosts = (1,)
    abilities = (NETWORK,)

    def __init__(self, folder: Path) -> None:
        self.environment: Mapping[str, str] = {}
        self._proxies = Proxies(folder)
        self._seen: dict[int, psutil.Process] = {}

    def address(self, host: int) -> str:
        return "127.0.0.1"

    def within(self, host: int, *words: str) -> list[str]:
        return list(words)

    def processes(self, host: int) -> list[int]:
        children = psutil.Process().children(recursive=True)
        # Kept, since a child of one that was killed is nobody's.
        self._seen |= {child.pid: child for child in children}
        return [pid for pid, process in self._seen.items() if process.is_running()]

    def open(self) -> None:
        self.environment = self._proxies.open()

    def close(self) -> None:
        self.processes(1)
        for process in self._seen.values():
            with suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(list(self._seen.values()), timeout=10)
        self._proxies.close()

    def drop(self, ways: Iterable[tuple[int, int]]) -> None:
        self._proxies.cut(ways)

    def mend(self) -> None:
        self._proxies.mend()
