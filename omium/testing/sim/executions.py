"""Executions as a service: the state machine of the runtime's replicas, in memory.

``machine.check`` decides and ``fold.evolve`` changes the state; around them is what a
replica keeps: the journals, and which requests were carried out. ``audit`` judges the journals
by themselves, as somebody who trusts no state machine.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import msgspec

from omium.actors.messages import Offer
from omium.actors.receiving import offer_of
from omium.execution.commands import decode_command
from omium.execution.events import (
    AgentCompleted,
    Append,
    AttemptEnded,
    AttemptStarted,
    Completed,
    Created,
    Entry,
    Event,
    HandoffDecided,
    HandoffRejected,
    Paused,
    Resumed,
    Signalled,
    StepCompleted,
    StepStarted,
)
from omium.execution.fold import create, evolve
from omium.execution.handoffs import not_taken, run_again, to_accept
from omium.execution.machine import check
from omium.execution.records import Payload
from omium.execution.routing import due, seen
from omium.execution.state import ExecutionState
from omium.testing.sim.handed import HandoffLaw
from omium.testing.sim.service import Service
from omium.testing.sim.voted import VoteLaw
from omium.types import AgentName, ExecutionId

WRITTEN = "written"


class Outcome(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """What became of an append: ``WRITTEN`` up to journal ``index``, or the code of a refusal."""

    code: str
    index: int = 0


class AgentView(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """One agent, as whoever supervises sees it; ``offers`` are what it has to judge, and
    ``outputs`` what it is given."""

    name: AgentName
    status: str
    epoch: int
    upstream: tuple[AgentName, ...]
    offers: tuple[Offer, ...]
    outputs: dict[AgentName, Payload]


class View(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """One execution, as whoever supervises sees it; ``status`` is empty where there is none.

    ``due`` is what follows by itself; ``undecided`` lets rejected handoffs be tried again.
    """

    status: str = ""
    epoch: int = 0
    agents: tuple[AgentView, ...] = ()
    due: tuple[Event, ...] = ()
    undecided: tuple[HandoffDecided, ...] = ()


class _Saved(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    journals: dict[ExecutionId, list[Entry]]
    requests: dict[str, tuple[str, ExecutionId, int]]


_encode = msgspec.msgpack.Encoder().encode
_decode_saved = msgspec.msgpack.Decoder(_Saved).decode


class Executions(Service):
    """See the module's docstring. A query is the id of an execution; its answer a ``View``."""

    def __init__(self) -> None:
        super().__init__()
        self.journals: dict[ExecutionId, list[Entry]] = {}
        self._requests: dict[str, tuple[str, ExecutionId, int]] = {}
        self._states: dict[ExecutionId, ExecutionState] = {}

    def carry_out(self, index: int, command: bytes) -> bytes:
        append = decode_command(command, f"log@{index}")
        assert isinstance(append, Append)
        return _encode(self._append(append))

    def _append(self, append: Append) -> Outcome:
        name, request = append.execution_id, append.request
        if request is not None and (known := self._requests.get(request.key)) is not None:
            code = "repeated" if known[0] == request.digest else "request_conflict"
            return Outcome(code=code, index=known[2])
        state = self._states.get(name)
        refusal = check(state, append)
        if refusal is not None:
            return Outcome(code=refusal.code)
        writer = append.writer
        epoch, sequence = (writer.epoch, writer.sequence) if writer is not None else (0, 0)
        journal = self.journals.setdefault(name, [])
        for event in append.events:
            entry = Entry(
                execution_id=name,
                index=len(journal) + 1,
                at_ms=append.at_ms,
                epoch=epoch,
                sequence=sequence,
                event=event,
            )
            self._evolve(entry)
            journal.append(entry)
        if request is not None:
            self._requests[request.key] = (request.digest, name, len(journal))
        return Outcome(code=WRITTEN, index=len(journal))

    def _evolve(self, entry: Entry) -> None:
        state = self._states.get(entry.execution_id)
        if state is None:
            self._states[entry.execution_id] = create(entry)
        else:
            evolve(state, entry)

    def query(self, question: bytes) -> bytes:
        state = self._states.get(ExecutionId(question.decode()))
        if state is None:
            return _encode(View())
        agents = tuple(
            AgentView(
                name=agent.name,
                status=agent.status,
                epoch=agent.epoch,
                upstream=agent.upstream,
                offers=tuple(offer_of(agent, handoff) for handoff in to_accept(state, agent)),
                outputs=seen(state, agent.name),
            )
            for agent in state.agents.values()
        )
        undecided = tuple(
            HandoffDecided(
                agent=handoff.to,
                handoff=handoff.name,
                decision="retry",
                agents=run_again(state, handoff),
                by="somebody",
            )
            for handoff in not_taken(state)
        )
        return _encode(
            View(
                status=state.status,
                epoch=state.epoch,
                agents=agents,
                due=due(state),
                undecided=undecided,
            )
        )

    def save_state(self) -> bytes:
        return _encode(_Saved(journals=self.journals, requests=self._requests))

    def load_state(self, data: bytes) -> None:
        saved = _decode_saved(data) if data else _Saved(journals={}, requests={})
        self.journals, self._requests, self._states = saved.journals, saved.requests, {}
        for journal in self.journals.values():
            for entry in journal:
                self._evolve(entry)


def audit(journals: Mapping[ExecutionId, Sequence[Entry]]) -> Counter[str]:
    """What every journal promises, told from its entries alone, and what ``VoteLaw`` counted.
    Raises AssertionError.

    One owner: who writes under an epoch holds the latest lease of that agent, and every lease
    has a new epoch. Once: an agent is completed once in a round and a step once, an attempt starts
    a step once, an execution is created and completed once, a signal is sent once; an attempt's
    appends are in order. What ``HandoffLaw`` says of handoffs, and ``VoteLaw`` of votes.
    """
    counts: Counter[str] = Counter()
    for name, journal in journals.items():
        counts += _Auditor(name).audit(journal)
    return counts


class _Auditor:
    def __init__(self, name: ExecutionId) -> None:
        self._name = name
        self._owners: dict[str, int] = {}
        self._epoch = 0
        self._sequences: dict[int, int] = {}
        self._once: set[tuple[str, ...]] = set()
        self._rounds: Counter[str] = Counter()
        self._handoffs = HandoffLaw()
        self._votes = VoteLaw()
        self._written = (0, 0)

    def audit(self, journal: Sequence[Entry]) -> Counter[str]:
        for place, entry in enumerate(journal, start=1):
            where = f"{self._name}@{place}"
            assert entry.index == place, f"{where} has the index {entry.index}"
            self._owner(where, entry)
            self._counts(where, entry)
            self._handoffs.note(where, entry)
            self._votes.note(where, entry)
        return self._votes.counts

    def _owner(self, where: str, entry: Entry) -> None:
        event = entry.event
        # Who rejects owns the agent for the rest of that append, whatever it rejects first.
        append, self._written = self._written, (entry.epoch, entry.sequence)
        if entry.epoch and self._written != append:
            agent = getattr(event, "agent", None)
            owner = self._owners.get(agent or "", 0)
            assert owner == entry.epoch, (
                f"{where}: epoch {entry.epoch} writes for {agent}, whose owner is epoch {owner}"
            )
            before = self._sequences.get(entry.epoch, 0)
            assert before <= entry.sequence <= before + 1, (
                f"{where}: append {entry.sequence} of epoch {entry.epoch} came after {before}"
            )
            self._sequences[entry.epoch] = entry.sequence
        if isinstance(event, AttemptStarted):
            assert event.epoch > self._epoch, f"{where}: epoch {event.epoch} is not new"
            assert not self._owners.get(event.agent), f"{where}: {event.agent} has an owner"
            self._epoch = self._owners[event.agent] = event.epoch
        elif isinstance(event, AttemptEnded):
            if self._owners.get(event.agent) == event.epoch:
                self._owners[event.agent] = 0
        elif isinstance(event, AgentCompleted | HandoffRejected):
            self._owners[event.agent] = 0
        elif isinstance(event, HandoffDecided):
            self._owners |= dict.fromkeys(event.agents, 0)
            self._rounds.update(event.agents)
        elif isinstance(event, Paused | Resumed):
            self._owners.clear()

    def _counts(self, where: str, entry: Entry) -> None:
        event = entry.event
        match event:
            case Created() | Completed():
                what: tuple[str, ...] = (type(event).__name__,)
            case AgentCompleted(agent=agent):
                what = ("agent", agent, str(self._rounds[agent]))
            case StepStarted(agent=agent, step=step):
                what = ("start", agent, step, str(entry.epoch))
            case StepCompleted(agent=agent, step=step):
                what = ("step", agent, step)
            case Signalled(name=name):
                what = ("signal", name)
            case _:
                return
        assert what not in self._once, f"{where}: {' '.join(what)} a second time"
        self._once.add(what)
