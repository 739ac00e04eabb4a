"""An execution as it is shown: its agents and what they ask.

Owns what is told of a state, which stays with the coordinator. A handoff as it is shown is in
``handoffs``.
"""

from __future__ import annotations

from typing import Any

import msgspec

from omium.actors.messages.base import Message
from omium.actors.messages.handoffs import HandoffView
from omium.execution.records import Failure, Payload
from omium.execution.state import AgentStatus
from omium.storage.journal import ExecutionRow
from omium.types import AgentName, Status, WorkerId


class AgentView(msgspec.Struct, frozen=True, kw_only=True):
    """How far an agent is. ``output`` is set once it has completed. In a loop, all but ``epoch``
    is of its present ``round``."""

    name: AgentName
    status: AgentStatus
    epoch: int
    worker: WorkerId | None
    steps: int
    checkpoint: int
    output: Payload | None
    round: int = 1


class QuestionView(msgspec.Struct, frozen=True, kw_only=True):
    """What an agent asks and nobody has answered yet, by the journal index of its ``call``.

    ``arguments`` are those that ``tool`` is to be run with, of an approval.
    """

    call: int
    agent: AgentName
    kind: str
    text: str
    schema: dict[str, Any] | None
    tool: str
    name: str
    arguments: Payload | None
    asked_ms: int


class ExecutionView(Message, frozen=True, kw_only=True, tag="execution"):
    """An execution as it stands. ``result`` names the agents whose outputs are the result."""

    row: ExecutionRow
    agents: tuple[AgentView, ...]
    result: tuple[AgentName, ...]
    failure: Failure | None
    pause_reason: str
    pause_call: int
    status: Status
    questions: tuple[QuestionView, ...] = ()
    handoffs: tuple[HandoffView, ...] = ()
