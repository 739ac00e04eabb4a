"""Commands: what consensus orders. Each one is carried out whole or not at all.

An ``Append`` grows the journal of one execution; a ``WriteRecord`` changes one record of a
tenant's. Nothing here decides whether a command may be carried out.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import msgspec

from omium.errors import CorruptRecord
from omium.execution.events import FORMAT, Append
from omium.types import TenantId


class WriteRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="record"):
    """A request to write one record: whatever a tenant owns that is no execution.

    A record is named by ``kind`` and ``key`` and has a version that counts from 1.
    ``expect`` is the version that must be there, 0 for none at all, None for any. ``body`` is
    JSON; ``delete`` removes the record instead.
    """

    tenant: TenantId
    kind: str
    key: str
    body: Any = None
    expect: int | None = None
    delete: bool = False
    at_ms: int = 0
    format: int = FORMAT


Command: TypeAlias = Append | WriteRecord

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
