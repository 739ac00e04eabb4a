"""Workflows and their versions: as registered, in lists, and in what two of them differ.

Owns no shape of a definition: that is the model of the definitions' own room, and is shown here
as it was stored.
"""

from __future__ import annotations

from typing import Annotated, Any, TypeAlias

from fastapi import Query
from pydantic import BaseModel, Field

from omium.serve.api.problems import FieldError, Problem
from omium.serve.api.schemas.code import CodeChanges, PinnedCode

CodeQuery: TypeAlias = Annotated[
    str | None,
    Query(
        alias="code",
        pattern=r"^sha256:[0-9a-f]{64}$",
        description="The digest of code that was uploaded, to run on instead of the service's.",
    ),
]


class VersionInfo(BaseModel):
    """A version in a list."""

    version: str
    digest: str
    registered_ms: int
    code: str | None = Field(description="The digest of its code.")


class WorkflowVersion(BaseModel):
    """One version of a workflow, as it was registered."""

    name: str = Field(examples=["loan-apr"])
    version: str = Field(examples=["1"])
    digest: str = Field(description="SHA-256 of the definition.")
    code: PinnedCode | None = Field(
        description="The code that its executions run on; null: what is installed."
    )
    registered_ms: int = Field(description="When, in milliseconds since 1970.")
    definition: dict[str, Any] = Field(description="The whole definition, defaults written out.")
    versions: list[VersionInfo] = Field(
        default=[], description="All versions, the latest last. Where a name was asked for."
    )


class VersionChanges(BaseModel):
    """In what a version differs from the one that was registered."""

    definition: list[str] = Field(
        description="Dotted paths, such as `agents.analyst.model`; at most 100."
    )
    code: CodeChanges
    left_out: int = Field(description="How many more there are, of all kinds.")


class VersionConflict(Problem):
    """That version is registered, and is another one."""

    changes: VersionChanges | None = None


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
