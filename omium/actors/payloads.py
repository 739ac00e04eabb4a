"""Values as payloads: what the journal carries inline, and what it only names in a blob store."""

from __future__ import annotations

import json
from typing import Any, Protocol

import msgspec

from omium.errors import AgentError
from omium.execution.blobref import BlobRef
from omium.execution.records import INLINE_BYTES_MAX, Payload
from omium.types import Json, TenantId


class Blobs(Protocol):
    """What payloads and bundles of code need of a blob store."""

    async def put_json(self, value: Json, *, tenant: str) -> BlobRef: ...

    async def get_json(self, ref: BlobRef, *, tenant: str) -> Json: ...

    async def put(self, data: bytes, *, tenant: str) -> BlobRef: ...

    async def get(self, ref: BlobRef, *, tenant: str) -> bytes: ...

    async def exists(self, ref: BlobRef, *, tenant: str) -> bool: ...


def as_json(value: Any, what: str) -> Json:
    """``value`` as the journal will give it back, so that a replay sees what the first run saw.

    Raises ``AgentError`` naming ``what`` when JSON cannot carry it.
    """
    try:
        plain = json.loads(json.dumps(value, allow_nan=False))
        msgspec.json.encode(plain)  # integers beyond 64 bits and lone surrogates
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise AgentError(f"{what}, a {type(value).__name__}, is not JSON: {error}") from error
    return plain


async def payload_of(value: Json, blobs: Blobs, tenant: TenantId) -> Payload:
    """A value as a payload: inline when small, else stored first and then named."""
    if len(msgspec.json.encode(value)) <= INLINE_BYTES_MAX:
        return Payload(inline=value)
    return Payload(blob=await blobs.put_json(value, tenant=tenant))


async def value_of(payload: Payload, blobs: Blobs, tenant: TenantId) -> Any:
    """The inverse of ``payload_of``."""
    if payload.blob is None:
        return payload.inline
    return await blobs.get_json(payload.blob, tenant=tenant)
