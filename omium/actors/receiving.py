"""What a receiver is told of that which is handed to it, and what it says before it does anything
with it. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from omium.actors import messages as m
from omium.definitions import Agent, Problem, misfits, takes
from omium.execution.events import HandoffAccepted, HandoffRejected
from omium.execution.offers import planned
from omium.execution.records import Reason
from omium.execution.state import AgentState, HandoffState
from omium.execution.votes import outvoted
from omium.types import AgentName, Json


def offer_of(receiver: AgentState, handoff: HandoffState) -> m.Offer:
    """What an attempt at ``receiver`` is told of a handoff, with the votes that are on record."""
    one = planned(receiver, handoff.source)
    return m.Offer(
        handoff=handoff.name,
        source=handoff.source,
        schema=handoff.schema,
        validators=one.validators if one is not None else (),
        votes_min=one.votes_min if one is not None else 0,
        votes=handoff.votes,
    )


def verdicts(
    agent: Agent, offers: Sequence[m.Offer], outputs: Mapping[AgentName, Json]
) -> list[HandoffAccepted | HandoffRejected]:
    """One verdict for each of the ``offers`` to ``agent``, about which all have voted who are to;
    ``outputs`` are what is offered."""
    said: list[HandoffAccepted | HandoffRejected] = []
    for offer in offers:
        reasons = _reasons(agent, offer, outputs[offer.source])
        reasons = reasons or outvoted(offer.votes, offer.votes_min)
        if reasons:
            said.append(HandoffRejected(agent=agent.name, handoff=offer.handoff, reasons=reasons))
        else:
            said.append(HandoffAccepted(agent=agent.name, handoff=offer.handoff))
    return said


def to_vote(agent: Agent, offer: m.Offer, output: Json) -> tuple[str, ...]:
    """The validators that are to be asked about an offer yet; nobody, where ``agent`` does not
    take the output anyhow."""
    voted = {vote.validator for vote in offer.votes}
    left = tuple(name for name in offer.validators if name not in voted)
    return left if left and not _reasons(agent, offer, output) else ()


def _reasons(agent: Agent, offer: m.Offer, output: Json) -> tuple[Reason, ...]:
    if offer.schema != takes(agent):
        message = f"offered for the schema {offer.schema}, and {takes(agent)} is asked for"
        return (Reason(code="schema_version", message=message),)
    return tuple(
        Reason(code="schema", path=_pointer(problem), message=problem.text)
        for problem in misfits(agent, output)
    )


def _pointer(problem: Problem) -> str:
    """The place of a problem as a JSON Pointer (RFC 6901); empty for the whole."""
    parts = (str(part).replace("~", "~0").replace("/", "~1") for part in problem.path)
    return "".join(f"/{part}" for part in parts)
