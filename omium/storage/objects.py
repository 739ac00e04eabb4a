"""What an object store is, and how an S3 service is reached.

Owns the promises that every store keeps and the options of a remote one. Opens nothing, and knows
nothing of what the objects hold.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol
from urllib.parse import urlsplit

from omium.errors import ConfigError


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
