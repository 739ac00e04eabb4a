"""One attempt of a simulated worker: what it appends, one thing after the other.

It judges and votes by the decisions of ``omium.actors.receiving``, as the runtime's worker does.
What chance decides is what validators and agents of users decide: how a vote is cast, whether
an output fits, and whether it is handed back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from random import Random
from typing import NamedTuple

import msgspec
from msgspec.structs import replace

from omium.actors.messages import Offer
from omium.actors.receiving import to_vote, verdicts
from omium.definitions import (
    Workflow,
    at_work,
    fitting,
    graph,
    handoffs_of,
    is_judge,
    value_problems,
)
from omium.execution.events import (
    AgentCompleted,
    Event,
    HandoffAccepted,
    HandoffRejected,
    HandoffVoted,
    StepCompleted,
    StepStarted,
)
from omium.execution.records import Payload, Reason, Vote
from omium.testing.sim.flows import about, made_by, output
from omium.testing.sim.voted import Asked
from omium.types import AgentName, ExecutionId, Json

FOR = 0.75
FITS = 0.85
FITS_SPARED = 0.6
"""How often an output fits for which another agent may stand in: less, so that one has to."""
AGAIN = 0.7
RASH = 0.1
RASH_AFTER_MAX = 3


class Lease(msgspec.Struct, frozen=True, kw_only=True):
    """An attempt that a worker is given, what it has to judge first, and of whom. Its lease is at
    ``index`` of the journal."""

    execution: ExecutionId
    agent: AgentName
    epoch: int
    index: int
    offers: tuple[Offer, ...] = ()
    outputs: dict[AgentName, Payload]


class Said(NamedTuple):
    """The events of one append. What is ``rash`` is refused unless it happens to be right."""

    events: tuple[Event, ...]
    rash: bool = False


def attempt(
    lease: Lease, flow: Workflow, random: Random, asked: Callable[[Asked], None]
) -> Iterator[Said]:
    """What an attempt at an agent of ``flow`` appends. ``asked`` hears of each validator that is
    asked."""
    rash = bool(lease.offers) and random.random() < RASH
    after = random.randrange(RASH_AFTER_MAX) if rash else None
    for place, events in enumerate(_honest(lease, flow, random, asked)):
        if place == after:
            yield Said(_rash(lease, random), rash=True)
            return
        yield Said(events)


def _honest(
    lease: Lease, flow: Workflow, random: Random, asked: Callable[[Asked], None]
) -> Iterator[tuple[Event, ...]]:
    name, step, agent = lease.agent, str(lease.epoch), flow.agent(lease.agent)
    outputs = {giver: payload.inline for giver, payload in lease.outputs.items()}
    voted: list[Offer] = []
    for offer in lease.offers:
        votes = list(offer.votes)
        for validator in to_vote(agent, offer, outputs[offer.source]):
            asked(
                Asked(
                    execution=lease.execution,
                    handoff=offer.handoff,
                    validator=validator,
                    leased=lease.index,
                )
            )
            votes.append(_vote(validator, _why(lease, offer.source), random))
            yield (_voted(name, offer.handoff, votes[-1]),)
        voted.append(replace(offer, votes=tuple(votes)))
    said = verdicts(agent, voted, outputs)
    if said:
        yield tuple(said)
    if any(isinstance(verdict, HandoffRejected) for verdict in said):
        return
    yield (StepStarted(agent=name, step=step),)
    yield (StepCompleted(agent=name, step=step, state=Payload(inline=lease.epoch)),)
    yield (_completed(lease, flow, random),)


def _completed(lease: Lease, flow: Workflow, random: Random) -> AgentCompleted:
    name = lease.agent
    if is_judge(flow, name):
        (giver,) = graph(flow).givers(name)
        vote = _vote(name, _why(lease, giver), random)
        made: Json = {"ballot": vote.ballot, "reason": vote.reason}
    else:
        made = output(
            fits=random.random() < (FITS_SPARED if _is_stood_for(flow, name) else FITS),
            by=str(lease.epoch),
            again=random.random() < AGAIN,
            of={giver: made_by(payload) for giver, payload in lease.outputs.items()},
        )
    schema = at_work(flow, name).final_output
    assert schema is None or not value_problems(schema, made), f"{name} hands over {made}"
    return AgentCompleted(agent=name, output=Payload(inline=made), fits=fitting(flow, name, made))


def _is_stood_for(flow: Workflow, giver: AgentName) -> bool:
    return any(one.source == giver and one.stand_in is not None for one in handoffs_of(flow))


def _rash(lease: Lease, random: Random) -> tuple[Event, ...]:
    """What an attempt says out of turn. Whether it may must not depend on its good manners."""
    name, offer = lease.agent, random.choice(lease.offers)
    why = _why(lease, offer.source)
    said: list[Event] = [
        HandoffAccepted(agent=name, handoff=offer.handoff),
        StepStarted(agent=name, step=f"{lease.epoch} early"),
    ]
    for validator in offer.validators:
        reason = Reason(code="vote", validator=validator, message=why)
        said += [
            _voted(name, offer.handoff, _vote(validator, why, random)),
            HandoffRejected(agent=name, handoff=offer.handoff, reasons=(reason,)),
        ]
    return (random.choice(said),)


def _why(lease: Lease, giver: AgentName) -> str:
    """What whoever votes about the output of ``giver`` says."""
    return about(made_by(lease.outputs[giver]))


def _vote(validator: str, why: str, random: Random) -> Vote:
    # Asked twice, a validator need not say the same.
    ballot = "for" if random.random() < FOR else "against"
    return Vote(validator=validator, ballot=ballot, reason=why)


def _voted(agent: AgentName, handoff: str, vote: Vote) -> HandoffVoted:
    return HandoffVoted(
        agent=agent,
        handoff=handoff,
        validator=vote.validator,
        ballot=vote.ballot,
        reason=vote.reason,
    )
