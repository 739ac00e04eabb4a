"""Where settings say that an archive and the blobs are."""

from __future__ import annotations

from omium.config import Settings
from omium.serve.composition import s3_options
from omium.storage.blobs import ObjectStore, open_object_store

OFF = "off"


def archive_url(settings: Settings) -> str | None:
    """Where a service ships what it commits: what ``archive_url`` says, else the blobs' bucket,
    else nowhere, since a directory beside the replica is lost with it."""
    if settings.archive_url is not None:
        return None if settings.archive_url == OFF else settings.archive_url
    return settings.blobs if settings.blobs.startswith("s3://") else None


def object_store_at(settings: Settings, url: str) -> ObjectStore:
    """The object store at ``url``, an S3 one reached as the settings say. Raises ``ConfigError``,
    ``StorageUnwritable`` and ``StorageFull``."""
    return open_object_store(url, s3=s3_options(settings))
