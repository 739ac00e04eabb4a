"""One run of the simulator: a group, its clients, the faults, and the verdict.

A run is made by its seed alone. First everything goes wrong for a while; then all is mended and
the group must get on: every request that was under way is answered, and all members agree. What
clients saw is judged last.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Literal

from omium.actors.group.renewal import LAG_MAX
from omium.errors import OmiumError
from omium.testing.sim.caller import Caller
from omium.testing.sim.executions import Executions
from omium.testing.sim.group import Group
from omium.testing.sim.journals import Journals
from omium.testing.sim.nemesis import Nemesis
from omium.testing.sim.network import Network
from omium.testing.sim.node import Options
from omium.testing.sim.registers import RegisterClients, Registers
from omium.testing.sim.service import Service
from omium.testing.sim.workers import ExecutionClients
from omium.testing.sim.world import World

CHAOS_US = {"registers": 1_800_000, "executions": 3_000_000}
"""How long it all goes wrong: an execution takes many requests, one after the other."""
PACE_US_MAX = {"registers": 150_000, "executions": 300_000}
"""The longest time between two faults."""
CALM_US = 30_000_000
MANAGE_US = 100_000
CLIENTS = 4

ServiceName = Literal["registers", "executions"]


class SimulationFailed(OmiumError):
    """A law was broken in the run of ``seed``; the cause says which."""

    kind = "simulation_failed"

    def __init__(self, seed: int, detail: str) -> None:
        super().__init__(seed, detail)
        self.seed = seed
        self.detail = detail

    def __str__(self) -> str:
        return f"seed {self.seed}: {self.detail}"


@dataclass(frozen=True, kw_only=True)
class Report:
    """What happened in a run in which every law held.

    ``answered`` counts the requests of clients, ``committed`` the entries of the log, ``terms``
    those that had a leader; ``faults`` what went wrong, by name; ``simulated_us`` is how long
    the run took by its own clock. ``handoffs`` counts what became of them and of the votes about
    them (see ``VoteLaw``, ``HandoffLaw`` and ``StandInLaw``), the loops that began anew (see
    ``RoundLaw``), and ``asked_again``, validators whose vote had not been written.
    """

    seed: int
    service: ServiceName
    members: int
    trace_hash: str
    events: int
    simulated_us: int
    answered: int
    committed: int
    terms: int
    faults: Counter[str]
    handoffs: Counter[str]


def simulate(seed: int, *, watch: Callable[[int, str], None] | None = None) -> Report:
    """Run ``seed`` to its end. Raises ``SimulationFailed`` where a law is broken.

    ``watch`` is told of everything that happens, with its time in microseconds.
    """
    run = _Run(seed, watch)
    try:
        return run.run()
    except Exception as error:
        # Whatever it is: no event of a run may raise.
        detail = (
            f"{type(error).__name__}: {error}, at {run.world.now_us} us, event {run.world.events}"
        )
        raise SimulationFailed(seed, detail) from error


class _Run:
    def __init__(self, seed: int, watch: Callable[[int, str], None] | None) -> None:
        self.world = world = World(seed)
        world.watch = watch
        chance = world.random("run")
        self._network = Network(world)
        self._service: ServiceName = "executions" if chance.random() < 0.35 else "registers"
        self._size = 5 if chance.random() < 0.2 else 3
        self._journals = Journals()
        self.group = Group(
            world,
            self._network,
            self._size,
            service=self._new_service,
            options=_options(chance),
            kept=chance.choice([1, 4, 16, 1_024]),
            # The logs of these runs are short: what the runtime allows is all of one.
            lag_max=chance.choice([0, 4, LAG_MAX]),
        )
        self._callers = [
            Caller(world, self._network, f"c{number}", self.group.ids)
            for number in range(1, CLIENTS + 1)
        ]
        self._clients: RegisterClients | ExecutionClients = (
            ExecutionClients(world, self._callers)
            if self._service == "executions"
            else RegisterClients(world, self._callers)
        )
        self._nemesis = Nemesis(
            world, self._network, self.group, pace_us_max=PACE_US_MAX[self._service]
        )
        self._manage()

    def run(self) -> Report:
        world = self.world
        world.run(until_us=CHAOS_US[self._service])
        self._nemesis.end()
        self._clients.end()
        self._settle()
        handoffs = self._judge()
        return Report(
            seed=world.seed,
            service=self._service,
            members=self._size,
            trace_hash=world.trace_hash(),
            events=world.events,
            simulated_us=world.now_us,
            answered=sum(caller.answered for caller in self._callers),
            committed=len(self.group.laws.committed),
            terms=len(self.group.laws.leaders),
            faults=self._nemesis.counts,
            handoffs=handoffs,
        )

    def _new_service(self) -> Service:
        return Executions(self._journals) if self._service == "executions" else Registers()

    def _manage(self) -> None:
        self.group.manage()
        self.world.after(MANAGE_US, "manage", self._manage)

    def _settle(self) -> None:
        world = self.world
        until_us = world.now_us + CALM_US
        while world.now_us < until_us:
            for node in self.group.nodes.values():
                self.group.restart(node)
            world.run(until_us=world.now_us + MANAGE_US)
            if not any(caller.busy for caller in self._callers) and self._agree():
                return
        raise AssertionError("with all faults over the group does not get on")

    def _agree(self) -> bool:
        leader = self.group.leader
        if leader is None or self.group.members.joint:
            return False
        return all(
            self.group.nodes[one].up and self.group.nodes[one].applied == leader.applied
            for one in self.group.ids()
        )

    def _judge(self) -> Counter[str]:
        leader = self.group.leader
        assert leader is not None, "nobody leads"
        log = leader.raft.log
        for index, term in self.group.laws.committed.items():
            assert index < log.first_index or log.term(index) == term, (
                f"the entry {term}/{index} was committed and is not there"
            )
        assert leader.applied >= self.group.laws.acknowledged, "what was acknowledged is gone"
        if isinstance(self._clients, RegisterClients):
            self._clients.check()
        elif isinstance(leader.service, Executions):
            journals = leader.service.journals
            return self._journals.check(journals) + self._clients.check(journals)
        return Counter()


def _options(chance: Random) -> Options:
    """How the members are set up: mostly as in the runtime."""
    options: Options = {
        "election_ticks": 6,
        "heartbeat_ticks": 2,
        "pre_vote": chance.random() < 0.8,
        "check_quorum": chance.random() < 0.8,
        "inflight_messages_max": chance.choice([2, 256]),
        "message_bytes_max": chance.choice([120, 1_000_000]),
        "committed_bytes_max": chance.choice([120, 1_000_000]),
    }
    if options["message_bytes_max"] == 120:
        # Of hundreds of small messages that come in any order, and twice, nearly all are refused,
        # and for each all are sent again. The streams of the runtime keep the order.
        options["inflight_messages_max"] = min(16, options["inflight_messages_max"])
    return options
