"""Who is lost is replaced as the group decides by itself, and so is a newcomer that is lost."""

from __future__ import annotations

from omium.testing.sim.group import Group
from omium.testing.sim.network import Network
from omium.testing.sim.registers import Registers
from omium.testing.sim.world import World

TURN_US = 100_000


def group_in(world: World) -> Group:
    return Group(
        world,
        Network(world),
        3,
        service=Registers,
        options={"election_ticks": 6, "heartbeat_ticks": 2},
        kept=16,
        lag_max=0,
    )


def goes_on(world: World, group: Group, turns: int = 50) -> None:
    for _ in range(turns):
        group.manage()
        world.run(until_us=world.now_us + TURN_US)


def test_a_newcomer_gets_the_seat_of_who_was_lost() -> None:
    world = World(1)
    group = group_in(world)
    goes_on(world, group)
    lost = group.nodes[2]
    lost.rotten, lost.found = "all of it", True
    lost.process.crash()
    goes_on(world, group)
    assert group.members.voters == {1, 18, 3}
    assert not group.members.learners


def test_a_leader_that_runs_is_replaced_and_shut_down() -> None:
    world = World(2)
    group = group_in(world)
    goes_on(world, group)
    assert group.leader is not None
    leader = group.leader.id
    assert group.replace(leader)
    assert not group.replace(leader), "one at a time"
    goes_on(world, group)
    assert group.members.voters == {1, 2, 3, leader + 16} - {leader}
    assert not group.nodes[leader].process.running


def test_a_newcomer_that_is_lost_is_followed_by_another() -> None:
    world = World(3)
    group = group_in(world)
    assert not group.lose_newcomer()
    goes_on(world, group)
    assert group.replace(3)
    # It is a learner before it has caught up with all of the log.
    while 19 not in group.members.learners:
        world.run(until_us=world.now_us + 1_000)
    assert group.spare == 1
    assert group.lose_newcomer()
    assert group.spare == 0
    assert not group.lose_newcomer(), "nobody else may be lost now"
    goes_on(world, group)
    assert group.members.voters == {1, 2, 35}
    assert not group.members.learners
    assert group.spare == 1
