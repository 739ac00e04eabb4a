"""What goes wrong next: a decision, and no more.

Kinds are drawn in rounds, so that each comes up before one comes twice. A kind that takes a
coordinator away waits while the group is not whole, since the promise is about a minority; another
comes instead, out of turn where it must.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from random import Random


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A kind of fault. ``costs_seat`` says that a coordinator is away for it, ``needs`` what the
    place must be able to do; it lasts ``hold_s`` seconds, 0 where it is over at once."""

    costs_seat: bool = False
    needs: str = ""
    hold_s: float = 0.0


NETWORK = "network"
"""Coordinators that can be cut off from one another."""

NODES = "nodes"
"""Several Ray nodes."""

DISKS = "disks"
"""A disk for each coordinator, of a size of its own."""

KINDS: Mapping[str, Kind] = {
    "kill_leader": Kind(costs_seat=True),
    "kill_follower": Kind(costs_seat=True),
    "stop_leader": Kind(costs_seat=True, hold_s=4.0),
    "stop_follower": Kind(costs_seat=True, hold_s=4.0),
    "cut_leader": Kind(costs_seat=True, hold_s=5.0, needs=NETWORK),
    "cut_follower": Kind(costs_seat=True, hold_s=5.0, needs=NETWORK),
    "leader_hears_nobody": Kind(costs_seat=True, hold_s=5.0, needs=NETWORK),
    "nobody_hears_leader": Kind(costs_seat=True, hold_s=5.0, needs=NETWORK),
    "leader_wakes_cut_off": Kind(costs_seat=True, hold_s=4.0, needs=NETWORK),
    "kill_raylet": Kind(costs_seat=True, needs=NODES),
    "fill_leader": Kind(costs_seat=True, hold_s=5.0, needs=DISKS),
    "fill_follower": Kind(costs_seat=True, hold_s=5.0, needs=DISKS),
    "lose_disk": Kind(costs_seat=True),
    "spoil_leader": Kind(costs_seat=True),
    "spoil_follower": Kind(costs_seat=True),
    "kill_worker": Kind(),
    "kill_gateway": Kind(),
    "kill_ingress": Kind(),
    "kill_controller": Kind(),
    "kill_proxy": Kind(),
}


class Plan:
    """See the module's docstring. The same ``seed`` and the same answers give the same faults."""

    def __init__(
        self, seed: int, *, abilities: Collection[str], only: Collection[str] = ()
    ) -> None:
        """``abilities`` are those of the place; of ``only`` the kinds are drawn, where given."""
        self._random = Random(seed)
        self._kinds = [
            name
            for name, kind in KINDS.items()
            if (not kind.needs or kind.needs in abilities) and (not only or name in only)
        ]
        self._left: list[str] = []

    @property
    def kinds(self) -> list[str]:
        """What can come up."""
        return list(self._kinds)

    def next(self, *, whole: bool) -> str | None:
        """The next kind of fault; None where every kind has to wait for a ``whole`` group."""
        if not self._left:
            self._left = list(self._kinds)
            self._random.shuffle(self._left)
        for place, name in enumerate(self._left):
            if whole or not KINDS[name].costs_seat:
                return self._left.pop(place)
        others = [name for name in self._kinds if not KINDS[name].costs_seat]
        return self._random.choice(others) if others else None
