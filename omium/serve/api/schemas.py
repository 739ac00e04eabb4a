"""The shapes of requests and answers, documented for OpenAPI.

Requests are validated by these models. Answers are encoded from the runtime's own records,
and the tests hold them to what is declared here.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

from fastapi import Path, Query
from pydantic import BaseModel, ConfigDict, Field, JsonValue, StringConstraints

from omium.serve.api.problems import FieldError
from omium.types import Status
from omium.webhooks.records import EVENTS, EventName

PAGE_MAX = 200
JOURNAL_PAGE_MAX = 100
LABELS_MAX = 16
INDEX_MAX = 2**53 - 1
"""The largest integer that JSON carries unharmed everywhere (RFC 8259, section 6)."""

SIGNAL_NAME = r"^[A-Za-z][A-Za-z0-9._-]{0,62}$"
_AN_EXECUTION = "ex_0kq3c8m0v1f2r4t6y"

ExecutionIdPath: TypeAlias = Annotated[
    str, Path(description="The id of an execution.", examples=[_AN_EXECUTION])
]
IndexPath: TypeAlias = Annotated[
    int, Path(ge=1, le=INDEX_MAX, description="The journal index of a checkpoint.", examples=[9])
]
Limit: TypeAlias = Annotated[
    int, Query(ge=1, le=PAGE_MAX, description=f"At most so many; {PAGE_MAX} at the most.")
]
Cursor: TypeAlias = Annotated[
    str | None,
    Query(max_length=200, description="What the page before gave as `next_cursor`."),
]
Wait: TypeAlias = Annotated[
    bool, Query(description="Wait for the end, and answer with the result.")
]
TimeoutS: TypeAlias = Annotated[
    float,
    Query(gt=0, le=3600, description="Wait so many seconds at most. Bounded by the service, too."),
]
LabelName: TypeAlias = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._/-]{0,62}$")
]
LabelValue: TypeAlias = Annotated[str, StringConstraints(pattern=r"^[ -~]{0,200}$")]
Labels: TypeAlias = Annotated[
    dict[LabelName, LabelValue],
    Field(max_length=LABELS_MAX, description="Your own, to find the execution by."),
]
ShortText: TypeAlias = Annotated[str, StringConstraints(max_length=1_000)]
ModelName: TypeAlias = Annotated[
    str, StringConstraints(pattern=r"^[a-z][a-z0-9_-]*/[^\s/]\S*$", max_length=200)
]


class Body(BaseModel):
    """Base of what is sent: unknown members are refused."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


# ------------------------------------------------------------------ workflows


class WorkflowVersion(BaseModel):
    """One version of a workflow, as it was registered."""

    name: str = Field(examples=["loan-apr"])
    version: str = Field(examples=["1"])
    digest: str = Field(description="SHA-256 of the definition.")
    registered_ms: int = Field(description="When, in milliseconds since 1970.")
    definition: dict[str, Any] = Field(description="The whole definition, defaults written out.")
    versions: list[VersionInfo] = Field(
        default=[], description="All versions, the latest last. Where a name was asked for."
    )


class VersionInfo(BaseModel):
    """A version in a list."""

    version: str
    digest: str
    registered_ms: int


class WorkflowInfo(BaseModel):
    """A workflow in a list."""

    name: str
    description: str | None
    latest: str = Field(description="The version that was registered last.")
    versions: int = Field(description="How many there are.")
    registered_ms: int = Field(description="When the latest was registered.")


class WorkflowPage(BaseModel):
    workflows: list[WorkflowInfo]
    next_cursor: str | None = Field(description="Null on the last page.")


class Validation(BaseModel):
    """What is wrong with a definition, if anything."""

    valid: bool
    problems: list[FieldError]


# ------------------------------------------------------------------ executions


class Submission(Body):
    """What is to be run."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "workflow": "loan-apr",
                "inputs": {"principal": 10000, "interest": 550, "years": 1},
                "labels": {"customer": "4711"},
            }
        }
    )

    workflow: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{0,62}$")] = Field(
        description="The name of a registered workflow."
    )
    version: Annotated[str, StringConstraints(pattern=r"^\S{1,32}$")] | None = Field(
        default=None, description="The latest where it is left out."
    )
    inputs: dict[str, JsonValue] = Field(default={}, description="What the workflow asks for.")
    model: ModelName | None = Field(
        default=None, description="`provider/model` for every agent, instead of their own."
    )
    labels: Labels = {}


class BlobReference(BaseModel):
    """The name of a value too large to carry."""

    digest: str = Field(description="`sha256:` and the digest in hex.")
    size: int = Field(description="Bytes.")


class PayloadShown(BaseModel):
    """A value: `inline`, or a `blob` where it is over 32 KB. Neither is null."""

    inline: Any = None
    blob: BlobReference | None = None


class FailureShown(BaseModel):
    """What went wrong."""

    kind: str
    message: str
    error_type: str = ""
    agent: str | None = None
    step: str = ""
    checkpoint: int = 0
    retryable: bool = False
    traceback: str = ""


class ExecutionInfo(BaseModel):
    """An execution in a list. Times are milliseconds since 1970."""

    id: str = Field(examples=[_AN_EXECUTION])
    tenant: str
    workflow: str
    version: str
    status: Status
    created_ms: int
    updated_ms: int
    last_index: int = Field(description="The index of the last journal entry.")
    origin: str | None = Field(description="Where a fork comes from: `execution@index`.")
    detail: str = Field(description="Its failure, or why it is paused.")
    agents_done: int
    agents_total: int
    llm_calls: int
    tool_calls: int
    checkpoints: int
    prompt_tokens: int
    completion_tokens: int
    cost_micros: int | None = Field(description="Millionths of a US dollar; null: unknown.")
    labels: dict[str, str]


class AgentShown(BaseModel):
    """How far an agent is."""

    name: str
    status: Literal["waiting", "leased", "completed", "skipped"] = Field(
        description="`skipped`: it does not run, since nobody handed to it."
    )
    round: int = Field(
        default=1, description="In a loop, how often it has begun; the rest is of this round."
    )
    epoch: int
    worker: str | None
    steps: int
    checkpoint: int = Field(description="The journal index of its last checkpoint, 0 for none.")
    output: PayloadShown | None


class PauseShown(BaseModel):
    """Why it is paused; `call` is the journal index of the call that wants a decision."""

    reason: str
    call: int


class QuestionShown(BaseModel):
    """What an agent asks, and nobody has answered yet. `resume` answers it by its `call`."""

    call: int = Field(description="The journal index of what is asked.")
    agent: str
    kind: Literal["question", "approval", "signal"]
    text: str = Field(description="For people.")
    schema_: dict[str, Any] | None = Field(
        alias="schema", description="The JSON Schema of the answer; null: any JSON will do."
    )
    tool: str = Field(description="The tool that an approval is about.")
    name: str = Field(description="The signal that is waited for.")
    arguments: PayloadShown | None = Field(
        description="What the tool is to be run with, of an approval."
    )
    asked_ms: int


class Execution(ExecutionInfo):
    """An execution as it stands."""

    agents: list[AgentShown]
    result: list[str] = Field(description="The agents whose outputs are the result.")
    failure: FailureShown | None
    pause: PauseShown | None
    questions: list[QuestionShown] = Field(
        description="What is asked and not answered, in the order of the journal."
    )


class ExecutionPage(BaseModel):
    executions: list[ExecutionInfo] = Field(description="The newest first.")
    next_cursor: str | None = Field(description="Null on the last page.")


class Result(BaseModel):
    """The result of a completed execution."""

    execution: str
    status: Literal["completed"]
    output: Any = Field(description="The output of the last agent, or of the last agents by name.")


class Pending(BaseModel):
    """It is durable, and has no result yet. `Location` says where to ask for more."""

    execution: str
    status: Status = Field(description="`queued` for one that was just created.")


# ------------------------------------------------------------------ control


class Remark(Body):
    detail: ShortText = Field(default="", description="Why, for whoever reads the journal.")


class Undecided(Body):
    """Go on. For an execution that waits for no decision."""


CallIndex: TypeAlias = Annotated[
    int | None,
    Field(
        ge=1,
        le=INDEX_MAX,
        description="The journal index of the call; the first that waits where it is left out.",
    ),
]


class Decided(Body):
    """Go on, with a decision: `approve` or `deny` for a tool that wants approval, `deny` for a
    question, `retry` or `fail` for a call whose outcome is unknown."""

    decision: Literal["retry", "fail", "approve", "deny"]
    call: CallIndex = None
    reason: ShortText = Field(default="", description="Why; the agent is told.")


class Answered(Body):
    """Go on, with `answer`: to a question what it asks for, of a tool that wants approval the
    arguments to run it with instead, of a call whose outcome is unknown its result."""

    decision: Literal["answer"] = "answer"
    answer: JsonValue
    call: CallIndex = None
    reason: ShortText = Field(default="", description="Why.")


Resumption: TypeAlias = Answered | Decided | Undecided


class SignalBody(Body):
    model_config = ConfigDict(
        json_schema_extra={"example": {"name": "approved", "payload": {"by": "Ann"}}}
    )

    name: Annotated[str, StringConstraints(pattern=SIGNAL_NAME)]
    payload: JsonValue = None


class ForkBody(Body):
    """A new execution from a point in another's journal."""

    model_config = ConfigDict(
        json_schema_extra={"example": {"at": 9, "changes": {"inputs.interest": 900}}}
    )

    at: Annotated[int, Field(ge=1, le=INDEX_MAX)] = Field(description="A journal index.")
    changes: Annotated[
        dict[Annotated[str, StringConstraints(min_length=1, max_length=500)], JsonValue],
        Field(max_length=100),
    ] = Field(default={}, description="Dotted paths in inputs, agents and outputs: new values.")


# ------------------------------------------------------------------ journal and checkpoints


class EntryShown(BaseModel):
    """A journal entry. What follows `type` depends on it; see the list of events."""

    model_config = ConfigDict(extra="allow")

    execution: str
    index: int
    at_ms: int
    epoch: int
    type: str = Field(examples=["call.completed"])


class JournalPage(BaseModel):
    entries: list[EntryShown]
    next_after: int | None = Field(description="What to ask with next; null at the end.")


class CheckpointInfo(BaseModel):
    index: int = Field(description="The journal index, which is the checkpoint's name.")
    agent: str
    step: str
    name: str
    at_ms: int
    bytes: int | None = Field(description="The size of a state in the blob store, else null.")


class CheckpointPage(BaseModel):
    checkpoints: list[CheckpointInfo]
    next_after: int | None = Field(description="What to ask with next; null at the end.")


class Checkpoint(CheckpointInfo):
    state: Any = Field(description="All that is needed to go on after it.")


class PatchOperation(BaseModel):
    model_config = ConfigDict(extra="allow")

    op: str
    path: str


class Diff(BaseModel):
    """What turns one state into the other: a JSON Patch (RFC 6902)."""

    source: int = Field(alias="from")
    to: int
    patch: list[PatchOperation]


# ------------------------------------------------------------------ keys


ScopeName: TypeAlias = Literal["read", "run", "admin"]


class KeyBody(Body):
    model_config = ConfigDict(json_schema_extra={"example": {"name": "ci", "scopes": ["run"]}})

    name: Annotated[str, StringConstraints(pattern=r"^[ -~]{1,100}$")]
    scopes: Annotated[list[ScopeName], Field(min_length=1, max_length=3)]


class KeyInfo(BaseModel):
    """A key without its secret."""

    id: str
    name: str
    scopes: list[ScopeName]
    created_ms: int
    revoked_ms: int | None


class KeyMade(KeyInfo):
    secret: str | None = Field(
        description="The whole key, shown this once; null where it was shown before."
    )


class KeyPage(BaseModel):
    keys: list[KeyInfo]
    next_cursor: str | None = Field(description="Null on the last page.")


# ------------------------------------------------------------------ webhooks


class WebhookBody(Body):
    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "url": "https://example.com/hooks/omium",
                "events": ["execution.completed", "execution.failed"],
            }
        }
    )

    url: Annotated[str, StringConstraints(pattern=r"^https?://[!-~]+$", max_length=2_000)] = Field(
        description="Where messages are posted to: https, at a public address, unless the "
        "service's setting `service.webhook_hosts` lists the host."
    )
    events: Annotated[list[EventName], Field(min_length=1, max_length=4)] = Field(
        default=list(EVENTS),
        description="What it is told of; all of these where it is left out.",
    )
    description: ShortText = ""


class WebhookInfo(BaseModel):
    """A webhook without its secret."""

    id: str = Field(examples=["wh_4fj2x7qa5mzk3b6c"])
    url: str
    events: list[EventName]
    description: str
    created_ms: int


class WebhookMade(WebhookInfo):
    secret: str | None = Field(
        description="What messages are signed with (`whsec_…`), shown this once; null where it "
        "was shown before."
    )


class WebhookPage(BaseModel):
    webhooks: list[WebhookInfo]
    next_cursor: str | None = Field(description="Null on the last page.")


class DeliveryInfo(BaseModel):
    """One message to a webhook, and how far it has come. Times are milliseconds since 1970."""

    id: str = Field(
        description="The message's id, the same in every try: the header `webhook-id`.",
        examples=[f"{_AN_EXECUTION}@9"],
    )
    webhook: str
    type: str = Field(examples=["execution.completed"])
    execution: str
    index: int = Field(description="The journal index of the event.")
    at_ms: int = Field(description="When the event happened.")
    state: Literal["pending", "delivered", "given_up"]
    attempts: int = Field(description="How often it was tried.")
    tried_ms: int | None = Field(description="When it was tried last.")
    took_ms: int | None = Field(description="How long that took.")
    status: int | None = Field(description="The HTTP status that it was answered with.")
    error: str = Field(description="What was wrong with the last try.")
    next_ms: int | None = Field(description="When the next try is due.")


class DeliveryPage(BaseModel):
    deliveries: list[DeliveryInfo] = Field(
        description="Those that were tried, by id, and so by the age of their executions. Of "
        "the settled ones the latest 200 are kept, and some more for a while."
    )
    next_cursor: str | None = Field(description="Null on the last page.")


# ------------------------------------------------------------------ models and health


class ModelInfo(BaseModel):
    id: str
    object: Literal["model"]
    created: int
    owned_by: str


class ModelList(BaseModel):
    object: Literal["list"]
    data: list[ModelInfo]


class Health(BaseModel):
    status: Literal["ok"]


WorkflowVersion.model_rebuild()
