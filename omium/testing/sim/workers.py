"""Clients of the executions: supervisors that lease agents, and workers that do the steps.

The supervisors know nothing of each other and take workers for dead that are not, so that many
attempts of one agent are at work at once: it is the epoch that must keep them apart. Workers die,
with all their attempts, and come back with none. Whatever a client was told is written has to be in
the journal at the end, at its place.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from random import Random

import msgspec
from msgspec.structs import replace

from omium.actors.plan import plan_of
from omium.definitions import Workflow
from omium.execution.commands import encode_command
from omium.execution.events import (
    Append,
    AttemptEnded,
    AttemptStarted,
    Created,
    Entry,
    Event,
    HandoffDecided,
    Paused,
    Request,
    Resumed,
    Signalled,
)
from omium.execution.records import Payload, Writer
from omium.execution.routing import ROUNDS_EXHAUSTED
from omium.testing.sim.attempts import Lease, Said, attempt
from omium.testing.sim.caller import Caller
from omium.testing.sim.executions import WRITTEN, AgentView, Outcome, View, Watch, encode_watch
from omium.testing.sim.flows import drawn, output
from omium.testing.sim.voted import Asked, asked_again
from omium.testing.sim.world import World
from omium.types import ExecutionId, TenantId, WorkerId

EXECUTIONS = 3
THINKS_US_MAX = 10_000
WATCHES = 0.2
"""How often a supervisor looks at the clock where something has a deadline."""
RESUMES = 0.2
"""How often one lets a loop go on that was not left in time."""
LOST = 0.1
"""Of leased agents, how often a supervisor takes the worker for dead."""
DIES = 0.2
"""How often a worker dies once it is at an attempt, within so many steps of what it does next."""
DIES_STEPS_MAX = 16
DOWN_US_MAX = 100_000

_decode_outcome = msgspec.msgpack.Decoder(Outcome).decode
_decode_view = msgspec.msgpack.Decoder(View).decode


class Acknowledged(msgspec.Struct, frozen=True, kw_only=True):
    """What a client was told is written: these events, up to ``index``; or, where that is 0,
    somewhere, by ``writer``."""

    execution: ExecutionId
    index: int
    events: tuple[Event, ...]
    writer: Writer | None


class ExecutionClients:
    """Supervisors and workers that are busy until ``end``. Half of ``callers`` are of each kind,
    a supervisor first."""

    def __init__(self, world: World, callers: list[Caller]) -> None:
        self.acknowledged: list[Acknowledged] = []
        self.asked: list[Asked] = []
        self._world = world
        self._ended = False
        # One of all: to make a workflow takes longer than to run it.
        self._flow = drawn(world.random("flows"))
        self._names = tuple(ExecutionId(f"ex{number}") for number in range(EXECUTIONS))
        self._signals = 0
        self._leases: dict[str, list[Lease]] = {}
        self._workers = callers[1::2]
        for caller in callers[::2]:
            self._later(caller, "supervise")
        for caller in self._workers:
            self._leases[caller.name] = []
            caller.process.on_crash.append(lambda caller=caller: self._died(caller))
            self._later(caller, "work")

    def end(self) -> None:
        """Begin nothing new."""
        self._ended = True

    def check(self, journals: Mapping[ExecutionId, Sequence[Entry]]) -> Counter[str]:
        """Nothing that was acknowledged is missing in the journals, and nobody was asked whose vote
        was on record. How often somebody was asked again; see ``Report``."""
        for told in self.acknowledged:
            journal = journals.get(told.execution, ())
            first = told.index - len(told.events)
            found = tuple(entry.event for entry in journal[max(0, first) : told.index])
            if told.index == 0 and (writer := told.writer) is not None:
                place = (writer.epoch, writer.sequence)
                found = tuple(e.event for e in journal if (e.epoch, e.sequence) == place)
            assert found == told.events, (
                f"{told.execution}@{told.index}: {told.events} was acknowledged and is not there"
            )
        return Counter(asked_again=asked_again(journals, self.asked))

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
            at_ms=_now_ms(caller),
            writer=writer,
            request=request,
        )
        return encode_command(append), append

    def _told(self, append: Append, answer: bytes) -> Outcome:
        outcome = _decode_outcome(answer)
        if outcome.code in (WRITTEN, "duplicate"):
            self.acknowledged.append(
                Acknowledged(
                    execution=append.execution_id,
                    index=outcome.index,
                    events=append.events,
                    writer=append.writer,
                )
            )
        return outcome

    # ---- supervisors

    def _supervise(self, caller: Caller) -> None:
        if self._ended:
            return
        name = caller.random.choice(self._names)

        def seen(answer: bytes) -> None:
            view = _decode_view(answer)
            if view.timed and caller.random.random() < WATCHES:
                watch = Watch(execution=name, at_ms=_now_ms(caller))
                caller.call(encode_watch(watch), lambda _: self._later(caller, "supervise"))
                return
            events, request = self._plan(caller, name, view)
            if not events:
                self._later(caller, "supervise")
                return
            body, append = self._append(caller, name, events, request=request)

            def told(answer: bytes) -> None:
                outcome = self._told(append, answer)
                if isinstance(events[0], AttemptStarted) and outcome.code == WRITTEN:
                    self._send(caller, name, events[0], outcome.index)
                else:
                    self._later(caller, "supervise")

            caller.call(body, told)

        caller.call(name.encode(), seen, read=True)

    def _send(self, caller: Caller, name: ExecutionId, started: AttemptStarted, index: int) -> None:
        """Give what was leased to a worker, with all that is on record by now."""

        def seen(answer: bytes) -> None:
            worker = caller.random.choice(self._workers)
            agent = _agent(_decode_view(answer), started)
            if agent is not None and worker.process.running:
                lease = Lease(
                    execution=name,
                    agent=agent.name,
                    epoch=agent.epoch,
                    index=index,
                    offers=agent.offers,
                    outputs=agent.outputs,
                )
                self._leases[worker.name].append(lease)
            self._later(caller, "supervise")

        caller.call(name.encode(), seen, read=True)

    def _plan(
        self, caller: Caller, name: ExecutionId, view: View
    ) -> tuple[list[Event], Request | None]:
        """What to append to ``name``, and under which request."""
        if not view.status:
            return [_created(self._flow)], Request(key=f"create-{name}", digest=name)
        if view.status == "paused" or (view.status == "failed" and view.undecided):
            decided = [_decision(caller.random, one) for one in view.undecided[:1]]
            return [*decided, Resumed()], None
        if view.failure == ROUNDS_EXHAUSTED and caller.random.random() < RESUMES:
            return [Resumed()], None
        if view.status not in ("queued", "running"):
            return [], None
        chance = caller.random.random()
        if chance < 0.15:
            # Two clients that ask for the same: under one key it is done once.
            number = self._signals = self._signals + caller.random.randrange(2)
            signal = Signalled(name=f"s{name}-{number}", payload=Payload(inline=number))
            return [signal], Request(key=f"signal-{name}-{number}", digest=name)
        if chance < 0.2:
            return [Paused(reason="requested")], None
        if view.due and chance < 0.8:
            # Two supervisors may both say what follows: the second is refused.
            return [*view.due], None
        for agent in view.agents:
            # Leasing what has an owner, or who is not asked to stand in, is refused; a supervisor
            # tries it all the same.
            takes_over = agent.status == "leased" and chance > 0.85
            hasty = agent.status == "waiting" and agent.stands_in and chance > 0.97
            if agent.status == "leased" and caller.random.random() < LOST:
                # Dead or not: the next attempt has another epoch.
                lost = AttemptEnded(agent=agent.name, epoch=agent.epoch, end="worker_lost")
                return [lost], None
            if agent.ready or takes_over or hasty:
                started = AttemptStarted(
                    agent=agent.name, epoch=view.epoch + 1, worker=WorkerId("w"), cause="first"
                )
                return [started], None
        return [], None

    # ---- workers

    def _work(self, caller: Caller) -> None:
        leases = self._leases[caller.name]
        if self._ended:
            return
        if not leases:
            self._later(caller, "work")
            return
        lease = leases.pop(0)
        if caller.random.random() < DIES:
            caller.process.crash_in(caller.random.randrange(DIES_STEPS_MAX))
        progress = attempt(lease, self._flow, caller.random, self.asked.append)
        self._go_on(caller, lease, progress, 1)

    def _go_on(self, caller: Caller, lease: Lease, progress: Iterator[Said], sequence: int) -> None:
        """The ``sequence``-th append of an attempt, and those after it."""
        said = next(progress, None) if not self._ended else None
        if said is None:
            self._later(caller, "work")
            return
        writer = Writer(agent=lease.agent, epoch=lease.epoch, sequence=sequence)
        body, append = self._append(caller, lease.execution, said.events, writer=writer)

        def told(answer: bytes) -> None:
            code = self._told(append, answer).code
            if code in (WRITTEN, "duplicate"):
                delay_us = caller.random.randrange(THINKS_US_MAX)
                caller.process.after(
                    delay_us,
                    "go on",
                    lambda: self._go_on(caller, lease, progress, sequence + 1),
                )
                return
            # Somebody else owns the agent now. Whoever owns it is let say what is right.
            assert code == "stale_epoch" or said.rash, (
                f"{lease.execution}: {said.events} of epoch {lease.epoch} is refused: {code}"
            )
            self._later(caller, "work")

        caller.call(body, told)

    def _died(self, caller: Caller) -> None:
        """A worker is gone, and with it all that it was at or was to do."""
        caller.forget()
        self._leases[caller.name].clear()

        def come_back() -> None:
            caller.process.restart()
            self._later(caller, "work")

        self._world.after(caller.random.randrange(DOWN_US_MAX), "a worker comes back", come_back)


def _now_ms(caller: Caller) -> int:
    return max(0, caller.process.clock_us() // 1000)


def _agent(view: View, started: AttemptStarted) -> AgentView | None:
    """The agent that was leased, if nobody has ended that attempt meanwhile."""
    for agent in view.agents:
        if agent.name == started.agent and agent.epoch == started.epoch:
            return agent if agent.status == "leased" else None
    return None


def _decision(random: Random, retry: HandoffDecided) -> HandoffDecided:
    """What a person says of a handoff that may be tried again."""
    match random.choice(["retry", "answer", "answer", "approve", "approve", "fail"]):
        case "answer":
            # So that one answer can be told from another one.
            somebody = f"{random.getrandbits(32):08x}"
            value = Payload(inline=output(fits=True, by=somebody))
            return replace(retry, decision="answer", agents=(), output=value)
        case "approve":
            return replace(retry, decision="approve", agents=())
        case "fail":
            return replace(retry, decision="fail", agents=())
        case _:
            return retry


def _created(flow: Workflow) -> Created:
    return Created(
        tenant=TenantId("t"),
        workflow=flow.name,
        version=flow.version,
        digest="d",
        definition=Payload(inline={}),
        inputs=Payload(inline={}),
        plan=plan_of(flow),
    )
