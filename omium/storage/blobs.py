"""Blobs: immutable values in an object store, named by their content.

Owns the key of a blob, the packed form in which it is stored, and the limits. Does not decide
what is worth a blob, nor when one may be deleted.

Stored form, little-endian, 60 bytes before the payload::

    0  magic b"OMBL"      8  size of the content   24  SHA-256 of the content
    4  format version    16  size of the payload   56  CRC-32 of bytes 0 to 55
    5  codec (0 raw, 1 zstd), then two zero bytes

Every read checks all of it, so a damaged object is named and never served.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import re
import struct
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, ParamSpec, Protocol, TypeVar
from urllib.parse import unquote, urlsplit

import obstore
import zstandard
from obstore.exceptions import (
    AlreadyExistsError,
    BaseError,
    PermissionDeniedError,
    UnauthenticatedError,
)
from obstore.store import MemoryStore, S3Store

from omium.errors import BlobStoreError, ConfigError, CorruptBlob, InputError, NotFound
from omium.execution.blobref import BlobRef
from omium.storage.local_files import LocalObjectStore
from omium.types import Json

BLOB_BYTES_MAX = 256 * 1024 * 1024
COMPRESSION_LEVEL = 3
"""zstandard's own default: past it, time grows much faster than the saving."""

OFF_LOOP_BYTES = 64 * 1024
"""From this size on, hashing and compression leave the event loop for a thread."""

FORMAT_VERSION = 1
_MAGIC = b"OMBL"
_RAW, _ZSTD = 0, 1
_HEADER = struct.Struct("<4sBBHQQ32s")
_CRC = struct.Struct("<I")
HEADER_BYTES = _HEADER.size + _CRC.size

_DIGEST = re.compile(r"sha256:([0-9a-f]{64})")
_TENANT = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
_S3_CODE = re.compile(r"<Code>(\w+)</Code>")

_log = logging.getLogger(__name__)
_P = ParamSpec("_P")
_T = TypeVar("_T")


class ObjectStore(Protocol):
    """Where packed blobs lie. A write that has returned is durable, and no reader ever sees
    a part of one. Errors are Omium's."""

    async def put_new(self, key: str, body: bytes) -> bool:
        """Store ``body``, or return ``False`` and change nothing when ``key`` is taken.

        Of two writers at the same moment one is told ``True``.
        """
        ...

    async def replace(self, key: str, body: bytes) -> None:
        """Store ``body``, whatever is there."""
        ...

    async def read(self, key: str, *, bytes_max: int) -> bytes | None:
        """The object, cut off after ``bytes_max + 1`` bytes; ``None`` when there is none."""
        ...

    async def size(self, key: str) -> int | None:
        """Bytes stored; ``None`` when there is no object."""
        ...

    async def remove(self, key: str) -> None:
        """Remove the object. That there is none is a success."""
        ...

    async def keys(self, folder: str) -> list[str]:
        """The keys that begin with ``folder`` and a slash, in any order."""
        ...


@dataclass(frozen=True, kw_only=True)
class S3Options:
    """How an S3 service is reached.

    ``endpoint`` of ``None`` is AWS itself. An ``access_key`` of ``None`` leaves the identity
    to the AWS chain (instance or pod role); otherwise exactly the given one is used. Times are
    in seconds: a request is tried ``1 + retries_max`` times, and no further try starts
    ``retry_timeout_s`` after the first.
    """

    endpoint: str | None = None
    region: str = "us-east-1"
    access_key: str | None = None
    secret_key: str | None = field(default=None, repr=False)
    session_token: str | None = field(default=None, repr=False)
    allow_http: bool = False
    connect_timeout_s: float = 2.0
    request_timeout_s: float = 60.0
    retries_max: int = 3
    retry_timeout_s: float = 30.0

    def __post_init__(self) -> None:
        if (self.access_key is None) != (self.secret_key is None):
            raise ConfigError("an S3 access key and its secret go together: give both or neither")
        if self.endpoint is None:
            return
        scheme = urlsplit(self.endpoint).scheme
        if scheme not in ("http", "https"):
            raise ConfigError(f"S3 endpoint {self.endpoint!r}: expected http:// or https://")
        if scheme == "http" and not self.allow_http:
            raise ConfigError(f"S3 endpoint {self.endpoint!r} is not encrypted: set allow_http")


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


def open_object_store(url: str, *, s3: S3Options | None = None) -> ObjectStore:
    """The object store at ``url``, which ``open_blob_store`` describes. Raises what it raises."""
    options = s3 or S3Options()
    if not url:
        raise ConfigError("the blob store's URL is empty")
    directory = local_directory(url)
    if directory is not None:
        return LocalObjectStore(directory)
    parts = urlsplit(url)
    match parts.scheme:
        case "memory" if not parts.netloc and parts.path in ("", "/"):
            return ObstoreObjectStore(MemoryStore())
        case "s3" if parts.netloc:
            return ObstoreObjectStore(_s3_store(parts.netloc, parts.path.strip("/"), options))
    raise ConfigError(
        f"blob store {url!r}: expected memory://, file:///directory, a path, or s3://bucket/prefix"
    )


def local_directory(url: str) -> Path | None:
    """The directory that ``url`` names; None for any other kind of URL."""
    if "://" not in url:
        return Path(url) if url else None
    parts = urlsplit(url)
    if parts.scheme == "file" and parts.netloc in ("", "localhost") and parts.path:
        return Path(unquote(parts.path))
    return None


# ---------------------------------------------------------------- names and the packed form


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


def pack(data: bytes, compression_level: int) -> tuple[BlobRef, bytes]:
    """The name of ``data`` and the form in which it is stored."""
    digest = hashlib.sha256(data)
    codec, payload = _RAW, data
    compressed = _compressor(compression_level).compress(data)
    if len(compressed) < len(data):
        codec, payload = _ZSTD, compressed
    header = _HEADER.pack(
        _MAGIC, FORMAT_VERSION, codec, 0, len(data), len(payload), digest.digest()
    )
    ref = BlobRef(digest=f"sha256:{digest.hexdigest()}", size=len(data))
    return ref, b"".join((header, _CRC.pack(zlib.crc32(header)), payload))


_compressors = threading.local()


def _compressor(level: int) -> zstandard.ZstdCompressor:
    """One for each thread and level: making one takes as long as compressing a kilobyte."""
    made: dict[int, zstandard.ZstdCompressor] = _compressors.__dict__.setdefault("made", {})
    if level not in made:
        made[level] = zstandard.ZstdCompressor(level=level)
    return made[level]


def ref_in(body: bytes) -> BlobRef:
    """The name of the content that the stored form ``body`` says to hold; ``unpack`` checks
    that it does. Raises ``CorruptBlob`` for a body without a header."""
    if len(body) < HEADER_BYTES:
        raise CorruptBlob("", f"cut off after {len(body)} bytes, inside the header")
    _, _, _, _, size, _, digest = _HEADER.unpack_from(body)
    return BlobRef(digest=f"sha256:{digest.hex()}", size=size)


def unpack(body: bytes, ref: BlobRef) -> bytes:
    """The content in the stored form ``body``. Raises ``CorruptBlob`` unless it is ``ref``'s."""

    def corrupt(found: str) -> CorruptBlob:
        return CorruptBlob(ref.digest, found)

    if len(body) < HEADER_BYTES:
        raise corrupt(f"cut off after {len(body)} bytes, inside the header")
    magic, version, codec, _, size, payload_size, digest = _HEADER.unpack_from(body)
    if magic != _MAGIC:
        raise corrupt(f"starts with {magic!r}, not {_MAGIC!r}")
    if version != FORMAT_VERSION:
        raise corrupt(f"has format version {version}, this Omium reads {FORMAT_VERSION}")
    if zlib.crc32(body[: _HEADER.size]) != _CRC.unpack_from(body, _HEADER.size)[0]:
        raise corrupt("has a header whose checksum is wrong")
    if f"sha256:{digest.hex()}" != ref.digest:
        raise corrupt(f"holds the blob sha256:{digest.hex()}")
    if size != ref.size:
        raise corrupt(f"holds {size} bytes of content where {ref.size} are expected")
    payload = memoryview(body)[HEADER_BYTES:]
    if len(payload) != payload_size:
        raise corrupt(f"has {len(payload)} or more bytes of payload, of {payload_size} written")
    content = _decode(codec, payload, size, corrupt)
    found = hashlib.sha256(content).hexdigest()
    if f"sha256:{found}" != ref.digest:
        raise corrupt(f"has content of sha256:{found}")
    return content


def _decode(
    codec: int, payload: memoryview, size: int, corrupt: Callable[[str], CorruptBlob]
) -> bytes:
    if codec == _RAW:
        return bytes(payload)
    if codec != _ZSTD:
        raise corrupt(f"has the unknown codec {codec}")
    try:
        # The frame says how much it will allocate: a damaged one must not choose that freely.
        if zstandard.frame_content_size(payload) != size:
            raise corrupt("has a zstd frame of another size")
        return zstandard.ZstdDecompressor().decompress(payload, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise corrupt(f"does not decompress: {error}") from error


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


# ------------------------------------------------------------------------- obstore's stores


class ObstoreObjectStore:
    """An ``ObjectStore`` in one of obstore's stores: memory or S3."""

    def __init__(self, store: MemoryStore | S3Store) -> None:
        self._store = store

    async def put_new(self, key: str, body: bytes) -> bool:
        with _translated(key):
            try:
                await obstore.put_async(self._store, key, body, mode="create")
            except AlreadyExistsError:
                return False
        return True

    async def replace(self, key: str, body: bytes) -> None:
        with _translated(key):
            await obstore.put_async(self._store, key, body, mode="overwrite", use_multipart=False)

    async def read(self, key: str, *, bytes_max: int) -> bytes | None:
        with _translated(key):
            try:
                result = await obstore.get_async(self._store, key)
                if result.meta["size"] <= bytes_max:
                    return bytes(await result.bytes_async())
                start = await obstore.get_range_async(
                    self._store, key, start=0, length=bytes_max + 1
                )
                return bytes(start)
            except FileNotFoundError as error:
                if _s3_code(error) == "NoSuchBucket":
                    raise
                return None

    async def size(self, key: str) -> int | None:
        with _translated(key):
            try:
                meta = await obstore.head_async(self._store, key)
            except FileNotFoundError:
                # A HEAD has no body to tell a missing bucket from a missing object.
                await self.read(key, bytes_max=0)
                return None
        return meta["size"]

    async def remove(self, key: str) -> None:
        with _translated(key):
            try:
                await obstore.delete_async(self._store, key)
            except FileNotFoundError as error:
                if _s3_code(error) == "NoSuchBucket":
                    raise

    async def keys(self, folder: str) -> list[str]:
        with _translated(folder):
            found: list[str] = []
            async for batch in obstore.list(self._store, f"{folder}/"):
                found += [meta["path"] for meta in batch]
            return found


def _s3_store(bucket: str, prefix: str, options: S3Options) -> S3Store:
    # What is left out here, obstore takes from AWS_* variables.
    config: dict[str, Any] = {
        "region": options.region,
        "conditional_put": "etag",
        "skip_signature": False,
        "disable_bulk_delete": True,
        "virtual_hosted_style_request": False,
    }
    if options.endpoint is not None:
        config["endpoint"] = config["aws_endpoint_url_s3"] = options.endpoint
    if options.access_key is not None:
        credential = {
            "access_key_id": options.access_key,
            "secret_access_key": options.secret_key,
            "token": options.session_token,
            "expires_at": None,
        }
        config["credential_provider"] = lambda: credential
    try:
        return S3Store(
            bucket,
            prefix=prefix or None,
            client_options={
                "allow_http": options.allow_http,
                "connect_timeout": timedelta(seconds=options.connect_timeout_s),
                "timeout": timedelta(seconds=options.request_timeout_s),
            },
            retry_config={
                "max_retries": options.retries_max,
                "retry_timeout": timedelta(seconds=options.retry_timeout_s),
            },
            **config,
        )
    except (BaseError, ValueError) as error:
        raise ConfigError(f"blob store s3://{bucket}/{prefix}: {_reason(error)}") from error


@contextmanager
def _translated(key: str) -> Iterator[None]:
    try:
        yield
    except (PermissionDeniedError, UnauthenticatedError) as error:
        raise BlobStoreError(
            f"object {key!r}: the store refused the credentials "
            f"({_s3_code(error) or 'HTTP 401 or 403'}); check the access key, its secret and "
            "what they may do in this bucket"
        ) from error
    except (BaseError, FileNotFoundError) as error:
        raise BlobStoreError(f"object {key!r}: {_reason(error)}") from error


def _s3_code(error: Exception) -> str:
    match = _S3_CODE.search(str(error))
    return match[1] if match else ""


def _reason(error: Exception) -> str:
    """The first line of an obstore error: the rest is XML and Rust's debug output."""
    line = str(error).split("\n", 1)[0].split(": <?xml", 1)[0]
    code = _s3_code(error)
    return f"{line} ({code})" if code else line
