"""Objects in obstore's stores: memory or S3.

Owns how a store is told of a service, and the translation of its errors, which go no further than
this module.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import obstore
from obstore.exceptions import (
    AlreadyExistsError,
    BaseError,
    PermissionDeniedError,
    UnauthenticatedError,
)
from obstore.store import MemoryStore, S3Store

from omium.errors import BlobStoreError, ConfigError
from omium.storage.objects import S3Options

_S3_CODE = re.compile(r"<Code>(\w+)</Code>")


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


def s3_store(bucket: str, prefix: str, options: S3Options) -> S3Store:
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
