"""Servers that tests of storage share: one a test session, so one for each xdist worker."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

pytest.register_assert_rewrite("omium.testing.blob_conformance")

from omium.storage.buckets import ensure_bucket  # noqa: E402 - after the registration above
from omium.testing.seaweedfs import S3Server, seaweedfs  # noqa: E402

BUCKET = "blobs"


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3Server]:
    with seaweedfs() as server:
        yield server


@pytest.fixture(scope="session")
def bucket(s3_server: S3Server) -> str:
    ensure_bucket(BUCKET, s3_server.options())
    return BUCKET
