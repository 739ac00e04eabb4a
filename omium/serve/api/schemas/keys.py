"""API keys: what is asked for, and what is shown of one.

Owns that a secret is in one answer only, that of the key just made.
"""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from omium.serve.api.schemas.parameters import Body

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
