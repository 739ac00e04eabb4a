"""Clients of the executions: supervisors that lease agents, and workers that do the steps.

The supervisors know nothing of each other and take workers for dead that are not, so that many
attempts of one agent are at work at once: it is the epoch that must keep them apart. Whatever a
worker was told is written has to be in the journal at the end, at its place.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from omium.execution.commands import encode_command
from omium.execution.events import (
    AgentCompleted,
    Append,
    AttemptEnded,
    AttemptStarted,
    Completed,
    Created,
    Entry,
    Event,
    Paused,
    Request,
    Resumed,
    Signalled,
    StepCompleted,
    StepStarted,
)
from omium.execution.records import Payload, PlannedAgent, Writer
from omium.testing.sim.caller import Caller
from omium.testing.sim.executions import WRITTEN, Outcome, View, audit
from omium.testing.sim.world import World
from omium.types import AgentName, ExecutionId, TenantId, WorkerId

AGENTS = (AgentName("first"), AgentName("second"))
EXECUTIONS = 3
THINKS_US_MAX = 25_000

_decode_outcome = msgspec.msgpack.Decoder(Outcome).decode
_decode_view = msgspec.msgpack.Decoder(View).decode


class Acknowledged(msgspec.Struct, frozen=True, kw_only=True):
    """What a client was told is written: these events, up to ``index``."""

    execution: ExecutionId
    index: int
    events: tuple[Event, ...]


class ExecutionClients:
    """Supervisors and workers that are busy until ``end``. Half of ``callers`` are of each kind,
    a supervisor first."""

    def __init__(self, world: World, callers: list[Caller]) -> None:
        self.acknowledged: list[Acknowledged] = []
        self._world = world
        self._ended = False
        self._signals = 0
        self._leases: dict[str, list[tuple[ExecutionId, AgentName, int]]] = {}
        self._workers = callers[1::2]
        for caller in callers[::2]:
            self._later(caller, "supervise")
        for caller in self._workers:
            self._leases[caller.name] = []
            self._later(caller, "work")

    def end(self) -> None:
        """Begin nothing new."""
        self._ended = True

    def check(self, journals: Mapping[ExecutionId, Sequence[Entry]]) -> None:
        """The journals keep their promises, and nothing that was acknowledged is missing."""
        audit(journals)
        for told in self.acknowledged:
            journal = journals.get(told.execution, ())
            first = told.index - len(told.events)
            found = tuple(entry.event for entry in journal[first : told.index])
            assert found == told.events, (
                f"{told.execution}@{told.index}: {told.events} was acknowledged and is not there"
            )

    def _later(self, caller: Caller, what: str) -> None:
        action = self._supervise if what == "supervise" else self._work
        delay_us = caller.random.randrange(THINKS_US_MAX)
        caller.process.after(delay_us, what, lambda: action(caller))

    def _append(
        self,
        caller: Caller,
        execution: ExecutionId,
        events: Sequence[Event],
        *,
        writer: Writer | None = None,
        request: Request | None = None,
    ) -> tuple[bytes, Append]:
        append = Append(
            execution_id=execution,
            events=tuple(events),
            at_ms=max(0, caller.process.clock_us() // 1000),
            writer=writer,
            request=request,
        )
        return encode_command(append), append

    def _told(self, append: Append, answer: bytes) -> Outcome:
        outcome = _decode_outcome(answer)
        if outcome.code == WRITTEN:
            self.acknowledged.append(
                Acknowledged(
                    execution=append.execution_id, index=outcome.index, events=append.events
                )
            )
        return outcome

    # ---- supervisors

    def _supervise(self, caller: Caller) -> None:
        if self._ended:
            return
        name = ExecutionId(f"ex{caller.random.randrange(EXECUTIONS)}")

        def seen(answer: bytes) -> None:
            events, request, lease = self._plan(caller, name, _decode_view(answer))
            if not events:
                self._later(caller, "supervise")
                return
            body, append = self._append(caller, name, events, request=request)

            def told(answer: bytes) -> None:
                outcome = self._told(append, answer)
                if lease is not None and outcome.code == WRITTEN:
                    self._leases[caller.random.choice(self._workers).name].append(lease)
                self._later(caller, "supervise")

            caller.call(body, told)

        caller.call(name.encode(), seen, read=True)

    def _plan(
        self, caller: Caller, name: ExecutionId, view: View
    ) -> tuple[list[Event], Request | None, tuple[ExecutionId, AgentName, int] | None]:
        """What to append to ``name``, under which request, and which lease that gives."""
        if not view.status:
            return [_created()], Request(key=f"create-{name}", digest=name), None
        if view.status == "paused":
            return [Resumed()], None, None
        if view.status not in ("queued", "running"):
            return [], None, None
        chance = caller.random.random()
        if chance < 0.15:
            # Two clients that ask for the same: under one key it is done once.
            number = self._signals = self._signals + caller.random.randrange(2)
            signal = Signalled(name=f"s{name}-{number}", payload=Payload(inline=number))
            return [signal], Request(key=f"signal-{name}-{number}", digest=name), None
        if chance < 0.2:
            return [Paused(reason="requested")], None, None
        done = {agent.name for agent in view.agents if agent.status == "completed"}
        for agent in view.agents:
            # Leasing what has an owner is refused; a supervisor tries it all the same.
            takes_over = agent.status == "leased" and chance > 0.85
            if agent.status == "leased" and chance < 0.6:
                # Dead or not: the next attempt has another epoch.
                lost = AttemptEnded(
                    agent=AgentName(agent.name), epoch=agent.epoch, end="worker_lost"
                )
                return [lost], None, None
            waits = agent.status == "waiting" and done.issuperset(agent.upstream)
            if waits or takes_over:
                epoch = view.epoch + 1
                started = AttemptStarted(
                    agent=AgentName(agent.name),
                    epoch=epoch,
                    worker=WorkerId("w"),
                    cause="first",
                )
                return [started], None, (name, AgentName(agent.name), epoch)
        if len(done) == len(view.agents):
            return [Completed(sinks=AGENTS[-1:])], None, None
        return [], None, None

    # ---- workers

    def _work(self, caller: Caller) -> None:
        leases = self._leases[caller.name]
        if self._ended:
            return
        if not leases:
            self._later(caller, "work")
            return
        execution, agent, epoch = leases.pop(0)
        self._do(caller, execution, agent, epoch, 1)

    def _do(
        self, caller: Caller, execution: ExecutionId, agent: AgentName, epoch: int, sequence: int
    ) -> None:
        """The ``sequence``-th append of an attempt, and those after it."""
        if self._ended:
            return
        events = _progress(agent, epoch, sequence)
        if not events:
            self._later(caller, "work")
            return
        writer = Writer(agent=agent, epoch=epoch, sequence=sequence)
        body, append = self._append(caller, execution, events, writer=writer)

        def told(answer: bytes) -> None:
            if self._told(append, answer).code in (WRITTEN, "duplicate"):
                delay_us = caller.random.randrange(THINKS_US_MAX)
                caller.process.after(
                    delay_us,
                    "go on",
                    lambda: self._do(caller, execution, agent, epoch, sequence + 1),
                )
            else:
                # Fenced: somebody else owns the agent now.
                self._later(caller, "work")

        caller.call(body, told)


def _created() -> Created:
    return Created(
        tenant=TenantId("t"),
        workflow="w",
        version="1",
        digest="d",
        definition=Payload(inline={}),
        inputs=Payload(inline={}),
        plan=tuple(
            PlannedAgent(name=name, upstream=AGENTS[:place]) for place, name in enumerate(AGENTS)
        ),
    )


def _progress(agent: AgentName, epoch: int, sequence: int) -> list[Event]:
    """What an attempt appends as its ``sequence``-th; nothing once it is through."""
    step = str(epoch)
    match sequence:
        case 1:
            return [StepStarted(agent=agent, step=step)]
        case 2:
            return [StepCompleted(agent=agent, step=step, state=Payload(inline=epoch))]
        case 3:
            return [AgentCompleted(agent=agent, output=Payload(inline=epoch))]
        case _:
            return []
