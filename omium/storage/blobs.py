"""Blobs: immutable values in an object store, named by their content.

Owns the key of a blob and the limits. The form in which one is stored is in ``packing``, where it
is stored in ``objects``. Does not decide what is worth a blob, nor when one may be deleted.

Every read checks all of a blob, so a damaged one is named and never served.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from omium.errors import CorruptBlob, InputError, NotFound
from omium.execution.blobref import BlobRef
from omium.storage.object_urls import open_object_store
from omium.storage.objects import ObjectStore, S3Options
from omium.storage.packing import COMPRESSION_LEVEL, HEADER_BYTES, pack, unpack
from omium.types import Json

BLOB_BYTES_MAX = 256 * 1024 * 1024

OFF_LOOP_BYTES = 64 * 1024
"""From this size on, hashing and compression leave the event loop for a thread."""

_DIGEST = re.compile(r"sha256:([0-9a-f]{64})")
_TENANT = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")

_log = logging.getLogger(__name__)
_P = ParamSpec("_P")
_T = TypeVar("_T")


class BlobStore:
    """Blobs of all tenants in one object store.

    Equal content is stored once for each tenant; tenants share nothing. Besides the errors
    that each method names, all raise ``InputError`` for a malformed tenant or digest,
    ``BlobStoreError`` when a remote store fails (a retry makes sense), ``StorageFull`` and
    ``StorageUnwritable`` when a local one does.
    """

    def __init__(
        self,
        objects: ObjectStore,
        *,
        blob_bytes_max: int = BLOB_BYTES_MAX,
        compression_level: int = COMPRESSION_LEVEL,
    ) -> None:
        self._objects = objects
        self._blob_bytes_max = blob_bytes_max
        self._compression_level = compression_level

    async def put(self, data: bytes, *, tenant: str) -> BlobRef:
        """Store ``data`` and return its name. Durable when this returns.

        Content that is already there is not written again, unless the stored copy has the
        wrong length and turns out damaged: then this one replaces it. Flipped bits keep the
        length; ``get`` and ``verify`` find them. Raises ``InputError`` over the size limit.
        """
        _check_tenant(tenant)
        if len(data) > self._blob_bytes_max:
            raise InputError(
                f"a blob of {len(data)} bytes is over the limit of {self._blob_bytes_max} bytes"
            )
        ref, body = await _off_loop(len(data), pack, data, self._compression_level)
        key = blob_key(ref, tenant=tenant)
        if await self._objects.put_new(key, body):
            return ref
        if await self._objects.size(key) != len(body) and not await self._is_intact(ref, key):
            await self._objects.replace(key, body)
        return ref

    async def get(self, ref: BlobRef, *, tenant: str) -> bytes:
        """The content that ``ref`` names.

        Raises ``NotFound`` when the tenant has no such blob, ``CorruptBlob`` when what is
        stored is not that content.
        """
        body = await self._objects.read(
            blob_key(ref, tenant=tenant), bytes_max=HEADER_BYTES + ref.size
        )
        if body is None:
            raise NotFound("blob", ref.digest, f"tenant {tenant!r} has none of that digest")
        return await _off_loop(ref.size, unpack, body, ref)

    async def exists(self, ref: BlobRef, *, tenant: str) -> bool:
        """Whether something is stored under the name; ``verify`` tells whether it is intact."""
        return await self._objects.size(blob_key(ref, tenant=tenant)) is not None

    async def delete(self, ref: BlobRef, *, tenant: str) -> None:
        """Delete the blob. That there is none is a success."""
        await self._objects.remove(blob_key(ref, tenant=tenant))

    async def verify(self, ref: BlobRef, *, tenant: str) -> None:
        """Read the whole blob and check it. Raises what ``get`` raises."""
        await self.get(ref, tenant=tenant)

    async def put_json(self, value: Json, *, tenant: str) -> BlobRef:
        """Store a JSON value in canonical form: equal values have equal names.

        Raises ``InputError`` for what JSON cannot carry, NaN and infinities included.
        """
        return await self.put(canonical_json(value), tenant=tenant)

    async def get_json(self, ref: BlobRef, *, tenant: str) -> Json:
        """The JSON value that ``ref`` names. Raises what ``get`` raises, and ``CorruptBlob``
        when the content is not JSON."""
        content = await self.get(ref, tenant=tenant)
        try:
            return json.loads(content)
        except (ValueError, RecursionError) as error:
            raise CorruptBlob(ref.digest, f"its content is not JSON: {error}") from error

    async def _is_intact(self, ref: BlobRef, key: str) -> bool:
        body = await self._objects.read(key, bytes_max=HEADER_BYTES + ref.size)
        if body is None:
            return False
        try:
            await _off_loop(ref.size, unpack, body, ref)
        except CorruptBlob as error:
            _log.warning("replacing a stored copy: %s", error)
            return False
        return True


def open_blob_store(
    url: str,
    *,
    s3: S3Options | None = None,
    blob_bytes_max: int = BLOB_BYTES_MAX,
    compression_level: int = COMPRESSION_LEVEL,
) -> BlobStore:
    """The blob store at ``url``.

    ``memory://`` is a fresh store that dies with the object; ``file:///directory`` or a plain
    path is a local directory; ``s3://bucket/prefix`` is reached as ``s3`` says. Nothing remote
    is contacted yet. Raises ``ConfigError`` for a URL of another kind, ``StorageUnwritable`` or
    ``StorageFull`` for a directory that cannot be made.
    """
    return BlobStore(
        open_object_store(url, s3=s3),
        blob_bytes_max=blob_bytes_max,
        compression_level=compression_level,
    )


def blob_key(ref: BlobRef, *, tenant: str) -> str:
    """The key under which a tenant's blob is stored."""
    _check_tenant(tenant)
    match = _DIGEST.fullmatch(ref.digest)
    if match is None:
        raise InputError(f"blob digest {ref.digest!r}: expected sha256: and 64 hex digits")
    return f"{tenant}/blobs/{match[1][:2]}/{match[1][2:]}"


def canonical_json(value: Json) -> bytes:
    """JSON with sorted keys, without spaces, in UTF-8. Raises ``InputError``."""
    try:
        text = json.dumps(
            value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
        )
    except (TypeError, ValueError, RecursionError) as error:
        raise InputError(f"a value that JSON cannot carry: {error}") from error
    # Models do emit lone surrogates; ``json.loads`` decodes bytes the same way.
    return text.encode("utf-8", "surrogatepass")


def _check_tenant(tenant: str) -> None:
    if _TENANT.fullmatch(tenant) is None:
        raise InputError(
            f"tenant {tenant!r}: expected 1 to 63 of a-z, 0-9, '_' and '-', "
            "the first a letter or a digit"
        )


async def _off_loop(size: int, work: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
    if size < OFF_LOOP_BYTES:
        return work(*args, **kwargs)
    return await asyncio.to_thread(work, *args, **kwargs)
