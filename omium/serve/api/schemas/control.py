"""What an execution that exists is told: to go on, a decision, an answer, a signal, a fork.

Owns which of these are well-formed. Whether one fits what the execution waits for is decided
where it is carried out.
"""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from pydantic import ConfigDict, Field, JsonValue, StringConstraints

from omium.serve.api.schemas.parameters import INDEX_MAX, Body, ShortText

SIGNAL_NAME = r"^[A-Za-z][A-Za-z0-9._-]{0,62}$"


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
    question, `retry` or `fail` for a call whose outcome is unknown; `retry`, `approve` or `fail`
    for a handoff that was rejected."""

    decision: Literal["retry", "fail", "approve", "deny"]
    call: CallIndex = None
    reason: ShortText = Field(default="", description="Why; the agent is told.")


class Answered(Body):
    """Go on, with `answer`: to a question what it asks for, of a tool that wants approval the
    arguments to run it with instead, of a call whose outcome is unknown its result, of a
    rejected handoff what is handed over instead."""

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
