"""What the benchmark needs of the hosts that Ray's nodes are on, and the one host that there is
where no namespaces can be made."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from typing import Protocol

import psutil


class Hosts(Protocol):
    """Hosts by number, from 1. ``network.Network`` is the other implementation."""

    @property
    def hosts(self) -> Sequence[int]: ...

    @property
    def abilities(self) -> Collection[str]:
        """What can be done to them beside killing and stopping processes: ``plan.Kind.needs``."""
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
        """Lose what goes from the first of each pair of hosts to the second."""
        ...

    def mend(self) -> None: ...


class Alone:
    """This machine, as one host with one Ray node. Nothing can be cut."""

    hosts = (1,)
    abilities = ()

    def __init__(self) -> None:
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
        """There is nothing to be made."""

    def close(self) -> None:
        self.processes(1)
        for process in self._seen.values():
            with suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(list(self._seen.values()), timeout=10)

    def drop(self, ways: Iterable[tuple[int, int]]) -> None:
        raise NotImplementedError("one host cannot be cut off from itself")

    def mend(self) -> None:
        """There is nothing to be mended."""
