"""What a fork copies: the past of an execution up to a point, with changes, as new events.

Pure. The original is only read. A fork is made at any journal index: completed steps come as
checkpoints; the answered calls of a step that was under way come as recorded answers, which
the forked execution is then given by ordinal, whatever it asks (the forced prefix).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from msgspec.structs import replace

from omium.errors import Conflict, InputError
from omium.execution.events import (
    NOT_COPIED,
    AgentCompleted,
    AgentSkipped,
    CallCompleted,
    CallFailed,
    CallIntended,
    Created,
    Entry,
    Event,
    Failed,
    HandoffDecided,
    HandoffOffered,
    HandoffRejected,
    Resumed,
    RoundStarted,
    StepCompleted,
    StepStarted,
)
from omium.execution.fold import DECIDED_FAILURE, create, evolve
from omium.execution.records import CodeRef, Origin, Payload, PlannedAgent
from omium.execution.routing import ROUNDS_EXHAUSTED
from omium.execution.state import CallState, ExecutionState
from omium.types import AgentName


@dataclass(frozen=True, kw_only=True, slots=True)
class ChangedOutput:
    """The output of an agent in a fork, and those whose condition it fulfils."""

    value: Any
    fits: tuple[AgentName, ...] = ()


def fork_events(
    entries: Sequence[Entry],
    *,
    definition: Mapping[str, Any],
    digest: str,
    inputs: Mapping[str, Any],
    outputs: Mapping[AgentName, ChangedOutput] | None = None,
    code: CodeRef | None = None,
    plan: tuple[PlannedAgent, ...] | None = None,
) -> tuple[Event, ...]:
    """The first events of an execution forked from ``entries``, the origin's journal up to
    and including the point of the fork.

    ``definition`` (and its ``digest``) and ``inputs`` are those of the fork, changed or not;
    ``outputs`` replaces the latest outputs of agents; ``code`` and ``plan`` replace the origin's,
    which hold without them. Raises ``Conflict`` when the entries are not the beginning of a
    journal. Whether what came after an output may follow from the one that replaces it is for
    ``machine.check`` to say.
    """
    if not entries or not isinstance(entries[0].event, Created):
        raise Conflict("a fork begins with a journal's first entry")
    created = entries[0].event
    origin = Origin(execution_id=entries[0].execution_id, index=entries[-1].index)
    events: list[Event] = [
        replace(
            created,
            origin=origin,
            definition=Payload(inline=dict(definition)),
            digest=digest,
            inputs=Payload(inline=dict(inputs)),
            code=code or created.code,
            plan=plan or created.plan,
        )
    ]
    events += _copied(created, entries, outputs or {})
    return tuple(events)


def state_at(entries: Sequence[Entry]) -> ExecutionState:
    """What ``entries``, the beginning of a journal, add up to."""
    state = create(entries[0])
    for entry in entries[1:]:
        evolve(state, entry)
    return state


def latest_outputs(entries: Sequence[Entry]) -> dict[AgentName, AgentCompleted]:
    """What each agent that ever completed handed over last."""
    return {e.event.agent: e.event for e in entries if isinstance(e.event, AgentCompleted)}


def _copied(
    created: Created, entries: Sequence[Entry], outputs: Mapping[AgentName, ChangedOutput]
) -> list[Event]:
    calls = {
        call.index: call
        for agent in _resumed(entries).agents.values()
        for call in agent.calls.values()
        if call.status != "open"
    }
    recorded = {
        entry.event.call: entry.event
        for entry in entries
        if isinstance(entry.event, CallCompleted | CallFailed)
    }
    events: list[Event] = []
    # Handoffs that were tried again began a round. The others are offered and judged anew.
    tried_again = {
        entry.event.handoff
        for entry in entries
        if isinstance(entry.event, HandoffDecided) and entry.event.decision == "retry"
    }
    entries = list(_kept(created, entries, tried_again, outputs))
    _refuse_settled(entries, outputs)
    latest = latest_outputs(entries)
    # What a judge said of an output that is another one in the fork, it is asked for anew.
    judges = {
        agent.name: agent.upstream for agent in created.plan if agent.judges or agent.stands_in
    }
    anew: set[AgentName] = set()
    started: set[tuple[AgentName, str]] = set()
    moved: dict[int, int] = {}
    # A loop that was used up, and to which resuming gives its rounds anew, in the fork as well.
    used_up = False
    for entry in entries:
        event = entry.event
        match event:
            case Failed():
                used_up = event.failure.kind == ROUNDS_EXHAUSTED
            case Resumed() if used_up:
                used_up = False
                events.append(event)
            case AgentCompleted() if event.agent in outputs and event is latest[event.agent]:
                new = outputs[event.agent]
                events.append(replace(event, output=Payload(inline=new.value), fits=new.fits))
                anew.update(name for name, givers in judges.items() if event.agent in givers)
            case StepStarted() | StepCompleted() | CallIntended() | AgentCompleted() if (
                event.agent in anew and event.agent not in outputs
            ):
                pass
            case StepCompleted() | AgentCompleted() | AgentSkipped() | RoundStarted():
                events.append(event)
            case HandoffOffered() if event.handoff in tried_again:
                # Nobody was leased in the fork yet: its agents completed under no epoch.
                events.append(replace(event, epoch=0))
            case HandoffRejected() | HandoffDecided() if event.handoff in tried_again:
                events.append(event)
            case StepStarted() if (event.agent, event.step) not in started:
                started.add((event.agent, event.step))
                events.append(event)
            case CallIntended() if entry.index in calls:
                outcome = recorded.get(entry.index) or _decided(event, calls[entry.index])
                # A tool that stopped to ask is begun anew, or was: by a later intent than this.
                inside = moved.get(event.inside, NOT_COPIED) if event.inside else 0
                approval = moved.get(event.approval, 0)
                events.append(replace(event, inside=inside, approval=approval))
                # The created event is at 1, so the intent just copied is at len(events) + 1.
                moved[entry.index] = len(events) + 1
                events.append(replace(outcome, call=moved[entry.index]))
            case _:
                pass
    return [*events, Resumed()] if used_up else events


def _refuse_settled(entries: Sequence[Entry], outputs: Collection[AgentName]) -> None:
    """Raise ``InputError`` where an output is to be changed that a stand-in has answered for, and
    whose agent begins anew by a person's word: nobody is handed it any more."""
    delegated: set[str] = set()
    settled: set[AgentName] = set()
    for entry in entries:
        match entry.event:
            case HandoffDecided(decision="delegate", handoff=handoff):
                delegated.add(handoff)
            case HandoffDecided(decision="retry") as event if event.handoff in delegated:
                settled.update(event.agents)
            case AgentCompleted(agent=agent):
                settled.discard(agent)
            case _:
                pass
    for name in sorted(settled.intersection(outputs)):
        raise InputError(
            f"outputs.{name} cannot be changed at that point: the agent begins anew there, and has "
            "no output yet. Fork at an earlier index, or later."
        )


def _kept(
    created: Created,
    entries: Sequence[Entry],
    tried_again: Collection[str],
    outputs: Collection[AgentName],
) -> Iterator[Entry]:
    """All but what stand-ins came to, and judges of what these have handed over: in the fork they
    are asked anew when the giver's output is rejected there. What is of a round before stays."""
    spare = {agent.name for agent in created.plan if agent.stands_in}.difference(outputs)
    begun = {
        name: entry.index
        for entry in entries
        if isinstance(entry.event, RoundStarted | HandoffDecided)
        for name in entry.event.agents
    }
    aside: set[AgentName] = set()
    for entry in entries:
        match entry.event:
            case HandoffDecided(decision="answer") as event if event.handoff not in tried_again:
                aside.update(event.agents)
            case RoundStarted() | HandoffDecided() as event:
                aside.difference_update(event.agents)
            case (
                StepStarted() | StepCompleted() | CallIntended() | AgentCompleted() | AgentSkipped()
            ) as event if event.agent in spare and entry.index > begun.get(event.agent, 0):
                continue
            case StepStarted() | StepCompleted() | CallIntended() | AgentCompleted() as event if (
                event.agent in aside
            ):
                continue
            case _:
                pass
        yield entry


def _resumed(entries: Sequence[Entry]) -> ExecutionState:
    """The state at the point of the fork. Where that is a failure, the fork goes on as the
    origin would when resumed: what stopped it is tried again."""
    state = state_at(entries)
    if state.status == "failed":
        evolve(state, replace(entries[-1], index=state.index + 1, sequence=0, event=Resumed()))
    return state


def _decided(intent: CallIntended, call: CallState) -> CallCompleted | CallFailed:
    """The outcome of a call that somebody decided about, as if it had been recorded."""
    if call.response is not None:
        return CallCompleted(agent=intent.agent, call=call.index, response=call.response)
    failure = call.failure or DECIDED_FAILURE
    return CallFailed(agent=intent.agent, call=call.index, failure=failure)


def changed(document: Mapping[str, Any], path: str, value: Any) -> dict[str, Any]:
    """A copy of ``document`` with the value at a dotted ``path`` set.

    A number in the path indexes a list; an agent is named by its name, as in
    ``agents.analyst.model``. Raises ``InputError`` when the path leads nowhere.
    """
    parts = path.split(".")
    if not all(parts):
        raise InputError(f"{path!r} is not a dotted path such as inputs.principal")
    return _changed(document, parts, value, path)


def _changed(node: Any, parts: Sequence[str], value: Any, path: str) -> Any:
    head, rest = parts[0], parts[1:]
    if isinstance(node, Mapping):
        mapping: dict[str, Any] = {str(k): v for k, v in node.items()}  # pyright: ignore
        if rest and head not in mapping:
            known = ", ".join(sorted(mapping)) or "nothing"
            raise InputError(f"{path!r}: there is no {head!r}; there is {known}")
        mapping[head] = _changed(mapping[head], rest, value, path) if rest else value
        return mapping
    if isinstance(node, Sequence) and not isinstance(node, str):
        items: list[Any] = list(node)  # pyright: ignore
        position = _position(items, head, path)
        items[position] = _changed(items[position], rest, value, path) if rest else value
        return items
    raise InputError(f"{path!r}: nothing is below {head!r}")


def _position(items: Sequence[Any], head: str, path: str) -> int:
    if head.isdecimal() and int(head) < len(items):
        return int(head)
    for position, item in enumerate(items):
        if isinstance(item, Mapping) and item.get("name") == head:  # pyright: ignore
            return position
    raise InputError(f"{path!r}: there is no item {head!r} among {len(items)}")
