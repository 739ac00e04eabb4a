"""One attempt of a simulated worker: what it appends, one thing after the other.

It judges and votes by the decisions of ``omium.actors.receiving``, as the runtime's worker does.
What chance decides is what validators and agents of users decide: how a vote is cast, and whether
an output fits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from random import Random
from typing import NamedTuple

import msgspec
from msgspec.structs import replace

from omium.actors.messages import Offer
from omium.actors.receiving import to_vote, verdicts
from omium.definitions import Agent
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
from omium.testing.sim.flows import output
from omium.testing.sim.voted import Asked
from omium.types import AgentName, ExecutionId

FOR = 0.75
FITS = 0.85
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
    lease: Lease, agent: Agent, random: Random, asked: Callable[[Asked], None]
) -> Iterator[Said]:
    """What an attempt at ``agent`` appends. ``asked`` hears of each validator that is asked."""
    rash = bool(lease.offers) and random.random() < RASH
    after = random.randrange(RASH_AFTER_MAX) if rash else None
    for place, events in enumerate(_honest(lease, agent, random, asked)):
        if place == after:
            yield Said(_rash(lease, random), rash=True)
            return
        yield Said(events)


def _honest(
    lease: Lease, agent: Agent, random: Random, asked: Callable[[Asked], None]
) -> Iterator[tuple[Event, ...]]:
    name, step = lease.agent, str(lease.epoch)
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
            votes.append(_vote(validator, random))
            yield (_voted(name, offer.handoff, votes[-1]),)
        voted.append(replace(offer, votes=tuple(votes)))
    said = verdicts(agent, voted, outputs)
    if said:
        yield tuple(said)
    if any(isinstance(verdict, HandoffRejected) for verdict in said):
        return
    made = Payload(inline=output(fits=random.random() < FITS, by=step))
    yield (StepStarted(agent=name, step=step),)
    yield (StepCompleted(agent=name, step=step, state=Payload(inline=lease.epoch)),)
    yield (AgentCompleted(agent=name, output=made),)


def _rash(lease: Lease, random: Random) -> tuple[Event, ...]:
    """What an attempt says out of turn. Whether it may must not depend on its good manners."""
    name, offer = lease.agent, random.choice(lease.offers)
    said: list[Event] = [
        HandoffAccepted(agent=name, handoff=offer.handoff),
        StepStarted(agent=name, step=f"{lease.epoch} early"),
    ]
    for validator in offer.validators:
        reason = Reason(code="vote", validator=validator, message="so it is")
        said += [
            _voted(name, offer.handoff, _vote(validator, random)),
            HandoffRejected(agent=name, handoff=offer.handoff, reasons=(reason,)),
        ]
    return (random.choice(said),)


def _vote(validator: str, random: Random) -> Vote:
    # Asked twice, a validator need not say the same.
    if random.random() < FOR:
        return Vote(validator=validator, ballot="for")
    return Vote(validator=validator, ballot="against", reason="so it is")


def _voted(agent: AgentName, handoff: str, vote: Vote) -> HandoffVoted:
    return HandoffVoted(
        agent=agent,
        handoff=handoff,
        validator=vote.validator,
        ballot=vote.ballot,
        reason=vote.reason,
    )
