"""The code that tenants uploaded: bundles in the blob store, and a record of each.

A record of kind ``code`` under the digest in hex is what makes a bundle one that its tenant may
name; it is written after the bundle is stored. Nothing of it is ever changed or deleted, since
versions and executions are pinned to it.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from omium.actors.client import Client
from omium.errors import Conflict, NotFound
from omium.execution.blobref import BlobRef
from omium.execution.records import CodeRef
from omium.serve.api.problems import ProblemError, limited
from omium.serve.api.settings import ApiSettings
from omium.storage.catalog import StoredRecord
from omium.storage.code_bundle import Bundle, digest_of
from omium.types import TenantId

KIND = "code"
PREFIX = "sha256:"


class _Body(msgspec.Struct, frozen=True, kw_only=True):
    """What a record holds."""

    bytes: int
    files: int


@dataclass(frozen=True, kw_only=True)
class Uploaded:
    """A bundle of a tenant's; ``created`` says that it was not there before."""

    code: CodeRef
    uploaded_ms: int
    created: bool = False


class Bundles:
    """The uploaded code of all tenants."""

    def __init__(self, settings: ApiSettings) -> None:
        self._settings = settings

    def check_allowed(self, tenant: TenantId) -> None:
        """Raise a ``forbidden`` problem for a tenant that may not bring code of its own."""
        if tenant not in self._settings.upload_tenants:
            raise ProblemError(
                "forbidden",
                "this service runs no code of this tenant's: its operator would have to list "
                f"{tenant!r} in service.upload_tenants",
            )

    async def put(self, client: Client, bundle: Bundle) -> Uploaded:
        """Store a bundle, for ever. One that is there changes nothing, and one that ought to be
        there and was lost is there again.

        Raises a ``limit_reached`` problem where the tenant has as much as it may.
        """
        sha256 = digest_of(bundle.data).removeprefix(PREFIX)
        record = await client.record(KIND, sha256)
        created = record is None
        if record is None:
            await self._check_room(client, len(bundle.data))
        await client.put_code(bundle)
        if record is None:
            body = _Body(bytes=len(bundle.data), files=bundle.files)
            try:
                await client.put_record(KIND, sha256, msgspec.to_builtins(body), expect=0)
            except Conflict:
                # Sent twice at once: it is the same one.
                created = False
            record = await client.record(KIND, sha256)
        if record is None:
            raise NotFound("code", PREFIX + sha256)
        return _uploaded(record, created=created)

    async def _check_room(self, client: Client, size: int) -> None:
        most, total = self._settings.code_max, self._settings.code_total_bytes_max
        there = await client.records(KIND, limit=most)
        if len(there) >= most:
            raise limited(
                "code_max", most, f"the tenant has {most} bundles already", kind="limit_reached"
            )
        used = sum(msgspec.convert(record.body, _Body).bytes for record in there)
        if used + size > total:
            raise limited(
                "code_total_bytes_max",
                total,
                f"with {size} bytes more the tenant would have over {total} bytes of code",
                kind="limit_reached",
            )

    async def get(self, client: Client, digest: str) -> Uploaded:
        """A bundle of the tenant's by its digest. Raises ``NotFound``, also for one that was lost:
        who is told so uploads it again."""
        record = await client.record(KIND, digest.removeprefix(PREFIX))
        if record is None:
            raise NotFound("code", digest)
        found = _uploaded(record)
        if not await client.has_code(found.code):
            raise NotFound("code", digest, "it was uploaded, and is no longer in the blob store")
        return found

    async def page(self, client: Client, *, after: str, limit: int) -> list[Uploaded]:
        """The bundles of a tenant by digest, those after ``after``."""
        return [_uploaded(r) for r in await client.records(KIND, after=after, limit=limit)]


def _uploaded(record: StoredRecord, *, created: bool = False) -> Uploaded:
    body = msgspec.convert(record.body, _Body)
    blob = BlobRef(digest=PREFIX + record.key, size=body.bytes)
    return Uploaded(
        code=CodeRef(blob=blob, files=body.files), uploaded_ms=record.at_ms, created=created
    )
