"""The state of one execution: what its journal adds up to. Holds no rules; see ``machine``."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from omium.execution.records import (
    AttemptEnd,
    CallKey,
    CodeRef,
    Failure,
    Origin,
    PauseReason,
    Payload,
    PlannedHandoff,
    Question,
    Reason,
    Vote,
)
from omium.types import AgentName, ExecutionId, Status, TenantId, WorkerId

CallStatus = Literal["open", "completed", "failed"]
AgentStatus = Literal["waiting", "leased", "completed", "skipped"]
HandoffStatus = Literal["offered", "accepted", "rejected", "delegated", "failed"]


@dataclass(slots=True)
class CallState:
    """A call of a step that is not yet complete. ``index`` is that of its (latest) intent.

    ``request`` is kept of approvals only; ``approved`` is the digest of the arguments that one
    was given for.
    """

    index: int
    step: str
    key: CallKey
    ordinal: int
    epoch: int
    idempotent: bool
    effect_key: str
    status: CallStatus = "open"
    response: Payload | None = None
    failure: Failure | None = None
    question: Question | None = None
    inside: int = 0
    suspended: bool = False
    approval: int = 0
    request: Payload | None = None
    approved: str = ""
    intended_ms: int = 0


@dataclass(slots=True)
class AgentState:
    """How far one agent has come.

    ``steps`` maps each completed step to the journal index of its checkpoint; ``checkpoint``
    is the latest of them, 0 before the first, and ``saved`` the state stored there. ``calls``
    are those of unfinished steps, by key: calls of finished steps can never be asked for
    again. ``step_ms`` is when its latest attempt began or last ended a step, in milliseconds
    since the epoch. ``ended`` says how that attempt ended; ``losses`` counts the attempts in a
    row whose worker died without the journal having got any further.

    An agent of a loop runs in rounds, and all of the above but ``epoch`` and ``sequence`` is of
    the present one, number ``round``. ``attempts`` counts those of the round, and ``recalled``
    is the output of the round before.
    """

    name: AgentName
    upstream: tuple[AgentName, ...]
    when: tuple[AgentName, ...] = ()
    otherwise: tuple[AgentName, ...] = ()
    checked: tuple[PlannedHandoff, ...] = ()
    judges: tuple[AgentName, ...] = ()
    stands_in: AgentName | None = None
    status: AgentStatus = "waiting"
    epoch: int = 0
    sequence: int = 0
    worker: WorkerId | None = None
    ended: AttemptEnd | None = None
    losses: int = 0
    failures: int = 0
    steps: dict[str, int] = field(default_factory=dict[str, int])
    checkpoint: int = 0
    saved: Payload | None = None
    step_ms: int = 0
    output: Payload | None = None
    fits: tuple[AgentName, ...] = ()
    round: int = 1
    attempts: int = 0
    recalled: Payload | None = None
    calls: dict[CallKey, CallState] = field(default_factory=dict[CallKey, CallState])

    @property
    def questions(self) -> list[CallState]:
        """What it has asked and was not answered, in order. It goes on when there is nothing."""
        asked = (call for call in self.calls.values() if call.key.kind == "human")
        return sorted((c for c in asked if c.status == "open"), key=lambda call: call.index)

    @property
    def is_done(self) -> bool:
        """Whether nothing is left for it to do, in this round at least."""
        return self.status in ("completed", "skipped")


@dataclass(slots=True)
class LoopState:
    """A loop of the plan: ``source`` hands back to ``to``. ``taken`` counts how often it did,
    since the loop around it, if any, began its latest round."""

    source: AgentName
    to: AgentName
    agents: frozenset[AgentName]
    rounds_max: int
    conditional: bool
    then: Literal["continue", "fail"]
    taken: int = 0


@dataclass(slots=True)
class HandoffState:
    """The latest handoff from ``source`` to ``to`` that was offered, at journal ``index``.

    ``epoch`` is that of the attempt that completed the giver. ``value`` is what is handed over
    instead of its output, once somebody said so: a person or, ``by_agent``, the stand-in of the
    giver, who has stood in once then. ``reasons`` are those of the latest rejection, and
    ``own_reasons`` what was wrong with the giver's own output. ``rejections`` counts those in a
    row; ``votes`` are about what is handed over, in the order in which they were given.
    """

    name: str
    source: AgentName
    to: AgentName
    epoch: int
    schema: str
    index: int
    offered_ms: int
    status: HandoffStatus = "offered"
    reasons: tuple[Reason, ...] = ()
    own_reasons: tuple[Reason, ...] = ()
    value: Payload | None = None
    by_agent: bool = False
    rejections: int = 0
    votes: tuple[Vote, ...] = ()


@dataclass(slots=True)
class Totals:
    """What an execution has used so far. Tokens count only what providers reported."""

    llm_calls: int = 0
    tool_calls: int = 0
    questions: int = 0
    checkpoints: int = 0
    attempts: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost_micros: int | None = None
    """None until a provider with a known price was paid: unknown is not zero."""


@dataclass(slots=True)
class Pause:
    """Why an execution waits, and for the decision about which call.

    ``outcome_known`` is an ``outcome_unknown`` that was answered after all: there is nothing
    left to decide.
    """

    reason: PauseReason | Literal["outcome_known"]
    detail: str
    call: int
    agent: AgentName | None = None


@dataclass(frozen=True, slots=True)
class Signal:
    """A signal that nobody has taken yet. ``index`` is that of its event."""

    index: int
    name: str
    payload: Payload
    by: str


@dataclass(slots=True)
class ExecutionState:
    """The fold of an execution's journal up to and including ``index``.

    ``awake_ms`` is when somebody last asked for it to run: its creation or latest resumption.
    ``forced_until`` is the journal index up to which recorded LLM answers are returned by
    ordinal, whatever the request: the part of a fork that was copied from its origin.
    ``signals`` are those that no agent has taken, in order; ``handoffs`` the latest of each pair
    of agents of which one checks what the other hands to it.
    """

    id: ExecutionId
    tenant: TenantId
    workflow: str
    version: str
    digest: str
    definition: Payload
    inputs: Payload
    model: str
    import_paths: tuple[str, ...]
    origin: Origin | None
    created_ms: int
    updated_ms: int
    awake_ms: int
    status: Status
    index: int
    agents: dict[AgentName, AgentState]
    loops: tuple[LoopState, ...] = ()
    labels: dict[str, str] = field(default_factory=dict[str, str])
    code: CodeRef | None = None
    forced_until: int = 0
    totals: Totals = field(default_factory=Totals)
    failure: Failure | None = None
    pause: Pause | None = None
    result: tuple[AgentName, ...] = ()
    signals: list[Signal] = field(default_factory=list[Signal])
    handoffs: dict[tuple[AgentName, AgentName], HandoffState] = field(
        default_factory=dict[tuple[AgentName, AgentName], HandoffState]
    )

    @property
    def is_copied(self) -> bool:
        """Whether all of it yet was copied from another execution's journal."""
        return self.origin is not None and self.totals.attempts == 0

    @property
    def questions(self) -> list[tuple[AgentState, CallState]]:
        """What is asked and not answered, in order, and by whom."""
        found = [(agent, call) for agent in self.agents.values() for call in agent.questions]
        return sorted(found, key=lambda pair: pair[1].index)

    def call_at(self, index: int) -> tuple[AgentState, CallState] | None:
        """The call of an unfinished step whose latest intent is at ``index``."""
        for agent in self.agents.values():
            for call in agent.calls.values():
                if call.index == index:
                    return agent, call
        return None

    @property
    def epoch(self) -> int:
        """The highest epoch that any attempt was given."""
        return max((agent.epoch for agent in self.agents.values()), default=0)
