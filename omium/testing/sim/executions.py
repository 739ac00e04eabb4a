"""Executions as a service: the state machine of the runtime's replicas, in memory.

``machine.check`` decides and ``fold.evolve`` changes the state; around them is what a
replica keeps: the journals, and which requests were carried out. ``audit`` judges the journals
by themselves, as somebody who trusts no state machine.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from omium.execution.commands import decode_command
from omium.execution.events import (
    AgentCompleted,
    Append,
    AttemptEnded,
    AttemptStarted,
    Completed,
    Created,
    Entry,
    Paused,
    Resumed,
    Signalled,
    StepCompleted,
    StepStarted,
)
from omium.execution.fold import create, evolve
from omium.execution.machine import check
from omium.execution.state import ExecutionState
from omium.testing.sim.service import Service
from omium.types import ExecutionId

WRITTEN = "written"


class Outcome(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """What became of an append: ``WRITTEN`` up to journal ``index``, or the code of a refusal."""

    code: str
    index: int = 0


class AgentView(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """One agent, as whoever supervises sees it."""

    name: str
    status: str
    epoch: int
    upstream: tuple[str, ...]


class View(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """One execution, as whoever supervises sees it; ``status`` is empty where there is none."""

    status: str = ""
    epoch: int = 0
    agents: tuple[AgentView, ...] = ()


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
                name=agent.name, status=agent.status, epoch=agent.epoch, upstream=agent.upstream
            )
            for agent in state.agents.values()
        )
        return _encode(View(status=state.status, epoch=state.epoch, agents=agents))

    def save_state(self) -> bytes:
        return _encode(_Saved(journals=self.journals, requests=self._requests))

    def load_state(self, data: bytes) -> None:
        saved = _decode_saved(data) if data else _Saved(journals={}, requests={})
        self.journals, self._requests, self._states = saved.journals, saved.requests, {}
        for journal in self.journals.values():
            for entry in journal:
                self._evolve(entry)


def audit(journals: Mapping[ExecutionId, Sequence[Entry]]) -> None:
    """What every journal promises, told from its entries alone. Raises AssertionError.

    One owner: who writes under an epoch holds the latest lease of that agent, and every lease
    has a new epoch. Once: an agent and a step are completed once, an attempt starts a step once,
    an execution is created and completed once, a signal is sent once; an attempt's appends are in
    order.
    """
    for name, journal in journals.items():
        _Auditor(name).audit(journal)


class _Auditor:
    def __init__(self, name: ExecutionId) -> None:
        self._name = name
        self._owners: dict[str, int] = {}
        self._epoch = 0
        self._sequences: dict[int, int] = {}
        self._once: set[tuple[str, ...]] = set()

    def audit(self, journal: Sequence[Entry]) -> None:
        for place, entry in enumerate(journal, start=1):
            where = f"{self._name}@{place}"
            assert entry.index == place, f"{where} has the index {entry.index}"
            self._owner(where, entry)
            self._counts(where, entry)

    def _owner(self, where: str, entry: Entry) -> None:
        event = entry.event
        if entry.epoch:
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
        elif isinstance(event, AgentCompleted):
            self._owners[event.agent] = 0
        elif isinstance(event, Paused | Resumed):
            self._owners.clear()

    def _counts(self, where: str, entry: Entry) -> None:
        event = entry.event
        match event:
            case Created() | Completed():
                what: tuple[str, ...] = (type(event).__name__,)
            case AgentCompleted(agent=agent):
                what = ("agent", agent)
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
