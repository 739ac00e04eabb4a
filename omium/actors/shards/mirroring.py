"""Webhooks in every shard: an ending is committed together with what is to be told of it, so each
shard must know who wants to be told.

The record in the home shard is the one that counts. The others have copies, each with the version
that it is a copy of; a newer copy is never replaced by an older one, and a change is answered only
when all shards have it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from omium.actors import messages as m
from omium.errors import Conflict
from omium.storage.catalog import StoredRecord
from omium.storage.outbox import WEBHOOK_KIND
from omium.types import TenantId

HOME_VERSION = "home_version"
"""In a copy, the version of the record that it is a copy of."""

TRIES = 50

Ask = Callable[[Any], Awaitable[Any]]
"""Asks one shard."""


async def mirror(tenant: TenantId, webhook: str, home: Ask, others: Sequence[Ask]) -> None:
    """Bring the other shards to what the home shard has of a webhook. May be called at any time,
    and by many at once. Raises ``Conflict`` where it is changed all the time."""
    for ask in others:
        for _ in range(TRIES):
            # Read once more after each write: it may have been deleted meanwhile.
            wanted = await _record(tenant, webhook, home)
            change = _change(tenant, webhook, wanted, await _record(tenant, webhook, ask))
            if change is None:
                break
            try:
                await ask(change)
            except Conflict:
                # Somebody else writes this copy. What they wrote is seen by the next look.
                continue
        else:
            raise Conflict(f"webhook {webhook!r} is being changed by many: try again")


def _change(
    tenant: TenantId, webhook: str, wanted: StoredRecord | None, there: StoredRecord | None
) -> m.PutRecord | None:
    """What is to be written where the copy is ``there``; None where it is right."""
    if wanted is None and there is None:
        return None
    if wanted is not None and there is not None and there.body[HOME_VERSION] >= wanted.version:
        return None
    return m.PutRecord(
        tenant=tenant,
        kind=WEBHOOK_KIND,
        key=webhook,
        body={**wanted.body, HOME_VERSION: wanted.version} if wanted is not None else None,
        expect=there.version if there is not None else 0,
        delete=wanted is None,
    )


async def _record(tenant: TenantId, webhook: str, ask: Ask) -> StoredRecord | None:
    found = await ask(m.GetRecords(tenant=tenant, kind=WEBHOOK_KIND, key=webhook))
    return found.records[0] if found.records else None
