"""Commands: what consensus orders. Each one is carried out whole or not at all.

An ``Append`` grows the journal of one execution; a ``WriteRecord`` changes one record of a
tenant's; a ``WriteDelivery`` says what became of a webhook's delivery; a ``ClaimRequest``
says what a request concerns that another shard carries out. Nothing here decides whether a
command may be carried out.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import msgspec

from omium.errors import CorruptRecord
from omium.execution.events import FORMAT, Append, Request
from omium.types import ExecutionId, TenantId


class WriteRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="record"):
    """A request to write one record: whatever a tenant owns that is no execution.

    A record is named by ``kind`` and ``key`` and has a version that counts from 1.
    ``expect`` is the version that must be there, 0 for none at all, None for any. ``body`` is
    JSON; ``delete`` removes the record instead. ``request`` is what a client calls it by.
    """

    tenant: TenantId
    kind: str
    key: str
    body: Any = None
    expect: int | None = None
    delete: bool = False
    at_ms: int = 0
    request: Request | None = None
    format: int = FORMAT


class WriteDelivery(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="delivery"):
    """A request to write what became of telling a webhook of one event.

    The event of the type ``event`` is at ``index`` of ``execution`` and happened at ``event_ms``.
    ``body`` is the delivery's record; ``due_ms`` is when the next try is due, None when there is
    none. The event must be in the outbox, unless it is put there ``anew``; the webhook must be
    there. ``drop`` are the keys of deliveries that are no longer kept.
    """

    tenant: TenantId
    webhook: str
    execution: ExecutionId
    index: int
    event: str
    event_ms: int
    body: Any
    due_ms: int | None = None
    anew: bool = False
    drop: tuple[str, ...] = ()
    at_ms: int = 0
    request: Request | None = None
    format: int = FORMAT


class ClaimRequest(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="claim"):
    """A request to remember that a client's ``request`` concerns ``execution``, which another
    shard has. The first claim of a request counts."""

    tenant: TenantId
    request: Request
    execution: ExecutionId
    at_ms: int = 0
    format: int = FORMAT


Command: TypeAlias = Append | WriteRecord | WriteDelivery | ClaimRequest

_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[Command] = msgspec.msgpack.Decoder(Command)


def encode_command(command: Command) -> bytes:
    return _encoder.encode(command)


def decode_command(data: bytes, where: str) -> Command:
    """The inverse of ``encode_command``. Raises ``CorruptRecord`` naming ``where``."""
    try:
        command = _decoder.decode(data)
    except (msgspec.DecodeError, RecursionError) as error:
        raise CorruptRecord(where, str(error)) from error
    if command.format > FORMAT:
        raise CorruptRecord(where, f"format {command.format}, this Omium reads {FORMAT}")
    return command
