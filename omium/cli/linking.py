"""A link to the coordinator that owns a data directory of this machine."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from omium.actors.client import Client
from omium.clock import Clock, SystemClock
from omium.runtime.endpoint import Endpoint
from omium.storage.blobs import open_blob_store
from omium.types import DEFAULT_TENANT, TenantId


@asynccontextmanager
async def linked(
    endpoint: Endpoint, *, tenant: TenantId = DEFAULT_TENANT, clock: Clock | None = None
) -> AsyncIterator[Client]:
    """A client of the coordinator at ``endpoint``. It has no blobs: what is asked takes none."""
    client = Client(
        endpoint.addresses,
        bytes.fromhex(endpoint.secret),
        blobs=open_blob_store("memory://"),
        clock=clock or SystemClock(),
        tenant=tenant,
        further=endpoint.further,
    )
    client.open()
    try:
        yield client
    finally:
        await client.close()
