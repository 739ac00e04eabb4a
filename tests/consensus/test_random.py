"""Groups under faults at random, and the safety properties of Raft after every step.

The network loses, repeats, reorders and delays; it is cut in one direction or both; nodes lose
power at every point of their work, and with it what they had not synced; members come and go.
A seed that fails is printed in the name of its test and fails again.
"""

from __future__ import annotations

import random

import pytest

from omium.consensus import (
    ConfChangeSingle,
    ConfChangeTransition,
    ConfChangeType,
    ConfChangeV2,
    Message,
    Role,
)
from omium.errors import RequestDropped
from tests.consensus.cluster import Cluster, Replica

NODES = range(1, 6)
STEPS = 4000


class Chaos:
    """A cluster to which anything may happen, as ``seed`` has it."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        members = self.random.choice([(1,), (1, 2, 3), (1, 2, 3), (1, 2, 3, 4, 5)])
        self.cluster = Cluster(
            members,
            seed=seed,
            pre_vote=self.random.random() < 0.7,
            check_quorum=self.random.random() < 0.7,
            inflight_messages_max=self.random.choice([2, 64]),
            message_bytes_max=self.random.choice([60, 10_000]),
            committed_bytes_max=self.random.choice([60, 10_000]),
        )
        for node_id in set(NODES) - set(members):
            self.cluster.add(node_id)
        self.proposed = 0
        self.reads: dict[bytes, int] = {}
        self.served = 0
        self._actions = {
            self.tick: 25,
            self.deliver: 90,
            self.work: 60,
            self.propose: 8,
            self.read: 4,
            self.repeat: 4,
            self.lose: 3,
            self.cut: 1,
            self.heal: 2,
            self.crash: 1,
            self.compact: 1,
            self.change: 1,
            self.transfer: 1,
            self.unreachable: 1,
        }

    def run(self, steps: int) -> None:
        actions = self.random.choices(
            list(self._actions), weights=list(self._actions.values()), k=steps
        )
        for action in actions:
            action()
            self.cluster.laws.check(self.cluster.replicas)

    # ---- what happens

    def _anyone(self) -> Replica:
        return self.cluster[self.random.choice(NODES)]

    def tick(self) -> None:
        self._anyone().node.tick()

    def _taken(self) -> Message | None:
        network = self.cluster.network
        if not network:
            return None
        # Mostly in order, for a while.
        last = len(network) if self.random.random() < 0.2 else min(len(network), 3)
        return network.pop(self.random.randrange(last))

    def deliver(self) -> None:
        for _ in range(self.random.randrange(4)):
            message = self._taken()
            if message is not None:
                self.cluster.hand_over(message)

    def repeat(self) -> None:
        if self.cluster.network:
            message = self.random.choice(self.cluster.network)
            self.cluster.network.append(message)

    def lose(self) -> None:
        message = self._taken()
        if message is not None:
            self.cluster.drop(message)

    def work(self) -> None:
        replica = self._anyone()
        if replica.node.has_ready():
            self.cluster.network += replica.work(alive=lambda: self.random.random() > 0.01)
            self._check_reads(replica)

    def _leader_or_anyone(self) -> Replica:
        leads = any(one.node.role is Role.LEADER for one in self.cluster.replicas.values())
        return self.cluster.leader if leads and self.random.random() < 0.7 else self._anyone()

    def propose(self) -> None:
        self.proposed += 1
        try:
            self._leader_or_anyone().node.propose(b"%d" % self.proposed)
        except RequestDropped:
            return

    def cut(self) -> None:
        one, other = self.random.sample(NODES, 2)
        kind = self.random.randrange(3)
        if kind == 0:
            self.cluster.cut.add((one, other))
        elif kind == 1:
            self.cluster.isolate(one)
        else:
            self.cluster.isolate(one, other)

    def heal(self) -> None:
        self.cluster.heal()

    def crash(self) -> None:
        self._anyone().crash()

    def compact(self) -> None:
        self._anyone().compact(keep=self.random.randrange(4))

    def change(self) -> None:
        changes = tuple(
            ConfChangeSingle(
                type=self.random.choice(list(ConfChangeType)), node_id=self.random.choice(NODES)
            )
            for _ in range(self.random.choice([0, 1, 1, 1, 2, 3]))
        )
        transition = self.random.choice(list(ConfChangeTransition))
        if not changes:
            transition = ConfChangeTransition.AUTO
        try:
            self._leader_or_anyone().node.propose_conf_change(
                ConfChangeV2(transition=transition, changes=changes)
            )
        except RequestDropped:
            return

    def transfer(self) -> None:
        try:
            self._anyone().node.transfer_leader(self.random.choice(NODES))
        except RequestDropped:
            return

    def unreachable(self) -> None:
        self._anyone().node.report_unreachable(self.random.choice(NODES))

    # ---- linearizable reads

    def read(self) -> None:
        context = b"r%d" % len(self.reads)
        self.reads[context] = max(self.cluster.laws.committed, default=0)
        try:
            self._leader_or_anyone().node.read_index(context)
        except RequestDropped:
            return

    def _check_reads(self, replica: Replica) -> None:
        """A read sees at least what was committed anywhere before it was asked for."""
        for read in replica.reads:
            assert read.index >= self.reads[read.context], f"stale read {read.context!r}"
            self.served += 1
        replica.reads.clear()

    # ---- the end

    def recover(self) -> None:
        """With the faults over, the members get on, and lose nothing that was committed."""
        cluster, committed = self.cluster, dict(self.cluster.laws.committed)
        cluster.heal()
        for _ in range(300):
            cluster.tick()
            if self._leads() and self._agree():
                break
        else:
            raise AssertionError("the members do not come to agree")
        leader = cluster.leader.node.raft.log
        for index, term in committed.items():
            assert index < leader.first_index or leader.term(index) == term
        assert leader.committed >= max(committed, default=0)

    def _leads(self) -> bool:
        leaders = [one for one in self.cluster.replicas.values() if one.node.role is Role.LEADER]
        if not leaders:
            return False
        leader = self.cluster.leader
        try:
            if leader.node.raft.tracker.membership.joint:
                leader.node.propose_conf_change(ConfChangeV2())
            leader.node.propose(b"end")
        except RequestDropped:
            return False
        self.cluster.settle()
        return leader.node.role is Role.LEADER

    def _agree(self) -> bool:
        leader = self.cluster.leader
        membership = leader.node.raft.tracker.membership
        states = {
            (self.cluster[node_id].disk.applied, self.cluster[node_id].disk.state)
            for node_id in membership.all_voters | membership.learners
        }
        return len(states) == 1 and leader.committed == leader.node.raft.log.last_index


@pytest.mark.parametrize("seed", range(40))
def test_the_laws_hold_under_faults(seed: int) -> None:
    chaos = Chaos(seed)
    chaos.run(STEPS)
    chaos.recover()


def test_the_faults_do_something() -> None:
    """Else the laws above would hold of nothing."""
    runs = [Chaos(seed) for seed in range(8)]
    for chaos in runs:
        chaos.run(STEPS)
    assert sum(len(chaos.cluster.laws.leaders) for chaos in runs) > 8
    assert sum(len(chaos.cluster.laws.committed) for chaos in runs) > 200
    assert sum(chaos.served for chaos in runs) > 20


def test_the_same_seed_is_the_same_run() -> None:
    def trace(seed: int) -> list[object]:
        chaos = Chaos(seed)
        chaos.run(800)
        replicas = chaos.cluster.replicas.values()
        return [chaos.cluster.network, chaos.cluster.laws.committed, [one.log for one in replicas]]

    assert trace(3) == trace(3)
    assert trace(3) != trace(4)
