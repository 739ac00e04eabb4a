"""A simulated group: its members, who comes and who goes, and who leads as far as one can see.

It knows what an operator knows who sees everything: which disks are lost, and which members the
group has by now. It puts new members beside those that are lost and shuts down those that have
left; who is taken in, and when it gets a vote, is for the group to decide (see ``Node``).
"""

from __future__ import annotations

from collections.abc import Callable

from omium.actors.group.talk import SEATS, seat_of
from omium.consensus import Role, Snapshot, initial_snapshot
from omium.consensus.membership import Membership
from omium.testing.sim.laws import Laws
from omium.testing.sim.network import Network
from omium.testing.sim.node import Node, Options
from omium.testing.sim.service import Service
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
        lag_max: int,
    ) -> None:
        self.laws = Laws()
        self.nodes: dict[int, Node] = {}
        self._world = world
        self._network = network
        self._service = service
        self._options = options
        self._kept = kept
        self._lag_max = lag_max
        self._members = Membership(voters=frozenset(range(1, size + 1)))
        # Who is on its way into the group, and who was before it, into the same seat.
        self._newcomer: int | None = None
        self._gone: list[int] = []
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
            lag_max=self._lag_max,
            peers=lambda: [one for one in self.nodes if one != member_id],
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
        # A newcomer that is lost may be about to get a vote.
        lost = {one for one in members.all_voters if self.nodes[one].rotten} | {*self._gone}
        return min((size - 1) // 2 for size in sizes) - len(lost) if not members.joint else 0

    def restart(self, node: Node) -> None:
        """Let a node come up that is down, if it can."""
        if not node.process.running and self.sound(node):
            node.process.restart()
            node.boot()

    # ---- members that come and go

    def replace(self, member_id: int) -> bool:
        """Begin to put a new member in the place of ``member_id``; False where one is under way."""
        if self._newcomer is not None or member_id not in self.members.voters:
            return False
        self._world.note(f"replace {member_id}")
        self._begin(seat_of(member_id))
        return True

    def lose_newcomer(self) -> bool:
        """The disk of a newcomer is lost before it has a vote, and another one comes in its place;
        False where none is on its way, or too many are lost already."""
        one = self._newcomer
        if one is None or one in self.members.all_voters or self.spare < 1:
            return False
        self._world.note(f"lose {one}")
        node = self.nodes[one]
        node.rotten, node.found = "all of it", True
        node.process.crash()
        self._gone.append(one)
        self._begin(seat_of(one))
        return True

    def _begin(self, seat: int) -> None:
        before = max(one for one in self.nodes if seat_of(one) == seat)
        self._newcomer = self._add(before + SEATS, None).id

    def manage(self) -> None:
        """What an operator does now and then: replace what is lost, and shut down who has left."""
        members = self.members
        if self._newcomer is None:
            lost = [one for one in sorted(members.voters) if self.nodes[one].found]
            if lost:
                self.replace(lost[0])
        elif self._newcomer in members.voters and not any(
            seat_of(one) == seat_of(self._newcomer) and one != self._newcomer
            for one in members.all_voters
        ):
            self._newcomer = None
            self._gone.clear()
        self._shut_down()

    def _shut_down(self) -> None:
        """End the members that have left, once all that stay have applied that."""
        members = self.members
        if members.joint:
            return
        for node in self.nodes.values():
            if members.includes(node.id) or node.id in self._left:
                continue
            if node.id == self._newcomer:
                continue
            if all(
                self.nodes[one].up and not self.nodes[one].raft.tracker.membership.includes(node.id)
                for one in members.voters
            ):
                self._left.add(node.id)
                node.process.crash()
