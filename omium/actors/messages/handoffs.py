"""What one agent hands to another that checks it: as it is offered, and as it is shown.

Owns no verdict and no vote: those are events, and are appended like all others.
"""

from __future__ import annotations

import msgspec

from omium.execution.records import Reason, Vote
from omium.execution.state import HandoffStatus
from omium.types import AgentName


class Offer(msgspec.Struct, frozen=True, kw_only=True):
    """An output that is offered, for the receiver to accept or reject before it does anything.

    ``schema`` is the digest of the input schema for which it is offered. ``votes_min`` of the
    ``validators`` have to be for it, some of whom have given their ``votes`` already."""

    handoff: str
    source: AgentName
    schema: str
    validators: tuple[str, ...] = ()
    votes_min: int = 0
    votes: tuple[Vote, ...] = ()


class HandoffView(msgspec.Struct, frozen=True, kw_only=True):
    """A handoff that its receiver checks: the latest from ``source`` to ``to``."""

    handoff: str
    source: AgentName
    to: AgentName
    status: HandoffStatus
    index: int
    offered_ms: int
    reasons: tuple[Reason, ...] = ()
    votes: tuple[Vote, ...] = ()
