"""Nodes with disks and a network between them, all in memory and driven by hand.

The driver here is as short as one can be: what a disk has not synced is gone after a crash,
and messages go where the test lets them. Every step is watched by ``Laws``.
"""

from __future__ import annotations

import copy
import random
import zlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from omium.consensus import (
    ConfChange,
    ConfChangeV2,
    Config,
    Entry,
    EntryType,
    MemoryStorage,
    Message,
    MessageType,
    RawNode,
    ReadState,
    Role,
    Snapshot,
    decode_conf_change,
    initial_snapshot,
)
from omium.errors import PeerUnknown, RequestDropped
from tests.consensus.laws import Laws


class _Storage(MemoryStorage):
    """A log whose snapshots are made when they are asked for."""

    def __init__(self, disk: Disk, snapshot: Snapshot | None) -> None:
        super().__init__(snapshot)
        self._disk = disk

    def snapshot(self) -> Snapshot:
        return self.make_snapshot(self._disk.applied, str(self._disk.state).encode())


class Disk:
    """What a node writes: its log and the state that it has applied, a running checksum."""

    def __init__(self, snapshot: Snapshot | None) -> None:
        self.storage: MemoryStorage = _Storage(self, snapshot)
        self.applied = snapshot.index if snapshot else 0
        self.state = 0
        self._synced = self._copy()

    def _copy(self) -> tuple[MemoryStorage, int, int]:
        storage = copy.copy(self.storage)
        # The entries are immutable, the list that holds them is not.
        storage.__dict__ = {
            name: list(value) if isinstance(value, list) else value
            for name, value in vars(self.storage).items()
        }
        return storage, self.applied, self.state

    def sync(self) -> None:
        """Everything that was written so far survives a crash."""
        self._synced = self._copy()

    def lose_power(self) -> None:
        """What was not synced is gone."""
        self.storage, self.applied, self.state = self._synced
        self._synced = self._copy()


class Replica:
    """A node, its disk, and what its driver remembers."""

    def __init__(
        self, node_id: int, snapshot: Snapshot | None, seed: int, options: dict[str, Any]
    ) -> None:
        self.id = node_id
        self.disk = Disk(snapshot)
        self._random = random.Random(seed * 1000 + node_id)
        self._options = options
        self.applied: list[Entry] = []
        self.reads: list[ReadState] = []
        self.node = self._started()

    def _started(self) -> RawNode:
        return RawNode(
            Config(
                id=self.id,
                storage=self.disk.storage,
                draw=self._random.randrange,
                applied=self.disk.applied,
                **self._options,
            )
        )

    @property
    def log(self) -> list[tuple[int, bytes]]:
        """Term and data of every entry that is still in its log."""
        log = self.node.raft.log
        return [(entry.term, entry.data) for entry in log.entries_from(log.first_index, 2**62)]

    @property
    def committed(self) -> int:
        return self.node.raft.log.committed

    def crash(self) -> None:
        """Lose power, and start again from what was synced."""
        self.disk.lose_power()
        self.applied, self.reads = [], []
        self.node = self._started()

    def work(self, *, alive: Callable[[], bool] = lambda: True) -> list[Message]:
        """Do what the node wants done, and return what it sends.

        Where ``alive`` says no the node loses power, at that point.
        """
        node, disk = self.node, self.disk
        ready = node.ready()
        sent = list(ready.messages)
        self.reads += ready.read_states
        if ready.snapshot is not None:
            disk.storage.install(ready.snapshot)
            disk.applied, disk.state = ready.snapshot.index, int(ready.snapshot.data or b"0")
        if ready.hard_state is not None:
            disk.storage.set_hard_state(ready.hard_state)
        disk.storage.append(ready.entries)
        if ready.must_sync:
            if not alive():
                self.crash()
                return sent
            disk.sync()
        if not alive():
            self.crash()
            return sent
        sent += ready.messages_after_write
        for entry in ready.committed_entries:
            self._apply(entry)
        if not alive():
            self.crash()
            return sent
        node.advance()
        return sent

    def _apply(self, entry: Entry) -> None:
        assert entry.index == self.disk.applied + 1, "entries are applied one after the other"
        if entry.type is not EntryType.NORMAL:
            members = self.node.apply_conf_change(decode_conf_change(entry))
            self.disk.storage.set_conf_state(members)
        self.disk.applied = entry.index
        self.disk.state = zlib.crc32(entry.data, self.disk.state)
        self.applied.append(entry)

    def compact(self, *, keep: int = 0) -> Snapshot:
        """Make a snapshot of the applied state, and drop the log below, ``keep`` entries aside."""
        snapshot = self.disk.storage.make_snapshot(self.disk.applied, str(self.disk.state).encode())
        self.disk.storage.compact(max(self.disk.applied - keep, 0))
        self.disk.sync()
        return snapshot


class Cluster:
    """Replicas, and the messages on their way between them, in order."""

    def __init__(
        self,
        voters: Iterable[int] = (1, 2, 3),
        *,
        learners: Iterable[int] = (),
        seed: int = 0,
        **options: Any,
    ) -> None:
        self._seed = seed
        self._options = options
        self.start = initial_snapshot(voters, learners)
        self.replicas: dict[int, Replica] = {}
        self.network: list[Message] = []
        self.cut: set[tuple[int, int]] = set()
        self.lost: Callable[[Message], bool] = lambda _: False
        self.laws = Laws()
        members = self.start.conf_state
        for node_id in (*members.voters, *members.learners):
            self.add(node_id, self.start)

    def __getitem__(self, node_id: int) -> Replica:
        return self.replicas[node_id]

    def add(self, node_id: int, start: Snapshot | None = None) -> Replica:
        """Start a node; from nothing, it knows of nobody and waits to be sent a snapshot."""
        replica = Replica(node_id, start, self._seed, self._options)
        self.replicas[node_id] = replica
        return replica

    @property
    def leader(self) -> Replica:
        """The one that leads the highest term."""
        leaders = [one for one in self.replicas.values() if one.node.role is Role.LEADER]
        return max(leaders, key=lambda one: one.node.term)

    # ---- what happens

    def elect(self, node_id: int) -> Replica:
        """Let ``node_id`` start an election, and win it."""
        self[node_id].node.campaign()
        self.settle()
        assert self[node_id].node.role is Role.LEADER
        return self[node_id]

    def propose(self, *data: bytes) -> None:
        """Let the leader propose, and everything settle."""
        self.leader.node.propose(*data)
        self.settle()

    def change(self, change: ConfChange | ConfChangeV2) -> None:
        """Let the leader propose a change of members, and everything settle."""
        self.leader.node.propose_conf_change(change)
        self.settle()

    def tick(self, count: int = 1, *, only: Sequence[int] = ()) -> None:
        """Let time pass, and everything settle after each tick."""
        for _ in range(count):
            for node_id in only or list(self.replicas):
                self[node_id].node.tick()
            self.settle()

    def settle(self) -> None:
        """Do all that is to be done and deliver all that is sent, until nothing is left."""
        for _ in range(10_000):
            if not self.work() and not self.deliver():
                return
        raise AssertionError("the nodes do not come to rest")

    def work(self, *node_ids: int) -> bool:
        """Let nodes do what they want done; False where none had anything to do."""
        busy = False
        for node_id in node_ids or list(self.replicas):
            replica = self[node_id]
            if replica.node.has_ready():
                busy = True
                self.network += replica.work()
                self.laws.check(self.replicas)
        return busy

    def deliver(self) -> bool:
        """Deliver what is on its way; False where that is nothing."""
        messages, self.network = self.network, []
        for message in messages:
            self.hand_over(message)
        return bool(messages)

    def hand_over(self, message: Message) -> None:
        """Deliver one message, if there is a way to where it goes."""
        target = self.replicas.get(message.to)
        if target is None or (message.sender, message.to) in self.cut or self.lost(message):
            self.drop(message)
            return
        try:
            target.node.step(message)
        except (PeerUnknown, RequestDropped):
            return
        finally:
            self.laws.check(self.replicas)
        if message.type is MessageType.SNAPSHOT:
            self[message.sender].node.report_snapshot(message.to, delivered=True)

    def drop(self, message: Message) -> None:
        """Lose a message. Who sends a snapshot gets to know of it, as over a connection."""
        if message.type is MessageType.SNAPSHOT:
            self[message.sender].node.report_snapshot(message.to, delivered=False)

    # ---- the network

    def isolate(self, *node_ids: int) -> None:
        """Cut ``node_ids`` off from all others, both ways."""
        for one in node_ids:
            for other in set(self.replicas) - set(node_ids):
                self.cut |= {(one, other), (other, one)}

    def heal(self) -> None:
        """Let every message through again."""
        self.cut.clear()
        self.lost = lambda _: False
