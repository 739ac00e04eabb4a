"""What a client keeps beside executions: records by kind and key, and what webhooks are sent."""

from __future__ import annotations

from omium.actors import messages as m
from omium.actors.client.bound import Bound
from omium.execution.events import Request
from omium.storage.catalog import StoredRecord
from omium.types import Json


class RecordKeeping(Bound):
    """Requests about the tenant's records. What ``request`` is for, ``Client`` says."""

    async def put_record(
        self,
        kind: str,
        key: str,
        body: Json,
        *,
        expect: int | None = None,
        request: Request | None = None,
    ) -> int:
        """Write a record and return its new version, which counts from 1.

        ``expect`` is the version that must be there, 0 for none at all; ``Conflict`` is raised
        where another one is.
        """
        put = await self._link.call(
            m.PutRecord(
                tenant=self._tenant,
                kind=kind,
                key=key,
                body=body,
                expect=expect,
                request=request,
            )
        )
        return put.version if isinstance(put, m.RecordPut) else put.index

    async def delete_record(self, kind: str, key: str, *, expect: int | None = None) -> None:
        """Remove a record. One that is not there is no error, unless a version is expected."""
        await self._link.call(
            m.PutRecord(tenant=self._tenant, kind=kind, key=key, expect=expect, delete=True)
        )

    async def record(self, kind: str, key: str) -> StoredRecord | None:
        found = await self._link.call(m.GetRecords(tenant=self._tenant, kind=kind, key=key))
        return found.records[0] if found.records else None

    async def records(
        self, kind: str, *, prefix: str = "", after: str = "", limit: int = 100
    ) -> list[StoredRecord]:
        """Records of a kind by key: those that begin with ``prefix`` and come after ``after``."""
        found = await self._link.call(
            m.GetRecords(tenant=self._tenant, kind=kind, prefix=prefix, after=after, limit=limit)
        )
        return list(found.records)

    # ------------------------------------------------------------------ webhooks

    async def redeliver(
        self, webhook: str, delivery: str, *, request: Request | None = None
    ) -> None:
        """Deliver a message to a webhook once more, now. Raises ``NotFound``, and ``Conflict``
        for one that is being delivered."""
        await self._link.call(
            m.Redeliver(tenant=self._tenant, webhook=webhook, delivery=delivery, request=request)
        )

    async def test_webhook(self, webhook: str, *, request: Request | None = None) -> str:
        """Deliver a trial message to a webhook; returns the delivery's id. Raises ``NotFound``."""
        name = self._clock.new_id("test")
        done = await self._link.call(
            m.TestWebhook(tenant=self._tenant, webhook=webhook, name=name, request=request)
        )
        return f"{done.execution_id if isinstance(done, m.Appended) else name}@0"
