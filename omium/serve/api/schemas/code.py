"""Bundles of code: those that a tenant uploads, and those that a version runs on.

Owns how one is named and listed. What is in a bundle has no shape here: it is never sent out
again.
"""

from __future__ import annotations

from pydantic import BaseModel, Field


class CodeShown(BaseModel):
    """A bundle of code, named by its content."""

    digest: str = Field(description="`sha256:` and the digest in hex.")
    bytes: int
    files: int


class PinnedCode(CodeShown):
    """What a version runs on."""

    uploaded: bool = Field(description="Whether it was uploaded, or is the service's own.")


class CodeUploaded(CodeShown):
    """A bundle that the tenant has uploaded."""

    uploaded_ms: int


class CodePage(BaseModel):
    code: list[CodeUploaded]
    next_cursor: str | None = Field(description="Null on the last page.")


class CodeChanges(BaseModel):
    """By the names of the files; at most 100 of each kind."""

    added: list[str]
    changed: list[str]
    removed: list[str]
