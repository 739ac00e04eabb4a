"""Administration of S3 buckets: creation, versioning, lifecycle, removal.

Needs the ``s3`` extra (boto3). Reads and writes no blobs: that is ``omium.storage.blobs``.
Every function blocks until the service has answered; on an event loop, call them in a thread.
Besides the errors that each names, all raise ``NotFound`` when the bucket does not exist,
``InputError`` for a name that S3 forbids, ``ConfigError`` without boto3, and ``BlobStoreError``
when the service cannot be reached, refuses the credentials or fails.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from omium.errors import BlobStoreError, ConfigError, Conflict, InputError, NotFound
from omium.storage.objects import S3Options

_NAME = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
"""Amazon S3 user guide, "General purpose bucket naming rules"."""

_HOME_REGION = "us-east-1"
"""The one region that must not be named when a bucket is created (CreateBucket, S3 API)."""

_RULE_ID = "omium-retention"
_MISSING = frozenset({"404", "NoSuchBucket"})
_TAKEN = frozenset({"BucketAlreadyExists", "OperationAborted"})


@dataclass(frozen=True, kw_only=True)
class BucketDescription:
    """A bucket as its service describes it. Days are ``None`` where no rule sets them."""

    name: str
    versioning: bool
    expire_noncurrent_days: int | None
    abort_uploads_days: int | None


def ensure_bucket(name: str, options: S3Options) -> bool:
    """Create the bucket unless it is there; ``True`` when it was created.

    Raises ``Conflict`` when somebody else owns the name.
    """
    with s3_client(name, options) as client:
        if _exists(client, name):
            return False
        if options.region == _HOME_REGION:
            client.create_bucket(Bucket=name)
        else:
            client.create_bucket(
                Bucket=name, CreateBucketConfiguration={"LocationConstraint": options.region}
            )
    return True


def set_versioning(name: str, options: S3Options, *, enabled: bool) -> None:
    """Keep the former versions of objects, or stop keeping new ones."""
    with s3_client(name, options) as client:
        status = "Enabled" if enabled else "Suspended"
        client.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": status})


def set_lifecycle(
    name: str, options: S3Options, *, expire_noncurrent_days: int, abort_uploads_days: int = 7
) -> None:
    """Have the service remove former versions and abandoned uploads after so many days.

    Replaces the bucket's whole lifecycle configuration, as the S3 API does. Raises
    ``InputError`` for less than one day.
    """
    for what, days in (
        ("expire_noncurrent_days", expire_noncurrent_days),
        ("abort_uploads_days", abort_uploads_days),
    ):
        if days < 1:
            raise InputError(f"{what} is {days}: expected at least 1 day")
    rule = {
        "ID": _RULE_ID,
        "Status": "Enabled",
        "Filter": {"Prefix": ""},
        "NoncurrentVersionExpiration": {"NoncurrentDays": expire_noncurrent_days},
        "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": abort_uploads_days},
    }
    with s3_client(name, options) as client:
        client.put_bucket_lifecycle_configuration(
            Bucket=name, LifecycleConfiguration={"Rules": [rule]}
        )


def describe(name: str, options: S3Options) -> BucketDescription:
    """What the service says of the bucket."""
    with s3_client(name, options) as client:
        versioning = client.get_bucket_versioning(Bucket=name).get("Status") == "Enabled"
        rules = [rule for rule in _lifecycle(client, name) if rule.get("Status") == "Enabled"]
    return BucketDescription(
        name=name,
        versioning=versioning,
        expire_noncurrent_days=_days(rules, "NoncurrentVersionExpiration", "NoncurrentDays"),
        abort_uploads_days=_days(rules, "AbortIncompleteMultipartUpload", "DaysAfterInitiation"),
    )


def delete_bucket(name: str, options: S3Options, *, force: bool = False) -> None:
    """Remove the bucket; with ``force`` all objects and all their versions first.

    Raises ``Conflict`` when it holds objects, or with ``force`` when somebody still writes.
    """
    with s3_client(name, options) as client:
        for page in client.get_paginator("list_object_versions").paginate(Bucket=name):
            versions = [*page.get("Versions", ()), *page.get("DeleteMarkers", ())]
            # Not left to the service: SeaweedFS 4.48 takes a bucket that holds nothing but
            # versioned objects for empty.
            if versions and not force:
                raise _not_empty(name)
            _delete_versions(client, name, versions)
        client.delete_bucket(Bucket=name)


@contextmanager
def s3_client(name: str, options: S3Options) -> Iterator[Any]:
    """A boto3 client for work on bucket ``name``, whose errors come out as Omium's."""
    if _NAME.fullmatch(name) is None:
        raise InputError(
            f"bucket {name!r}: expected 3 to 63 of a-z, 0-9, '.' and '-', "
            "a letter or a digit first and last"
        )
    try:
        import boto3
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError, ClientError
    except ImportError as error:
        raise ConfigError(
            "bucket administration needs boto3: install the extra omium[s3]"
        ) from error
    config = Config(
        connect_timeout=options.connect_timeout_s,
        read_timeout=options.request_timeout_s,
        retries={"mode": "standard", "total_max_attempts": 1 + options.retries_max},
        s3={"addressing_style": "path"},
        # Not every S3-compatible service knows the newer trailing checksums.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        # Without this, AWS_ENDPOINT_URL would redirect a client that names no endpoint.
        ignore_configured_endpoint_urls=True,
    )
    try:
        client = boto3.Session(
            aws_access_key_id=options.access_key,
            aws_secret_access_key=options.secret_key,
            aws_session_token=options.session_token,
            region_name=options.region,
        ).client("s3", endpoint_url=options.endpoint, config=config)
        try:
            yield client
        finally:
            client.close()
    except ClientError as error:
        raise _translate(name, error.response) from error
    except BotoCoreError as error:
        raise BlobStoreError(f"bucket {name!r}: {error}") from error


def _exists(client: Any, name: str) -> bool:
    from botocore.exceptions import ClientError

    try:
        client.head_bucket(Bucket=name)
    except ClientError as error:
        if error.response["Error"]["Code"] in _MISSING:
            return False
        raise
    return True


def _lifecycle(client: Any, name: str) -> list[dict[str, Any]]:
    from botocore.exceptions import ClientError

    try:
        return client.get_bucket_lifecycle_configuration(Bucket=name)["Rules"]
    except ClientError as error:
        if error.response["Error"]["Code"] == "NoSuchLifecycleConfiguration":
            return []
        raise


def _days(rules: list[dict[str, Any]], action: str, unit: str) -> int | None:
    found = [rule[action][unit] for rule in rules if unit in rule.get(action, {})]
    return min(found, default=None)


def _delete_versions(client: Any, name: str, versions: list[dict[str, Any]]) -> None:
    if not versions:
        return
    keys = [{"Key": version["Key"], "VersionId": version["VersionId"]} for version in versions]
    # A page of versions and a batch of deletions have the same bound: 1,000.
    answer = client.delete_objects(Bucket=name, Delete={"Objects": keys, "Quiet": True})
    failed = answer.get("Errors", [])
    if failed:
        raise BlobStoreError(
            f"bucket {name!r}: {len(failed)} objects were not deleted, the first "
            f"{failed[0].get('Key')!r}: {failed[0].get('Code')} {failed[0].get('Message')}"
        )


def _not_empty(name: str) -> Conflict:
    return Conflict(f"bucket {name!r} is not empty; force deletes what it holds")


def _translate(name: str, response: dict[str, Any]) -> Exception:
    problem = response.get("Error", {})
    code, message = problem.get("Code", "unknown"), problem.get("Message", "")
    status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    if code in _MISSING:
        return NotFound("bucket", name)
    if code in _TAKEN:
        return Conflict(f"bucket {name!r}: {message or code}; choose another name")
    if code == "BucketNotEmpty":
        return _not_empty(name)
    if code == "InvalidBucketName":
        return InputError(f"bucket {name!r}: {message or code}")
    if status in (401, 403):
        return BlobStoreError(
            f"bucket {name!r}: the store refused the credentials ({code}); check the access "
            "key, its secret and what they may do"
        )
    return BlobStoreError(f"bucket {name!r}: {code} {message}".rstrip())
