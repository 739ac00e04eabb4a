"""The faults themselves: each is done, lasts, and is undone, whatever else happens."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from random import Random

import psutil

from benchmarks.chaos.cluster import COORDINATORS, HEAD, Cluster
from benchmarks.chaos.disks import Disks
from omium.actors.client import Client
from omium.errors import Unavailable

ANSWER_TIMEOUT_S = 5.0


class NothingToStrike(Exception):
    """There is no process of the kind at this moment."""


class Faults:
    """Carries out what ``plan`` decides. ``client`` finds the leader."""

    def __init__(self, cluster: Cluster, disks: Disks, client: Client, seed: int) -> None:
        self._cluster = cluster
        self._disks = disks
        self._hosts = cluster.hosts
        self._client = client
        self._random = Random(seed)

    async def whole(self) -> bool:
        """Whether somebody leads and all others follow."""
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                return (await self._client.runtime()).followers == COORDINATORS - 1
        except (TimeoutError, Unavailable):
            return False

    @asynccontextmanager
    async def strike(self, kind: str) -> AsyncIterator[str]:
        """Do it, and say to whom; undo it at the end. Raises ``NothingToStrike``."""
        match kind:
            case "kill_leader" | "kill_follower":
                yield _kill(await self._coordinator(kind))
            case "stop_leader" | "stop_follower":
                process = await self._coordinator(kind)
                process.suspend()
                try:
                    yield _named(process)
                finally:
                    with suppress(psutil.NoSuchProcess):
                        process.resume()
            case "cut_leader" | "cut_follower":
                host = await self._host(kind)
                async with self._dropped([*self._from(host), *self._to(host)]):
                    yield f"host {host}"
            case "leader_hears_nobody":
                host = await self._host(kind)
                async with self._dropped(self._to(host)):
                    yield f"host {host}"
            case "nobody_hears_leader":
                host = await self._host(kind)
                async with self._dropped(self._from(host)):
                    yield f"host {host}"
            case "fill_leader" | "fill_follower":
                host = await self._host(kind)
                with self._disks.full(_seat_of(host)):
                    yield f"host {host}"
            case "lose_disk":
                process = await self._coordinator(kind)
                seat = _seat_of(self._host_of(process))
                yield self._changed(process, lambda: self._disks.lose(seat))
            case "spoil_leader" | "spoil_follower":
                process = await self._coordinator(kind)
                seat = _seat_of(self._host_of(process))
                yield self._changed(process, lambda: self._disks.spoil(seat, self._random))
            case "kill_raylet":
                host = self._random.choice([one for one in self._hosts.hosts if one != HEAD])
                yield f"host {host}, {_kill(self._one(self._cluster.find(host, 'raylet')))}"
            case _:
                yield _kill(self._one(self._cluster.everywhere(kind.removeprefix("kill_"))))

    @asynccontextmanager
    async def _dropped(self, ways: list[tuple[int, int]]) -> AsyncIterator[None]:
        self._hosts.drop(ways)
        try:
            yield
        finally:
            self._hosts.mend()

    def _to(self, host: int) -> list[tuple[int, int]]:
        return [(other, host) for other in self._hosts.hosts if other != host]

    def _from(self, host: int) -> list[tuple[int, int]]:
        return [(host, other) for other in self._hosts.hosts if other != host]

    async def _coordinator(self, kind: str) -> psutil.Process:
        """The leader's process where the kind is about it, else a follower's."""
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                leader = (await self._client.runtime()).pid
        except (TimeoutError, Unavailable) as error:
            raise NothingToStrike("nobody leads") from error
        there = self._cluster.everywhere("coordinator")
        return self._one([one for one in there if (one.pid == leader) == ("leader" in kind)])

    def _changed(self, process: psutil.Process, change: Callable[[], object]) -> str:
        """Change the disk of a process that stands still, and kill it."""
        process.suspend()
        try:
            change()
        finally:
            name = _kill(process)
        return name

    async def _host(self, kind: str) -> int:
        return self._host_of(await self._coordinator(kind))

    def _host_of(self, process: psutil.Process) -> int:
        host = self._cluster.host_of(process.pid)
        if host is None:
            raise NothingToStrike(f"{_named(process)} is on no host any more")
        return host

    def _one(self, processes: list[psutil.Process]) -> psutil.Process:
        if not processes:
            raise NothingToStrike("there is no such process")
        return self._random.choice(processes)


def _seat_of(host: int) -> int:
    """Seats are spread over the nodes by their addresses, from the driver's on."""
    return host


def _kill(process: psutil.Process) -> str:
    name = _named(process)
    process.send_signal(signal.SIGKILL)
    return name


def _named(process: psutil.Process) -> str:
    try:
        return f"{process.cmdline()[0]} ({process.pid})"
    except (psutil.NoSuchProcess, IndexError):
        return f"process {process.pid}"
