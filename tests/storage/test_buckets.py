"""Bucket administration on a real S3 server."""

from __future__ import annotations

import socket
import sys
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from omium.errors import BlobStoreError, ConfigError, Conflict, InputError, NotFound
from omium.storage.buckets import (
    BucketDescription,
    delete_bucket,
    describe,
    ensure_bucket,
    s3_client,
    set_lifecycle,
    set_versioning,
)
from omium.storage.objects import S3Options
from omium.testing.seaweedfs import S3Server

OPERATIONS: dict[str, Callable[[str, S3Options], object]] = {
    "describe": describe,
    "set_versioning": lambda name, options: set_versioning(name, options, enabled=True),
    "set_lifecycle": lambda name, options: set_lifecycle(name, options, expire_noncurrent_days=1),
    "delete_bucket": delete_bucket,
    "delete_bucket with force": lambda name, options: delete_bucket(name, options, force=True),
}
EVERY_OPERATION = pytest.mark.parametrize("operation", OPERATIONS)


@pytest.fixture
def options(s3_server: S3Server) -> S3Options:
    return s3_server.options()


@pytest.fixture
def name(options: S3Options) -> Iterator[str]:
    name = f"test-{uuid.uuid4().hex}"
    yield name
    try:
        delete_bucket(name, options, force=True)
    except NotFound:
        # The test has deleted it, or never made it.
        return


@pytest.mark.s3
def test_a_bucket_is_created_once(name: str, options: S3Options) -> None:
    assert ensure_bucket(name, options)
    assert not ensure_bucket(name, options)
    assert describe(name, options) == BucketDescription(
        name=name, versioning=False, expire_noncurrent_days=None, abort_uploads_days=None
    )


@pytest.mark.s3
def test_a_bucket_is_created_in_another_region(name: str, options: S3Options) -> None:
    assert ensure_bucket(name, replace(options, region="eu-west-1"))
    assert not ensure_bucket(name, options)


@pytest.mark.s3
def test_versioning_goes_on_and_off(name: str, options: S3Options) -> None:
    ensure_bucket(name, options)
    set_versioning(name, options, enabled=True)
    assert describe(name, options).versioning
    set_versioning(name, options, enabled=False)
    assert not describe(name, options).versioning


@pytest.mark.s3
def test_a_lifecycle_replaces_the_former_one(name: str, options: S3Options) -> None:
    ensure_bucket(name, options)
    set_lifecycle(name, options, expire_noncurrent_days=30)
    set_lifecycle(name, options, expire_noncurrent_days=3, abort_uploads_days=2)
    described = describe(name, options)
    assert described.expire_noncurrent_days == 3
    assert described.abort_uploads_days == 2


@pytest.mark.parametrize(
    "days",
    [
        {"expire_noncurrent_days": 0},
        {"expire_noncurrent_days": 1, "abort_uploads_days": 0},
    ],
)
def test_a_lifecycle_of_no_days_is_refused(days: dict[str, int]) -> None:
    with pytest.raises(InputError, match="at least 1 day"):
        set_lifecycle("blobs", S3Options(), **days)


@pytest.mark.s3
def test_only_force_deletes_what_a_bucket_holds(name: str, options: S3Options) -> None:
    ensure_bucket(name, options)
    set_versioning(name, options, enabled=True)
    with s3_client(name, options) as client:
        for body in (b"former", b"present"):
            client.put_object(Bucket=name, Key="kept", Body=body)
        client.put_object(Bucket=name, Key="deleted", Body=b"behind a delete marker")
        client.delete_object(Bucket=name, Key="deleted")
    with pytest.raises(Conflict, match="not empty"):
        delete_bucket(name, options)
    with s3_client(name, options) as client:
        assert client.get_object(Bucket=name, Key="kept")["Body"].read() == b"present"
    delete_bucket(name, options, force=True)
    with pytest.raises(NotFound):
        describe(name, options)


@pytest.mark.s3
def test_an_unversioned_object_is_held_too(name: str, options: S3Options) -> None:
    ensure_bucket(name, options)
    with s3_client(name, options) as client:
        client.put_object(Bucket=name, Key="kept", Body=b"present")
    with pytest.raises(Conflict, match="not empty"):
        delete_bucket(name, options)
    with s3_client(name, options) as client:
        assert client.get_object(Bucket=name, Key="kept")["Body"].read() == b"present"


@pytest.mark.s3
@EVERY_OPERATION
def test_a_missing_bucket_is_not_found(name: str, options: S3Options, operation: str) -> None:
    with pytest.raises(NotFound) as caught:
        OPERATIONS[operation](name, options)
    assert (caught.value.what, caught.value.name) == ("bucket", name)


@pytest.mark.s3
@pytest.mark.parametrize("operation", ["ensure_bucket", *OPERATIONS])
def test_wrong_credentials_are_named(name: str, options: S3Options, operation: str) -> None:
    ensure_bucket(name, options)
    wrong = replace(options, secret_key="wrong")
    with pytest.raises(BlobStoreError, match="refused the credentials"):
        (OPERATIONS | {"ensure_bucket": ensure_bucket})[operation](name, wrong)


@pytest.mark.parametrize("name", ["", "ab", "Upper", "under_score", "-start", "a" * 64, "a/b"])
def test_a_name_that_s3_forbids_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="bucket"):
        ensure_bucket(name, S3Options())


def test_a_closed_port_is_a_service_error() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        options = S3Options(
            endpoint=f"http://127.0.0.1:{closed.getsockname()[1]}",
            access_key="key",
            secret_key="secret",
            allow_http=True,
            retries_max=0,
        )
        with pytest.raises(BlobStoreError, match="Could not connect"):
            ensure_bucket("blobs", options)


def test_without_boto3_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "boto3", None)
    with pytest.raises(ConfigError, match=r"omium\[s3\]"):
        ensure_bucket("blobs", S3Options())
