"""The faults themselves: each is done, lasts, and is undone, whatever else happens."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from random import Random

import psutil

from benchmarks.chaos.cluster import COORDINATORS, HEAD, Cluster
from benchmarks.chaos.disks import Disks
from omium.actors.client import Client
from omium.errors import Unavailable

ANSWER_TIMEOUT_S = 5.0
AWAKE_S = 3.0
SEATS = range(1, COORDINATORS + 1)


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
                with _stopped(process):
                    yield _named(process)
            case "leader_wakes_cut_off":
                process = await self._coordinator(kind)
                seat = self._seat_of(process)
                async with self._dropped([*_from(seat), *_to(seat)]):
                    with _stopped(process):
                        yield _named(process)
                    # It takes itself for the leader until it has missed its followers.
                    await asyncio.sleep(AWAKE_S)
            case "cut_leader" | "cut_follower":
                seat = await self._seat(kind)
                async with self._dropped([*_from(seat), *_to(seat)]):
                    yield f"seat {seat}"
            case "leader_hears_nobody":
                seat = await self._seat(kind)
                async with self._dropped(_to(seat)):
                    yield f"seat {seat}"
            case "nobody_hears_leader":
                seat = await self._seat(kind)
                async with self._dropped(_from(seat)):
                    yield f"seat {seat}"
            case "fill_leader" | "fill_follower":
                seat = await self._seat(kind)
                with self._disks.full(seat):
                    yield f"seat {seat}"
            case "lose_disk":
                process = await self._coordinator(kind)
                seat = self._seat_of(process)
                yield self._changed(process, lambda: self._disks.lose(seat))
            case "spoil_leader" | "spoil_follower":
                process = await self._coordinator(kind)
                seat = self._seat_of(process)
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

    async def _seat(self, kind: str) -> int:
        return self._seat_of(await self._coordinator(kind))

    def _seat_of(self, process: psutil.Process) -> int:
        seat = self._cluster.seat_of(process)
        if seat is None:
            raise NothingToStrike(f"{_named(process)} has no seat")
        return seat

    def _one(self, processes: list[psutil.Process]) -> psutil.Process:
        if not processes:
            raise NothingToStrike("there is no such process")
        return self._random.choice(processes)


def _to(seat: int) -> list[tuple[int, int]]:
    return [(other, seat) for other in SEATS if other != seat]


def _from(seat: int) -> list[tuple[int, int]]:
    return [(seat, other) for other in SEATS if other != seat]


@contextmanager
def _stopped(process: psutil.Process) -> Iterator[None]:
    process.suspend()
    try:
        yield
    finally:
        with suppress(psutil.NoSuchProcess):
            process.resume()


def _kill(process: psutil.Process) -> str:
    name = _named(process)
    process.send_signal(signal.SIGKILL)
    return name


def _named(process: psutil.Process) -> str:
    try:
        return f"{process.cmdline()[0]} ({process.pid})"
    except (psutil.NoSuchProcess, IndexError):
        return f"process {process.pid}"
