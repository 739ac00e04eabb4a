"""From a URL to the object store that it names.

Owns how places are spelled, and when two spellings mean the same one. Contacts nothing remote.
"""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

from obstore.store import MemoryStore

from omium.errors import ConfigError
from omium.storage.local_files import LocalObjectStore
from omium.storage.objects import ObjectStore, S3Options
from omium.storage.obstore_objects import ObstoreObjectStore, s3_store


def open_object_store(url: str, *, s3: S3Options | None = None) -> ObjectStore:
    """The object store at ``url``, which ``blobs.open_blob_store`` describes. Raises what that
    raises."""
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
            return ObstoreObjectStore(s3_store(parts.netloc, parts.path.strip("/"), options))
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


def same_place(one: str, other: str) -> bool:
    """Whether two URLs of object stores, both reached in the same way, mean the same place,
    however they are spelled."""
    return _place(one) == _place(other)


def _place(url: str) -> str:
    directory = local_directory(url)
    if directory is not None:
        return str(directory.expanduser().resolve())
    parts = urlsplit(url)
    prefix = "/".join(part for part in parts.path.split("/") if part)
    return f"{parts.scheme}://{parts.netloc.lower()}/{prefix}"
