"""The runtime itself: what it supervises, how far its archive has come, and its end.

Owns nothing of an execution, and of no tenant.
"""

from __future__ import annotations

import msgspec

from omium.actors.messages.base import Message
from omium.types import AgentName, TenantId, WorkerId


class GetRuntime(Message, frozen=True, kw_only=True, tag="get_runtime"):
    """Answer: ``RuntimeView``."""


class WorkerView(msgspec.Struct, frozen=True, kw_only=True):
    worker: WorkerId
    framework: str
    pid: int
    capacity: int
    attempts: int
    binding: tuple[TenantId, str, AgentName] | None


class ArchiveView(msgspec.Struct, frozen=True, kw_only=True):
    """How far an archive has come: ``shipped`` of ``committed`` entries of the log.

    A total loss now would cost the rest, which is ``behind_ms`` old. ``trouble`` is why shipping
    does not go on, if it does not. ``held`` answers wait for it, where they are to.
    """

    url: str
    shipped: int
    committed: int
    behind_ms: int
    trouble: str = ""
    held: int = 0


class RuntimeView(Message, frozen=True, kw_only=True, tag="runtime"):
    """What the coordinator supervises: its workers and its gateway's address, if any.

    ``followers`` are the other voters of its group that keep up with it; ``archive`` is None
    where nothing is shipped. ``shards`` are what each of several says of itself.
    """

    workers: tuple[WorkerView, ...]
    gateway_url: str
    gateway_pid: int
    pid: int
    followers: int = 0
    archive: ArchiveView | None = None
    shards: tuple[RuntimeView, ...] = ()


class BeginDrain(Message, frozen=True, kw_only=True, tag="begin_drain"):
    """Begin no step any more. Answer, at once: ``Drained``, with those that are under way."""


class Drain(Message, frozen=True, kw_only=True, tag="drain"):
    """Begin no step any more; let those under way finish for ``grace_s`` seconds.

    Answer: ``Drained``.
    """

    grace_s: float


class Drained(Message, frozen=True, kw_only=True, tag="drained"):
    """``attempts`` are still in the middle of a step; 0 when all came to the end of one."""

    attempts: int


class StopRuntime(Message, frozen=True, kw_only=True, tag="stop_runtime"):
    """Stop leasing and shut the workers down. Answer: ``Done``."""
