"""The journal of an execution, its checkpoints, and the difference of two of them.

Owns the frame of an entry. What follows an entry's type is not declared here: it is the event
itself, as the list of events has it.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

JOURNAL_PAGE_MAX = 100


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
