"""What the rooms of the API share: the limits, the parameters of paths and queries, and the base of
what is sent.

Owns no body and no answer: those are in the room of the resource that they are about.
"""

from __future__ import annotations

from typing import Annotated, TypeAlias

from fastapi import Path, Query
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

PAGE_MAX = 200
LABELS_MAX = 16
INDEX_MAX = 2**53 - 1
"""The largest integer that JSON carries unharmed everywhere (RFC 8259, section 6)."""

AN_EXECUTION = "ex_0kq3c8m0v1f2r4t6y"

ExecutionIdPath: TypeAlias = Annotated[
    str, Path(description="The id of an execution.", examples=[AN_EXECUTION])
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
