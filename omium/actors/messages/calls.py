"""Calls: may one be made, how it ended, and the pieces of its answer on their way.

Owns what a worker and the gateway ask alike. Decides nothing: a decision comes as it was taken in
``omium.execution.calls``.
"""

from __future__ import annotations

import msgspec

from omium.actors.messages.base import Message
from omium.execution.calls import CallDecision
from omium.execution.events import CallCompleted, CallFailed
from omium.execution.records import CallKey, Payload, Question
from omium.types import AgentName, ExecutionId


class BeginCall(Message, frozen=True, kw_only=True, tag="begin_call"):
    """May this call be made? Its intent is committed before the answer. Answer: ``CallBegun``
    or ``Refused``.

    ``again`` is said by one that was sent before and never answered: an intent that came of it
    is its own."""

    execution_id: ExecutionId
    agent: AgentName
    epoch: int
    step: str
    key: CallKey
    ordinal: int
    request: Payload
    idempotent: bool = False
    question: Question | None = None
    inside: int = 0
    approval: int = 0
    again: bool = False


class CallBegun(Message, frozen=True, kw_only=True, tag="call_begun"):
    """``index`` is that of the intent when the decision is to run the call."""

    decision: CallDecision
    index: int = 0


class EndCall(Message, frozen=True, kw_only=True, tag="end_call"):
    """The gateway knows how a call ended. Answer: ``Appended`` or ``Refused``."""

    execution_id: ExecutionId
    event: CallCompleted | CallFailed


class GatewayHello(Message, frozen=True, kw_only=True, tag="gateway_hello"):
    url: str
    pid: int


class Delta(msgspec.Struct, frozen=True, kw_only=True):
    """A piece of an answer on its way: ``text`` of the call whose intent is at index ``call``."""

    agent: AgentName
    call: int
    text: str


class Deltas(Message, frozen=True, kw_only=True, tag="deltas"):
    """Pieces of answers that an execution is getting now. May be lost; wants no answer."""

    execution_id: ExecutionId
    deltas: tuple[Delta, ...]
