"""S3 that is away, refuses, fails or is misconfigured: each has its own clear error."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from omium.errors import BlobStoreError, ConfigError, NotFound
from omium.execution.blobref import BlobRef
from omium.storage.blobs import BlobStore, open_blob_store
from omium.storage.buckets import s3_client
from omium.storage.objects import S3Options
from omium.testing.seaweedfs import S3Server

TENANT = "acme"
REF = BlobRef(digest="sha256:" + "0" * 64, size=3)

# None of these may reach the store: arguments say all there is to say.
MISLEADING = {
    "AWS_ENDPOINT": "http://127.0.0.1:1",
    "AWS_ENDPOINT_URL": "http://127.0.0.1:1",
    "AWS_ENDPOINT_URL_S3": "http://127.0.0.1:1",
    "AWS_ACCESS_KEY_ID": "nobody",
    "AWS_SECRET_ACCESS_KEY": "nothing",
    "AWS_SESSION_TOKEN": "stale",
    "AWS_REGION": "eu-west-1",
    "AWS_DEFAULT_REGION": "eu-west-2",
    "AWS_CONDITIONAL_PUT": "disabled",
    "AWS_SKIP_SIGNATURE": "true",
    "AWS_VIRTUAL_HOSTED_STYLE_REQUEST": "true",
    "AWS_ALLOW_HTTP": "false",
}


def options_at(port: int, *, retries_max: int = 0) -> S3Options:
    return S3Options(
        endpoint=f"http://127.0.0.1:{port}",
        access_key="key",
        secret_key="secret",
        allow_http=True,
        connect_timeout_s=1.0,
        request_timeout_s=1.0,
        retries_max=retries_max,
        retry_timeout_s=5.0,
    )


def open_bucket(bucket: str, options: S3Options) -> BlobStore:
    return open_blob_store(f"s3://{bucket}/some/prefix", s3=options)


def calls_on(store: BlobStore) -> dict[str, Callable[[], Awaitable[object]]]:
    return {
        "put": lambda: store.put(b"content", tenant=TENANT),
        "get": lambda: store.get(REF, tenant=TENANT),
        "exists": lambda: store.exists(REF, tenant=TENANT),
        "delete": lambda: store.delete(REF, tenant=TENANT),
        "verify": lambda: store.verify(REF, tenant=TENANT),
    }


CALLS = pytest.mark.parametrize("call", ["put", "get", "exists", "delete", "verify"])


@asynccontextmanager
async def answering(reply: bytes | None) -> AsyncIterator[tuple[int, list[bytes]]]:
    """A server that answers every request with ``reply``, or with silence for ``None``.

    Yields its port and the request lines that it has seen.
    """
    seen: list[bytes] = []
    over = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            seen.append(head.split(b"\r\n", 1)[0])
            if reply is None:
                await over.wait()
            else:
                writer.write(reply)
                await writer.drain()
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1], seen
    finally:
        over.set()
        server.close()
        await server.wait_closed()


@CALLS
async def test_a_closed_port_is_a_service_error(call: str) -> None:
    # Bound and not listening: refused, and nobody else can take the port meanwhile.
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        store = open_bucket("blobs", options_at(closed.getsockname()[1]))
        with pytest.raises(BlobStoreError, match="error sending request") as caught:
            await calls_on(store)[call]()
    assert "\n" not in str(caught.value)


async def test_retries_are_bounded() -> None:
    unavailable = b"HTTP/1.1 503 Slow Down\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    async with answering(unavailable) as (port, seen):
        with pytest.raises(BlobStoreError, match="503"):
            await open_bucket("blobs", options_at(port, retries_max=2)).get(REF, tenant=TENANT)
    assert len(seen) == 3


async def test_silence_is_bounded() -> None:
    async with answering(None) as (port, seen):
        with pytest.raises(BlobStoreError):
            await open_bucket("blobs", options_at(port)).put(b"content", tenant=TENANT)
    assert len(seen) == 1


async def test_keys_are_the_prefix_the_tenant_and_the_digest() -> None:
    missing = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    async with answering(missing) as (port, seen):
        with pytest.raises(NotFound):
            await open_bucket("blobs", options_at(port)).get(REF, tenant=TENANT)
    path = f"/blobs/some/prefix/acme/blobs/00/{'0' * 62}"
    assert seen == [f"GET {path} HTTP/1.1".encode()]


@pytest.mark.s3
@CALLS
@pytest.mark.parametrize("wrong", ["access_key", "secret_key"])
async def test_wrong_credentials_are_named(
    s3_server: S3Server, bucket: str, call: str, wrong: str
) -> None:
    options = replace(s3_server.options(), **{wrong: "wrong"})
    with pytest.raises(BlobStoreError, match="refused the credentials") as caught:
        await calls_on(open_bucket(bucket, options))[call]()
    assert "\n" not in str(caught.value)
    assert "wrong" not in str(caught.value)


@pytest.mark.s3
@pytest.mark.parametrize("call", ["put", "get", "exists", "verify"])
async def test_a_missing_bucket_is_no_missing_blob(s3_server: S3Server, call: str) -> None:
    store = open_bucket("no-such-bucket", s3_server.options())
    with pytest.raises(BlobStoreError, match="NoSuchBucket"):
        await calls_on(store)[call]()


@pytest.mark.s3
async def test_the_environment_changes_nothing(
    s3_server: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in MISLEADING.items():
        monkeypatch.setenv(name, value)
    store = open_bucket(bucket, s3_server.options())
    ref = await store.put(b"by arguments alone", tenant=TENANT)
    assert await store.put(b"by arguments alone", tenant=TENANT) == ref
    assert await store.get(ref, tenant=TENANT) == b"by arguments alone"
    with s3_client(bucket, s3_server.options()) as client:
        client.head_bucket(Bucket=bucket)


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"access_key": "key"}, "give both or neither"),
        ({"secret_key": "secret"}, "give both or neither"),
        ({"endpoint": "127.0.0.1:8333"}, "expected http:// or https://"),
        ({"endpoint": "http://127.0.0.1:8333"}, "set allow_http"),
    ],
)
def test_options_that_cannot_work_are_refused(given: dict[str, str], reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        S3Options(**given)  # pyright: ignore[reportArgumentType]


def test_secrets_are_not_shown() -> None:
    options = S3Options(access_key="key", secret_key="hidden-1", session_token="hidden-2")
    assert "hidden" not in repr(options)
