"""What one agent hands to another that checks it: the verdict, its reasons, and the votes.

Owns what is shown of a handoff. What is decided about one that was rejected is in ``control``.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field


class ReasonShown(BaseModel):
    """Why a handoff was rejected."""

    code: Literal["schema", "schema_version", "deadline", "vote"] = Field(
        description="`schema`: the output breaks the receiver's input schema at `path`; "
        "`deadline`: nobody accepted it in time; `vote`: `validator` voted against it."
    )
    message: str = Field(description="For people.")
    path: str = Field(default="", description="A JSON Pointer into what was handed over.")
    validator: str = Field(default="", description="Who voted against it, of a `vote`.")


class VoteShown(BaseModel):
    """What a validator said of a handoff, and why."""

    validator: str = Field(description="The function, `package.module:function`, or the agent.")
    ballot: Literal["for", "against"]
    reason: str = ""


class HandoffShown(BaseModel):
    """What one agent hands to another that checks it: the latest between these two."""

    handoff: str = Field(description="Its name in the journal.")
    source: str
    to: str
    status: Literal["offered", "accepted", "rejected", "failed"]
    index: int = Field(description="The journal index of the offer.")
    offered_ms: int
    reasons: list[ReasonShown] = []
    votes: list[VoteShown] = Field(
        default=[], description="About what is handed over, in the order in which they were given."
    )
