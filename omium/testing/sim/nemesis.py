"""What goes wrong in a run, when, and to whom: all of it drawn from the seed.

Each fault is one method; ``FAULTS`` says how often. It does nothing that no group could bear: a
disk is lost for good only where a majority of disks is left.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from omium.testing.sim.disk import DiskFaults
from omium.testing.sim.group import Group
from omium.testing.sim.network import Network, NetworkFaults
from omium.testing.sim.node import Node
from omium.testing.sim.world import World

PACE_US_MIN = 10_000
DOWN_US_MAX = 300_000
PAUSE_US_MAX = 450_000
JUMP_US_MAX = 3_600_000_000
STEPS_MAX = 12
SUSPICIONS_US = (0, 20_000, 60_000, 140_000)
"""When a stream that finds nobody says so: as often as it tries to connect."""

QUIET = NetworkFaults()


class Nemesis:
    """See the module's docstring. ``counts`` are of what was done; ``pace_us_max`` is the longest
    time between two faults."""

    def __init__(self, world: World, network: Network, group: Group, *, pace_us_max: int) -> None:
        self.counts: Counter[str] = Counter()
        self._world = world
        self._network = network
        self._group = group
        self._random = world.random("nemesis")
        self._ended = False
        self._pace_us_max = pace_us_max
        self._next()

    def end(self) -> None:
        """Mend everything; who is down is left to the operator."""
        self._ended = True
        self._network.heal()
        self._network.faults = QUIET
        for node in self._group.nodes.values():
            node.disk.faults = DiskFaults()
            node.process.crash_in(None)
            node.process.resume()

    def _next(self) -> None:
        delay_us = self._random.randint(PACE_US_MIN, self._pace_us_max)
        self._world.after(delay_us, "nemesis", self._strike)

    def _strike(self) -> None:
        if self._ended:
            return
        (fault,) = self._random.choices(list(FAULTS), weights=list(FAULTS.values()))
        self.counts[fault.__name__] += 1
        fault(self)
        self._next()

    # ---- whom

    def _victim(self) -> Node | None:
        """A running member; the leader more often than others."""
        leader = self._group.leader
        if leader is not None and self._random.random() < 0.4:
            return leader
        running = [n for n in self._group.nodes.values() if n.process.running]
        return self._random.choice(running) if running else None

    def _sides(self) -> tuple[list[str], list[str]]:
        names = [node.process.name for node in self._group.nodes.values()]
        self._random.shuffle(names)
        cut = self._random.randrange(1, len(names)) if len(names) > 1 else 0
        return names[:cut], names[cut:]

    def _come_back(self, node: Node) -> None:
        self._world.after(
            self._random.randrange(DOWN_US_MAX), "come back", lambda: self._group.restart(node)
        )

    # ---- processes

    def power_cut(self) -> None:
        """A machine loses power."""
        if (node := self._victim()) is not None:
            node.process.crash()
            self._come_back(node)

    def power_cut_soon(self) -> None:
        """A machine loses power between some two steps of what it does next."""
        if (node := self._victim()) is not None:
            node.process.crash_in(self._random.randrange(STEPS_MAX))
            self._come_back(node)

    def power_cut_of_all(self) -> None:
        """All machines lose power at once."""
        for node in self._group.nodes.values():
            node.process.crash()
            self._come_back(node)

    def kill(self) -> None:
        """A process is killed; its machine goes on."""
        if (node := self._victim()) is not None:
            node.process.kill()
            self._come_back(node)

    def pause(self) -> None:
        """A process stands still."""
        if (node := self._victim()) is not None:
            node.process.pause()
            self._world.after(self._random.randrange(PAUSE_US_MAX), "go on", node.process.resume)

    def jump(self) -> None:
        """A clock is set wrong, of a member or of a client."""
        process = self._random.choice(sorted(self._world.processes.values(), key=lambda p: p.name))
        process.jump(self._random.randint(-JUMP_US_MAX, JUMP_US_MAX))

    def come_back(self) -> None:
        """Who is down comes up."""
        for node in self._group.nodes.values():
            self._group.restart(node)

    # ---- the network

    def partition(self) -> None:
        self._network.partition(*self._sides())

    def one_way(self) -> None:
        self._network.cut_one_way(*self._sides())

    def bridge(self) -> None:
        one, other = self._sides()
        if len(one) > 1:
            self._network.bridge(one[1:], other, one[0])

    def isolate_leader(self) -> None:
        """The leader hears all others, or they hear it, or neither."""
        leader = self._group.leader
        if leader is None:
            return
        rest = [n.process.name for n in self._group.nodes.values() if n is not leader]
        own = [leader.process.name]
        kind = self._random.randrange(3)
        if kind != 1:
            self._network.cut_one_way(own, rest)
        if kind != 0:
            self._network.cut_one_way(rest, own)

    def heal(self) -> None:
        self._network.heal()

    def weather(self) -> None:
        """The network becomes worse or better."""
        if self._random.random() < 0.4:
            self._network.faults = QUIET
            return
        self._network.faults = NetworkFaults(
            delay_us_max=self._random.choice([2_000, 20_000, 100_000]),
            drop=self._random.choice([0.0, 0.05, 0.3]),
            duplicate=self._random.choice([0.0, 0.1, 0.5]),
            reorder=self._random.choice([0.0, 0.2, 0.9]),
        )

    # ---- disks

    def disk(self) -> None:
        """A disk becomes slow, full or faulty, or is mended."""
        if (node := self._victim()) is None:
            return
        used = node.disk.used_bytes()
        node.disk.faults = self._random.choice(
            [
                DiskFaults(),
                DiskFaults(fsync_us_min=20_000, fsync_us_max=120_000),
                DiskFaults(fsync_us_max=20_000, lost=0.2, torn=0.6),
                DiskFaults(bytes_max=used + self._random.randrange(600)),
                DiskFaults(fsync_fails=0.3),
            ]
        )

    def rot(self) -> None:
        """A bit of a disk flips, and its machine loses power: it must not come back from that."""
        node = self._victim()
        if node is None or node.store is None or self._group.spare < 1:
            return
        if node.id not in self._group.members.voters:
            return
        guarded = node.store.guarded_bytes
        if guarded and node.store.name in node.disk.names():
            node.disk.flip_bit(node.store.name, bytes_max=guarded)
            node.rotten = node.store.name
            node.process.crash()
            self._come_back(node)

    # ---- members

    def replace(self) -> None:
        """A member is replaced by a new one, whether it is up or not."""
        self._group.replace(self._random.choice(sorted(self._group.members.voters)))

    def lose_newcomer(self) -> None:
        """Who is to take the place of a member is lost before it has."""
        self._group.lose_newcomer()

    def transfer(self) -> None:
        """The leader hands over."""
        leader = self._group.leader
        if leader is not None and leader.member is not None:
            leader.member.transfer(self._random.choice(self._group.ids()))

    def suspect(self) -> None:
        """A member takes its leader for dead, and is told so again like by a real stream."""
        if (node := self._victim()) is None or (member := node.member) is None:
            return
        lead = node.raft.lead
        for delay_us in SUSPICIONS_US:
            node.process.after(delay_us, "suspect", lambda: member.suspect(lead))


FAULTS: dict[Callable[[Nemesis], None], int] = {
    Nemesis.power_cut: 4,
    Nemesis.power_cut_soon: 8,
    Nemesis.power_cut_of_all: 1,
    Nemesis.kill: 3,
    Nemesis.pause: 4,
    Nemesis.jump: 1,
    Nemesis.come_back: 6,
    Nemesis.partition: 3,
    Nemesis.one_way: 2,
    Nemesis.bridge: 2,
    Nemesis.isolate_leader: 5,
    Nemesis.heal: 8,
    Nemesis.weather: 5,
    Nemesis.disk: 6,
    Nemesis.rot: 1,
    Nemesis.replace: 1,
    Nemesis.lose_newcomer: 3,
    Nemesis.transfer: 3,
    Nemesis.suspect: 1,
}
"""How often each fault is drawn, in parts."""
