"""Executions as a service: the state machine of the runtime's replicas, in memory.

``machine.check`` decides and ``fold.evolve`` changes the state; around them is what a
replica keeps: the journals, and which requests were carried out. What comes of each append is shown
to ``Journals``, who trust no state machine.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import msgspec

from omium.actors.messages import Offer
from omium.actors.receiving import offer_of
from omium.execution.commands import decode_command
from omium.execution.events import Append, Entry, Event, HandoffDecided
from omium.execution.fold import create, evolve
from omium.execution.handoffs import not_taken, overdue, run_again, to_accept
from omium.execution.machine import check
from omium.execution.offers import planned
from omium.execution.records import Payload
from omium.execution.routing import due, is_ready, seen
from omium.execution.state import AgentState, ExecutionState
from omium.testing.sim.journals import Journals
from omium.testing.sim.service import Service
from omium.types import AgentName, ExecutionId

WRITTEN = "written"


class Outcome(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """What became of an append: ``WRITTEN`` up to journal ``index``, or the code of a refusal."""

    code: str
    index: int = 0


class Watch(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """A look at the clock, which says ``at_ms``: what was offered to agents of the ``execution``
    and is overdue is rejected, as the state is then. A coordinator that leads looks so: by its own
    state, before which nothing else is on its way."""

    execution: ExecutionId
    at_ms: int


class AgentView(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """One agent, as whoever supervises sees it. A ``ready`` one waits for nobody. Of one that is
    leased, ``offers`` are what it has to judge, and ``outputs`` what it is given."""

    name: AgentName
    status: str
    epoch: int
    ready: bool
    stands_in: bool = False
    offers: tuple[Offer, ...] = ()
    outputs: dict[AgentName, Payload] = {}


class View(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """One execution, as whoever supervises sees it; ``status`` is empty where there is none.

    ``due`` is what follows by itself; ``undecided`` lets rejected handoffs be tried again. What is
    ``timed`` is offered and has a deadline. ``failure`` is the kind of it, if there was one.
    """

    status: str = ""
    epoch: int = 0
    agents: tuple[AgentView, ...] = ()
    due: tuple[Event, ...] = ()
    undecided: tuple[HandoffDecided, ...] = ()
    timed: bool = False
    failure: str = ""


class _Saved(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    journals: dict[ExecutionId, list[msgspec.Raw]]
    requests: dict[str, tuple[str, ExecutionId, int]]


_encode = msgspec.msgpack.Encoder().encode
_decode_saved = msgspec.msgpack.Decoder(_Saved).decode
_decode_entry = msgspec.msgpack.Decoder(Entry).decode
_decode_watch = msgspec.msgpack.Decoder(Watch).decode
_WATCH = b"watch "

Written: TypeAlias = tuple[Outcome, Sequence[Entry]]
"""What became of an append, and the entries that came of it."""


def encode_watch(watch: Watch) -> bytes:
    """The command that carries it out."""
    return _WATCH + _encode(watch)


class Executions(Service):
    """See the module's docstring. A query is the id of an execution; its answer a ``View``."""

    def __init__(self, witness: Journals) -> None:
        super().__init__()
        self.journals: dict[ExecutionId, list[Entry]] = {}
        self._witness = witness
        # As they are saved, which is far more often than they grow.
        self._encoded: dict[ExecutionId, list[msgspec.Raw]] = {}
        self._requests: dict[str, tuple[str, ExecutionId, int]] = {}
        self._states: dict[ExecutionId, ExecutionState] = {}

    def carry_out(self, index: int, command: bytes) -> bytes:
        if command.startswith(_WATCH):
            watch = _decode_watch(command.removeprefix(_WATCH))
            name, (outcome, entries) = watch.execution, self._watch(watch)
        else:
            append = decode_command(command, f"log@{index}")
            assert isinstance(append, Append)
            name, (outcome, entries) = append.execution_id, self._append(append)
        self._witness.applied(index, name, entries, self._states.get(name))
        return _encode(outcome)

    def _watch(self, watch: Watch) -> Written:
        state = self._states.get(watch.execution)
        late = overdue(state, watch.at_ms) if state is not None else []
        if not late:
            return Outcome(code=WRITTEN), ()
        append = Append(execution_id=watch.execution, events=tuple(late), at_ms=watch.at_ms)
        outcome, entries = self._append(append)
        assert outcome.code == WRITTEN, f"{late} of {watch.execution} is refused: {outcome.code}"
        return outcome, entries

    def _append(self, append: Append) -> Written:
        name, request = append.execution_id, append.request
        if request is not None and (known := self._requests.get(request.key)) is not None:
            code = "repeated" if known[0] == request.digest else "request_conflict"
            return Outcome(code=code, index=known[2]), ()
        state = self._states.get(name)
        refusal = check(state, append)
        if refusal is not None:
            return Outcome(code=refusal.code), ()
        writer = append.writer
        epoch, sequence = (writer.epoch, writer.sequence) if writer is not None else (0, 0)
        journal = self.journals.setdefault(name, [])
        first = len(journal)
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
            self._encoded.setdefault(name, []).append(msgspec.Raw(_encode(entry)))
        if request is not None:
            self._requests[request.key] = (request.digest, name, len(journal))
        return Outcome(code=WRITTEN, index=len(journal)), journal[first:]

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
        agents = tuple(_view(state, agent) for agent in state.agents.values())
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
                timed=_is_timed(state),
                failure=state.failure.kind if state.failure is not None else "",
            )
        )

    def save_state(self) -> bytes:
        return _encode(_Saved(journals=self._encoded, requests=self._requests))

    def load_state(self, data: bytes) -> None:
        saved = _decode_saved(data) if data else _Saved(journals={}, requests={})
        # A piece of the whole would keep all of it.
        self._encoded = {
            name: [one.copy() for one in journal] for name, journal in saved.journals.items()
        }
        self.journals = {
            name: [_decode_entry(one) for one in journal] for name, journal in self._encoded.items()
        }
        self._requests, self._states = saved.requests, {}
        for journal in self.journals.values():
            for entry in journal:
                self._evolve(entry)


def _view(state: ExecutionState, agent: AgentState) -> AgentView:
    name, status, epoch = agent.name, agent.status, agent.epoch
    if status != "leased":
        ready, stands_in = is_ready(state, agent), agent.stands_in is not None
        return AgentView(name=name, status=status, epoch=epoch, ready=ready, stands_in=stands_in)
    offers = tuple(offer_of(agent, handoff) for handoff in to_accept(state, agent))
    outputs = seen(state, name)
    return AgentView(
        name=name, status=status, epoch=epoch, ready=False, offers=offers, outputs=outputs
    )


def _is_timed(state: ExecutionState) -> bool:
    """Whether anything that is offered has to be accepted in time."""
    for handoff in state.handoffs.values():
        one = planned(state.agents[handoff.to], handoff.source)
        if handoff.status == "offered" and one is not None and one.deadline_s is not None:
            return True
    return False
