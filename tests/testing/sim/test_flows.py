"""The workflows that seeds choose among are all that the journals are to be judged about."""

from __future__ import annotations

from collections import Counter
from random import Random

from omium.actors.plan import plan_of
from omium.testing.sim.flows import drawn


def test_seeds_choose_among_all_kinds_of_flows() -> None:
    seen: Counter[str] = Counter()
    for seed in range(150):
        plan = plan_of(drawn(Random(seed)))
        checked = [one for agent in plan for one in agent.checked]
        loops = [loop for agent in plan for loop in agent.loops]
        stand_ins = [agent for agent in plan if agent.stands_in is not None]
        working = [a for a in plan if not a.judges and a.stands_in is None]
        handed = Counter(giver for agent in working for giver in agent.upstream)
        stood_for = [one for one in checked if one.stand_in is not None]
        seen["fan in"] += any(len(agent.checked) > 1 for agent in plan)
        seen["fan out"] += max(handed.values()) > 1
        seen["judges"] += any(agent.judges for agent in plan)
        seen["no vote"] += not any(one.validators for one in checked)
        seen["deadline"] += any(one.deadline_s is not None for one in checked)
        seen["stand-in"] += len(stand_ins) == 1
        seen["two stand-ins"] += len(stand_ins) == 2
        seen["at once"] += any(not one.retries for one in stood_for)
        seen["after its giver"] += any(one.retries for one in stood_for)
        seen["voted about anew"] += any(one.validators for one in stood_for)
        seen["for one of two"] += any(handed[one.source] > 1 for one in stood_for)
        seen["loop"] += any(len(loop.agents) > 1 for loop in loops)
        seen["to itself"] += any(len(loop.agents) == 1 for loop in loops)
        seen["must be left"] += any(loop.then == "fail" for loop in loops)
        seen["after a loop"] += bool(loops) and plan[-1].name == "after"
    assert min(seen.values()) > 5, seen
    assert len(seen) == 15
