"""Members of one group, with disks and a network that a test holds in its hands."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec

from omium.consensus import (
    Batch,
    Config,
    Member,
    MemoryLogStore,
    Message,
    MessageType,
    Snapshot,
    initial_snapshot,
)
from omium.errors import OmiumError


class Journal:
    """A state machine: what it was told, in order."""

    def __init__(self) -> None:
        self.seen: list[bytes] = []

    def apply(self, index: int, command: bytes) -> str:
        self.seen.append(command)
        return f"{index}:{command.decode()}"

    def save(self) -> bytes:
        return msgspec.msgpack.encode(self.seen)

    def load(self, data: bytes) -> None:
        self.seen = msgspec.msgpack.decode(data, type=list[bytes]) if data else []


class Disk(MemoryLogStore[str]):
    """A disk that can be slow, fail once, or break for good."""

    def __init__(self, start: Snapshot | None, kept: int) -> None:
        super().__init__(Journal(), start, kept=kept)
        self.slow = False
        self.error: OmiumError | None = None
        self.waiting: list[Callable[[], None]] = []
        self.batches: list[Batch] = []

    def write(
        self, batch: Batch, done: Callable[[Sequence[str | None] | OmiumError], None]
    ) -> None:
        if self.slow:
            self.waiting.append(lambda: self._do(batch, done))
        else:
            self._do(batch, done)

    def _do(self, batch: Batch, done: Callable[[Sequence[str | None] | OmiumError], None]) -> None:
        if self.error is not None:
            done(self.error)
            return
        self.batches.append(batch)
        super().write(batch, done)

    def catch_up(self) -> None:
        """Do what waits."""
        waiting, self.waiting = self.waiting, []
        for one in waiting:
            one()


class Host:
    """Around one member: what it sends is kept by the group, what it tells by itself."""

    def __init__(self, group: Group, node_id: int, disk: Disk) -> None:
        self.id, self.disk, self._group = node_id, disk, group
        self.told: list[str] = []
        self.due = False
        self.stopped_for: OmiumError | None = None
        chance = random.Random(node_id)
        self.member = Member(
            Config(
                id=node_id,
                storage=disk.storage,
                draw=chance.randrange,
                applied=disk.applied,
                **group.options,
            ),
            disk,
            self,
        )

    @property
    def seen(self) -> list[bytes]:
        machine = self.disk.machine
        assert isinstance(machine, Journal)
        return machine.seen

    def send(self, message: Message) -> None:
        self._group.network.append(message)

    def wake(self) -> None:
        self.due = True

    def led(self, term: int) -> None:
        self.told.append(f"led {term}")

    def deposed(self) -> None:
        self.told.append("deposed")

    def stopped(self, error: OmiumError) -> None:
        self.stopped_for = error


class Group:
    """Hosts by id, and the messages on their way."""

    def __init__(self, voters: Iterable[int] = (1, 2, 3), *, kept: int = 64, **options: Any):
        self.options = options
        self.kept = kept
        self.network: list[Message] = []
        self.cut: set[int] = set()
        self.hosts: dict[int, Host] = {}
        for node_id in voters:
            self.add(node_id, initial_snapshot(voters))

    def __getitem__(self, node_id: int) -> Host:
        return self.hosts[node_id]

    def add(self, node_id: int, start: Snapshot | None = None) -> Host:
        self.hosts[node_id] = Host(self, node_id, Disk(start, self.kept))
        return self.hosts[node_id]

    def restart(self, node_id: int) -> Host:
        """Another life of a member on the same disk."""
        self.hosts[node_id] = Host(self, node_id, self.hosts[node_id].disk)
        return self.hosts[node_id]

    def elect(self, node_id: int) -> Host:
        self[node_id].member.campaign()
        self.settle()
        assert self[node_id].member.leads
        return self[node_id]

    def settle(self) -> None:
        for _ in range(10_000):
            busy = [host for host in self.hosts.values() if host.due]
            for host in busy:
                host.due = False
                host.member.work()
            if not self.deliver() and not busy:
                return
        raise AssertionError("the members do not come to rest")

    def deliver(self) -> bool:
        messages, self.network = self.network, []
        for message in messages:
            lost = message.to not in self.hosts or {message.to, message.sender} & self.cut
            if not lost:
                self[message.to].member.step(message)
            if message.type is MessageType.SNAPSHOT:
                self[message.sender].member.report_snapshot(message.to, delivered=not lost)
        return bool(messages)

    def tick(self, count: int = 1, *, only: Iterable[int] | None = None) -> None:
        for _ in range(count):
            for node_id in list(only or self.hosts):
                self[node_id].member.tick()
            self.settle()
