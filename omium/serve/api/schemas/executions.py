"""Executions: what is submitted, how far one is, and what came of it.

Owns the answer that shows a whole execution, its questions and its failure included. What is
sent to one that exists is in ``control``, what lies in its journal in ``journal``.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, StringConstraints

from omium.serve.api.schemas.handoffs import HandoffShown
from omium.serve.api.schemas.parameters import AN_EXECUTION, Body, Labels, ModelName
from omium.types import Status


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
    labels: Labels = Field(default={})


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

    id: str = Field(examples=[AN_EXECUTION])
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
    handoffs: list[HandoffShown] = Field(
        default=[], description="Those that their receivers check before they take them."
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
