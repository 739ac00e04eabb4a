"""A simulated group: its members, who comes and who goes, and who leads as far as one can see.

It knows what an operator knows who sees everything: which disks are lost, and which members the
group has by now. It changes members only as an operator could, through the leader.
"""

from __future__ import annotations

from collections.abc import Callable

from omium.consensus import (
    ConfChangeSingle,
    ConfChangeTransition,
    ConfChangeType,
    ConfChangeV2,
    Member,
    Role,
    Snapshot,
    initial_snapshot,
)
from omium.consensus.membership import Membership
from omium.errors import ConsensusError
from omium.testing.sim.laws import Laws
from omium.testing.sim.network import Network
from omium.testing.sim.node import Node, Options
from omium.testing.sim.service import Applied, Service
from omium.testing.sim.world import World


class Group:
    """See the module's docstring. Begins with ``size`` members, ids from 1."""

    def __init__(
        self,
        world: World,
        network: Network,
        size: int,
        *,
        service: Callable[[], Service],
        options: Options,
        kept: int,
    ) -> None:
        self.laws = Laws()
        self.nodes: dict[int, Node] = {}
        self._world = world
        self._network = network
        self._service = service
        self._options = options
        self._kept = kept
        self._members = Membership(voters=frozenset(range(1, size + 1)))
        self._replacing: tuple[int, int] | None = None
        self._left: set[int] = set()
        start = initial_snapshot(range(1, size + 1))
        for member_id in range(1, size + 1):
            self._add(member_id, start)

    def _add(self, member_id: int, start: Snapshot | None) -> Node:
        node = self.nodes[member_id] = Node(
            self._world,
            self._network,
            self.laws,
            member_id,
            start=start,
            service=self._service,
            options=self._options,
            kept=self._kept,
        )
        node.boot()
        return node

    # ---- looking

    @property
    def leader(self) -> Node | None:
        """The node that leads the highest term of those that are up."""
        leaders = [n for n in self.nodes.values() if n.up and n.raft.role is Role.LEADER]
        return max(leaders, key=lambda node: node.raft.term, default=None)

    @property
    def members(self) -> Membership:
        """The members as the node knows them that has applied most."""
        known = [n for n in self.nodes.values() if n.up]
        newest = max(known, key=lambda node: (node.applied, node.id), default=None)
        if newest is not None and newest.raft.tracker.membership.voters:
            self._members = newest.raft.tracker.membership
        return self._members

    def ids(self) -> list[int]:
        """Whom a client may ask."""
        members = self.members
        return sorted(members.all_voters | members.learners)

    def sound(self, node: Node) -> bool:
        """Whether a node has a disk to come back from, and was not taken out of the group."""
        return not node.found and node.id not in self._left

    @property
    def spare(self) -> int:
        """How many voters may be lost for good besides those that are."""
        members = self.members
        sizes = [len(half) for half in (members.voters, members.outgoing) if half]
        lost = sum(bool(self.nodes[one].rotten) for one in members.all_voters)
        return min((size - 1) // 2 for size in sizes) - lost if not members.joint else 0

    def restart(self, node: Node) -> None:
        """Let a node come up that is down, if it can."""
        if not node.process.running and self.sound(node):
            node.process.restart()
            node.boot()

    # ---- members that come and go

    def replace(self, member_id: int) -> bool:
        """Begin to put a new member in the place of ``member_id``; False where one is under way."""
        if self._replacing is not None or member_id not in self.members.voters:
            return False
        newcomer = self._add(max(self.nodes) + 1, None)
        self._replacing = (member_id, newcomer.id)
        self._world.note(f"replace {member_id} by {newcomer.id}")
        return True

    def manage(self) -> None:
        """What an operator does now and then: go on with a change, replace what is lost, and
        shut down who has left."""
        members = self.members
        if self._replacing is None:
            lost = [one for one in sorted(members.voters) if self.nodes[one].found]
            if lost:
                self.replace(lost[0])
        if self._replacing is not None:
            old, new = self._replacing
            if new in members.voters and old not in members.all_voters:
                self._replacing = None
            else:
                self._ask(old, new)
        self._shut_down()

    def _ask(self, old: int, new: int) -> None:
        leader = self.leader
        if leader is None or leader.member is None or self.members.joint:
            return
        members = leader.raft.tracker.membership
        learner = leader.raft.tracker.progress.get(new)
        if new not in members.learners:
            changes = ((ConfChangeType.ADD_LEARNER_NODE, new),)
        elif learner is not None and learner.match < leader.raft.log.committed:
            # It has still to catch up: a voter that lags is no help.
            return
        else:
            changes = ((ConfChangeType.ADD_NODE, new), (ConfChangeType.REMOVE_NODE, old))
        change = ConfChangeV2(
            transition=ConfChangeTransition.AUTO,
            changes=tuple(ConfChangeSingle(type=kind, node_id=one) for kind, one in changes),
        )
        _propose(leader.member, change)

    def _shut_down(self) -> None:
        """End the members that have left, once all that stay have applied that."""
        members = self.members
        if members.joint:
            return
        for node in self.nodes.values():
            if members.includes(node.id) or node.id in self._left:
                continue
            if self._replacing is not None and node.id == self._replacing[1]:
                continue
            if all(
                self.nodes[one].up and not self.nodes[one].raft.tracker.membership.includes(node.id)
                for one in members.voters
            ):
                self._left.add(node.id)
                node.process.crash()


def _propose(member: Member[Applied], change: ConfChangeV2) -> None:
    try:
        member.change_members(change)
    except ConsensusError:
        return
