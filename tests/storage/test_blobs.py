"""The blob laws on every backend: memory, a local directory, a real S3 server."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import obstore
import pytest
from obstore.store import MemoryStore

from omium.execution.blobref import BlobRef
from omium.storage.blobs import BLOB_BYTES_MAX, BlobStore, blob_key
from omium.storage.blobs import open_blob_store as open_store
from omium.storage.buckets import s3_client
from omium.storage.obstore_objects import ObstoreObjectStore
from omium.storage.sqlite_objects import SqliteObjects
from omium.testing.blob_conformance import BlobBackend, BlobStoreConformance
from omium.testing.seaweedfs import S3Server


class MemoryBackend:
    def __init__(self) -> None:
        self._objects = MemoryStore()

    def open(self, *, blob_bytes_max: int | None = None) -> BlobStore:
        return BlobStore(
            ObstoreObjectStore(self._objects), blob_bytes_max=blob_bytes_max or BLOB_BYTES_MAX
        )

    async def tamper(self, ref: BlobRef, *, tenant: str, change: Callable[[bytes], bytes]) -> None:
        key = blob_key(ref, tenant=tenant)
        body = bytes(obstore.get(self._objects, key).bytes())
        obstore.put(self._objects, key, change(body))

    async def stored(self, *, tenant: str) -> list[str]:
        return [meta["path"] for meta in obstore.list(self._objects, tenant).collect()]


class DirectoryBackend:
    def __init__(self, root: Path, url: str) -> None:
        self._root = root
        self._url = url

    def open(self, *, blob_bytes_max: int | None = None) -> BlobStore:
        return open_store(self._url, blob_bytes_max=blob_bytes_max or BLOB_BYTES_MAX)

    async def tamper(self, ref: BlobRef, *, tenant: str, change: Callable[[bytes], bytes]) -> None:
        path = self._root / blob_key(ref, tenant=tenant)
        path.write_bytes(change(path.read_bytes()))

    async def stored(self, *, tenant: str) -> list[str]:
        paths = (self._root / tenant).rglob("*")
        return [str(path.relative_to(self._root)) for path in paths if path.is_file()]


class FileBackend:
    """One SQLite file, which is what keeps checkpoints on a local disk."""

    def __init__(self, directory: Path) -> None:
        self._objects = SqliteObjects(directory)

    def open(self, *, blob_bytes_max: int | None = None) -> BlobStore:
        return BlobStore(self._objects, blob_bytes_max=blob_bytes_max or BLOB_BYTES_MAX)

    async def tamper(self, ref: BlobRef, *, tenant: str, change: Callable[[bytes], bytes]) -> None:
        key = blob_key(ref, tenant=tenant)
        body = await self._objects.read(key, bytes_max=BLOB_BYTES_MAX)
        assert body is not None
        await self._objects.replace(key, change(body))

    async def stored(self, *, tenant: str) -> list[str]:
        return await self._objects.keys(tenant)


class S3Backend:
    def __init__(self, server: S3Server, bucket: str) -> None:
        self._options = server.options()
        self._bucket = bucket
        self._prefix = uuid.uuid4().hex

    def open(self, *, blob_bytes_max: int | None = None) -> BlobStore:
        return open_store(
            f"s3://{self._bucket}/{self._prefix}",
            s3=self._options,
            blob_bytes_max=blob_bytes_max or BLOB_BYTES_MAX,
        )

    async def tamper(self, ref: BlobRef, *, tenant: str, change: Callable[[bytes], bytes]) -> None:
        place: dict[str, Any] = {
            "Bucket": self._bucket,
            "Key": f"{self._prefix}/{blob_key(ref, tenant=tenant)}",
        }
        with s3_client(self._bucket, self._options) as client:
            body = client.get_object(**place)["Body"].read()
            client.put_object(**place, Body=change(body))

    async def stored(self, *, tenant: str) -> list[str]:
        with s3_client(self._bucket, self._options) as client:
            page = client.list_objects_v2(Bucket=self._bucket, Prefix=f"{self._prefix}/{tenant}/")
        return [entry["Key"] for entry in page.get("Contents", ())]


class TestMemory(BlobStoreConformance):
    @pytest.fixture
    def backend(self) -> BlobBackend:
        return MemoryBackend()


class TestDirectory(BlobStoreConformance):
    @pytest.fixture
    def backend(self, tmp_path: Path) -> BlobBackend:
        return DirectoryBackend(tmp_path / "blobs", str(tmp_path / "blobs"))


class TestFile(BlobStoreConformance):
    @pytest.fixture
    def backend(self, tmp_path: Path) -> BlobBackend:
        return FileBackend(tmp_path)


@pytest.mark.s3
class TestS3(BlobStoreConformance):
    @pytest.fixture
    def backend(self, s3_server: S3Server, bucket: str) -> BlobBackend:
        return S3Backend(s3_server, bucket)
