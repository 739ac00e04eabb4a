"""Each fault of the network, by itself."""

from __future__ import annotations

import pytest

from omium.errors import Conflict, NotFound
from omium.testing.sim import Network, NetworkFaults, World

COUNT = 200


class Stage:
    """Nodes ``a`` to ``e``, and what each of them heard."""

    def __init__(self, faults: NetworkFaults | None = None) -> None:
        self.world = World(1)
        self.network = Network(self.world, faults)
        self.heard: dict[str, list[tuple[str, int]]] = {name: [] for name in "abcde"}
        for name, heard in self.heard.items():
            self.network.attach(
                self.world.process(name),
                lambda source, message, heard=heard: heard.append((source, message[0])),
            )

    def send(self, source: str, target: str, count: int = COUNT) -> list[int]:
        """Send so many numbers, wait, and give what arrived of them."""
        self.heard[target].clear()
        for number in range(count):
            self.network.send(source, target, bytes([number]))
        self.world.run(until_us=self.world.now_us + 1_000_000)
        return [number for _, number in self.heard[target]]

    def connected(self) -> set[str]:
        return {
            source + target
            for source in "abcde"
            for target in "abcde"
            if source != target and self.send(source, target, 1)
        }


def test_without_faults_all_arrives_once_and_in_order() -> None:
    stage = Stage()
    assert stage.send("a", "b") == [*range(COUNT)]


def test_a_message_takes_its_time() -> None:
    stage = Stage(NetworkFaults(delay_us_min=500, delay_us_max=600))
    stage.network.send("a", "b", b"\0")
    stage.world.run(until_us=499)
    assert stage.heard["b"] == []
    stage.world.run(until_us=600)
    assert stage.heard["b"] == [("a", 0)]


def test_some_are_dropped() -> None:
    arrived = Stage(NetworkFaults(drop=0.5)).send("a", "b")
    assert COUNT / 4 < len(arrived) < COUNT * 3 / 4
    assert arrived == sorted(arrived)


def test_some_are_duplicated() -> None:
    arrived = Stage(NetworkFaults(duplicate=0.5)).send("a", "b")
    assert set(arrived) == {*range(COUNT)}
    assert COUNT * 5 / 4 < len(arrived) < COUNT * 7 / 4


def test_some_overtake() -> None:
    arrived = Stage(NetworkFaults(reorder=0.5)).send("a", "b")
    assert sorted(arrived) == [*range(COUNT)]
    assert arrived != sorted(arrived)


def test_a_partition_cuts_both_ways_until_it_is_healed() -> None:
    stage = Stage()
    stage.network.partition("ab", "cde")
    assert stage.connected() == {
        *("ab", "ba"),
        *("cd", "dc", "ce", "ec", "de", "ed"),
    }
    stage.network.heal()
    assert len(stage.connected()) == 20


def test_a_one_way_cut_lets_the_other_way_pass() -> None:
    stage = Stage()
    stage.network.cut_one_way("a", "bcde")
    connected = stage.connected()
    assert not connected & {"ab", "ac", "ad", "ae"}
    assert len(connected) == 16


def test_a_bridge_hears_both_sides() -> None:
    stage = Stage()
    stage.network.bridge("ab", "de", "c")
    connected = stage.connected()
    assert not connected & {"ad", "ae", "bd", "be", "da", "ea", "db", "eb"}
    assert len(connected) == 12
    with pytest.raises(Conflict, match="on a side"):
        stage.network.bridge("ab", "cd", "c")


def test_a_cut_loses_what_is_under_way() -> None:
    stage = Stage()
    stage.network.send("a", "b", b"\0")
    stage.network.cut("a", "b")
    stage.world.run(until_us=1_000_000)
    stage.network.heal()
    assert stage.send("a", "b", 1) == [0]


def test_what_is_sent_to_a_process_that_is_down_is_lost() -> None:
    stage = Stage()
    stage.world.processes["b"].crash()
    assert stage.send("a", "b") == []
    stage.world.processes["b"].restart()
    assert stage.send("a", "b", 1) == [0]


def test_what_is_sent_to_a_paused_process_waits() -> None:
    stage = Stage()
    stage.world.processes["b"].pause()
    assert stage.send("a", "b") == []
    stage.world.processes["b"].resume()
    stage.world.run(until_us=stage.world.now_us)
    assert [number for _, number in stage.heard["b"]] == [*range(COUNT)]


def test_nobody_can_be_sent_to_who_is_not_there() -> None:
    with pytest.raises(NotFound, match="'nobody'"):
        Stage().network.send("a", "nobody", b"")
