"""Identifiers and the JSON type: the words that every room shares. No behaviour lives here."""

from __future__ import annotations

from typing import Literal, NewType, TypeAlias

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"
"""A value that JSON can carry (RFC 8259)."""

TenantId = NewType("TenantId", str)
ExecutionId = NewType("ExecutionId", str)
AgentName: TypeAlias = str
"""Unique within a workflow."""
WorkerId = NewType("WorkerId", str)
"""One agent actor process. A restarted process has a new one."""

Status = Literal["queued", "running", "paused", "completed", "failed", "cancelled"]

CallKind = Literal["llm", "tool", "human"]
"""``human`` asks somebody outside: a question, an approval, or a signal that is waited for."""

DEFAULT_TENANT = TenantId("default")
