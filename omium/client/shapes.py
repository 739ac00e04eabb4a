"""What the API answers, as records. Members that a newer service adds are ignored."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from omium.types import Status


class _Shape(msgspec.Struct, frozen=True, kw_only=True):
    """Base of all records. Times are milliseconds since 1970."""


class Failure(_Shape, frozen=True, kw_only=True):
    """What went wrong. ``kind`` is stable; ``checkpoint`` is the last good one, 0 for none."""

    kind: str
    message: str
    agent: str | None = None
    step: str = ""
    checkpoint: int = 0


class Pause(_Shape, frozen=True, kw_only=True):
    """Why an execution waits; ``call`` is the journal index of the call in question, or 0."""

    reason: str
    call: int = 0


class Question(_Shape, frozen=True, kw_only=True):
    """What an agent asks, and nobody has answered yet.

    ``call`` is its journal index, by which it is answered; ``kind`` is ``question`` (an answer
    that fits ``schema``, a JSON Schema), ``approval`` (of running ``tool``) or ``signal`` (of
    that ``name``). ``arguments`` has those of the tool as ``{"inline": …}``, or names a blob.
    """

    call: int
    agent: str
    kind: str
    text: str
    schema: dict[str, Any] | None = None
    tool: str = ""
    name: str = ""
    arguments: dict[str, Any] | None = None
    asked_ms: int = 0


class Agent(_Shape, frozen=True, kw_only=True):
    """How far an agent is. ``checkpoint`` is the journal index of its last one, 0 for none.

    In a loop, all of it is of the round under way, number ``round``.
    """

    name: str
    status: Literal["waiting", "leased", "completed", "skipped"]
    steps: int
    checkpoint: int
    round: int = 1


class Reason(_Shape, frozen=True, kw_only=True):
    """Why a handoff was rejected; ``path`` is a JSON Pointer into what was handed over, and
    ``validator`` who voted against it."""

    code: str
    message: str
    path: str = ""
    validator: str = ""


class Vote(_Shape, frozen=True, kw_only=True):
    """What a validator, ``package.module:function`` or an agent, said of a handoff, and why."""

    validator: str
    ballot: Literal["for", "against"]
    reason: str = ""


class Handoff(_Shape, frozen=True, kw_only=True):
    """What one agent hands to another that checks it: the latest between these two."""

    handoff: str
    source: str
    to: str
    status: Literal["offered", "accepted", "rejected", "failed"]
    index: int
    offered_ms: int
    reasons: tuple[Reason, ...] = ()
    votes: tuple[Vote, ...] = ()


class ExecutionInfo(_Shape, frozen=True, kw_only=True):
    """An execution in a list. ``cost_micros`` is in millionths of a US dollar; None: unknown."""

    id: str
    tenant: str = "default"
    workflow: str
    version: str
    status: Status
    created_ms: int
    updated_ms: int
    last_index: int
    detail: str
    agents_done: int
    agents_total: int
    llm_calls: int
    tool_calls: int
    checkpoints: int
    prompt_tokens: int
    completion_tokens: int
    cost_micros: int | None
    origin: str | None = None
    labels: dict[str, str] = {}


class Execution(ExecutionInfo, frozen=True, kw_only=True):
    """An execution as it stands. ``result`` names the agents whose outputs are the result."""

    agents: tuple[Agent, ...]
    result: tuple[str, ...]
    failure: Failure | None = None
    pause: Pause | None = None
    questions: tuple[Question, ...] = ()
    handoffs: tuple[Handoff, ...] = ()


class Event(_Shape, frozen=True, kw_only=True):
    """What happens to an execution.

    ``index`` is the journal index, and the cursor to go on from; None for what is in no
    journal: ``delta`` (a piece of an answer on its way) and ``lagged``. ``data`` is the journal
    entry, or what the extra carries.
    """

    index: int | None
    type: str
    data: dict[str, Any]


class Checkpoint(_Shape, frozen=True, kw_only=True):
    """A point to go on or to fork from; its journal ``index`` is its name."""

    index: int
    agent: str
    step: str
    name: str
    at_ms: int


class VersionInfo(_Shape, frozen=True, kw_only=True):
    """A version in a list; ``code`` is the digest of its code, None for what is installed."""

    version: str
    digest: str
    registered_ms: int
    code: str | None = None


class CodeInfo(_Shape, frozen=True, kw_only=True):
    """A bundle of code, named by its content: ``sha256:`` and the digest in hex."""

    digest: str
    bytes: int
    files: int


class PinnedCode(CodeInfo, frozen=True, kw_only=True):
    """The code of a version; ``uploaded`` says that it is not the service's own."""

    uploaded: bool = False


class WorkflowInfo(_Shape, frozen=True, kw_only=True):
    """A workflow in a list; ``versions`` counts them."""

    name: str
    description: str | None
    latest: str
    versions: int
    registered_ms: int


class WorkflowVersion(_Shape, frozen=True, kw_only=True):
    """A version of a workflow, with its whole definition.

    Its executions run on ``code``, whatever becomes of the folders; None: on what is installed.
    """

    name: str
    version: str
    digest: str
    code: PinnedCode | None = None
    registered_ms: int
    definition: dict[str, Any]
    versions: tuple[VersionInfo, ...] = ()


class ApiKey(_Shape, frozen=True, kw_only=True):
    """A key. ``secret`` is there once, when it is made."""

    id: str
    name: str
    scopes: tuple[str, ...]
    created_ms: int
    revoked_ms: int | None = None
    secret: str | None = None

    def __repr__(self) -> str:
        return f"ApiKey({self.id!r}, {self.name!r})"


class Webhook(_Shape, frozen=True, kw_only=True):
    """A URL that is told of events. ``secret`` is there once: when it is made or changed."""

    id: str
    url: str
    events: tuple[str, ...]
    description: str
    created_ms: int
    secret: str | None = None

    def __repr__(self) -> str:
        return f"Webhook({self.id!r}, {self.url!r})"


class Delivery(_Shape, frozen=True, kw_only=True):
    """A message to a webhook, and how far it has come.

    ``id`` is the same in every try, and the receiver's ``webhook-id``. ``status`` and ``error``
    are of the latest try, ``next_ms`` is when the next one is due.
    """

    id: str
    webhook: str
    type: str
    execution: str
    index: int
    at_ms: int
    state: Literal["pending", "delivered", "given_up"]
    attempts: int
    tried_ms: int | None = None
    took_ms: int | None = None
    status: int | None = None
    error: str = ""
    next_ms: int | None = None
