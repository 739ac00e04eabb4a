"""A runtime in one event loop whose coordinator is a group: real disks, streams and elections.

Seats can be stopped, started again, and started with their disk lost; one that finds its disk
damaged is started again, as Ray would. Streams between them can be led through proxies of the
test's own.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from omium.actors.group.opening import whole
from omium.actors.group.seat import GroupSettings, Seat, Timing
from omium.actors.group.talk import SEATS
from omium.actors.link import Address
from omium.consensus import NONE, Role, Status, initial_snapshot
from omium.ports import free_ports
from omium.storage.group_store import GroupStore
from omium.storage.replica import Replica
from omium.testing.runtime import HOST, InProcessRuntime

QUICK_TIMING = Timing(tick_s=0.03)
WAIT_S = 20.0

Route = Callable[[int, int, Address], Address]
"""Where one seat reaches another, given where that one listens."""


class InProcessGroup(InProcessRuntime):
    """See the module's docstring. Used as ``InProcessRuntime`` is."""

    def __init__(
        self,
        directory: Path,
        *,
        coordinators: int = 3,
        timing: Timing = QUICK_TIMING,
        route: Route = lambda _, __, address: address,
        **options: Any,
    ) -> None:
        super().__init__(directory, **options)
        self._numbers = range(1, coordinators + 1)
        self._timing = timing
        self._route = route
        ports = free_ports(2 * coordinators)
        self._peer_addresses = {n: (HOST, ports[n - 1]) for n in self._numbers}
        self._own_addresses = {n: (HOST, ports[coordinators + n - 1]) for n in self._numbers}
        self.seats: dict[int, Seat] = {}
        self._lives = 0
        self._starting: list[asyncio.Task[None]] = []

    @property
    def addresses(self) -> Sequence[Address]:
        return tuple(self._own_addresses.values())

    @property
    def peer_addresses(self) -> Sequence[Address]:
        """Where the seats listen for one another."""
        return tuple(self._peer_addresses.values())

    def address_of(self, seat: int) -> Address:
        """Where that seat listens for clients while it leads."""
        return self._own_addresses[seat]

    def folder(self, seat: int) -> Path:
        """The disk of a seat."""
        return self._directory / f"seat-{seat}"

    def replica_of(self, seat: int) -> Replica:
        """What a seat has applied."""
        return self.seats[seat].store.replica

    def status(self, seat: int) -> Status:
        return self.seats[seat].member.status()

    async def start_coordinator(self) -> None:
        for number in self._numbers:
            await self.start_seat(number, forming=True)
        await self._elect(1)

    async def _elect(self, number: int) -> None:
        """Have a seat lead without waiting for a time-out: it asks until the others hear it."""
        async with asyncio.timeout(WAIT_S):
            while self.status(number).soft_state.lead == NONE:
                if self.status(number).soft_state.role is not Role.CANDIDATE:
                    self.seats[number].member.campaign()
                await asyncio.sleep(0.01)
        await self.leader()

    async def start_seat(self, number: int, *, forming: bool = False) -> Seat:
        """Start a seat on its disk, or, where that is lost, as a newcomer."""
        self._lives += 1
        store = whole(
            self.folder(number),
            f"{self._lives:03d}",
            lambda forming: GroupStore.open(
                self.folder(number),
                owner=f"test process {os.getpid()}",
                group="tested",
                first_id=number,
                start=initial_snapshot(self._numbers) if forming else None,
                new_id=lambda: number + SEATS * self._lives,
            ),
            forming=forming,
        )
        settings = GroupSettings(
            seat=number,
            peers={
                other: address if other == number else self._route(number, other, address)
                for other, address in self._peer_addresses.items()
            },
            coordinators=self._own_addresses,
            secret=self._secret,
            timing=self._timing,
        )
        seat = self.seats[number] = Seat(
            settings,
            store,
            self._make_coordinator,
            on_damaged=lambda: self._starting.append(asyncio.ensure_future(self._again(number))),
        )
        await seat.start()
        return seat

    async def _again(self, number: int) -> None:
        """As Ray starts a process again that has ended itself."""
        await self.stop_seat(number)
        await self.start_seat(number)

    async def stop_seat(self, number: int, *, wipe: bool = False) -> None:
        """Stop a seat as a crash would; with ``wipe`` its disk is lost, too."""
        await self.seats.pop(number).stop()
        if wipe:
            shutil.rmtree(self.folder(number))

    async def leader(self, *, but: int = 0) -> int:
        """The seat that leads and listens, another one than ``but``; waits until there is one."""
        async with asyncio.timeout(WAIT_S):
            while True:
                for number, seat in self.seats.items():
                    if number != but and seat.member.leads and seat.coordinator is not None:
                        return number
                await asyncio.sleep(0.005)

    async def agreed(self) -> int:
        """Wait until all seats have applied the same index, which is returned."""
        async with asyncio.timeout(WAIT_S):
            while True:
                found = {seat.member.applied for seat in self.seats.values()}
                if len(found) == 1:
                    return found.pop()
                await asyncio.sleep(0.005)

    async def _stop_coordinators(self) -> None:
        await asyncio.gather(*self._starting)
        for number in list(self.seats):
            await self.stop_seat(number)

    def tick(self, late_s: float = 0.0) -> None:
        for seat in self.seats.values():
            if seat.coordinator is not None:
                seat.coordinator.tick(late_s)
