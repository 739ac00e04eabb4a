"""Requests by name: was one carried out before, and which execution of which shard does it concern?

Owns the question and the claim. The request that is carried out is in ``control`` or ``records``.
"""

from __future__ import annotations

from omium.actors.messages.base import Message
from omium.execution.events import Request
from omium.types import ExecutionId, TenantId


class FindRequest(Message, frozen=True, kw_only=True, tag="find_request"):
    """Was this request carried out before? Answer: ``Appended`` with the execution that it
    concerned, ``Done`` for a new one, or the error of another request of that name."""

    tenant: TenantId
    request: Request


class ClaimRequest(Message, frozen=True, kw_only=True, tag="claim_request"):
    """Remember that a request, which another shard is to carry out, concerns an execution there.

    Answer: ``Appended`` with the execution of the first claim, or the error of another request
    of that name.
    """

    tenant: TenantId
    request: Request
    execution_id: ExecutionId
