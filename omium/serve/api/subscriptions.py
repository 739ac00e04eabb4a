"""Webhooks of tenants: made, listed, given a new secret and deleted.

A webhook is a record of its tenant's. Its secrets lie there in the clear, since messages are
signed with them; they are shown once and never again.
"""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
from collections.abc import Iterable

import msgspec
from msgspec.structs import replace

from omium.actors.client import Client
from omium.clock import Clock
from omium.errors import Conflict, InputError, NotFound
from omium.execution.events import Request
from omium.serve.api.problems import FieldError, ProblemError, limited
from omium.storage.catalog import StoredRecord
from omium.storage.outbox import DELIVERY_KIND, WEBHOOK_KIND
from omium.webhooks.records import (
    EVENTS,
    Delivery,
    EventName,
    Secret,
    Webhook,
    delivery_key,
    delivery_of,
    webhook_of,
)
from omium.webhooks.signing import SECRET_BYTES, secret_of
from omium.webhooks.targets import allowed, target

ROTATION_MS = 24 * 60 * 60 * 1_000
"""For so long a secret that was replaced signs beside the new one."""

SECRETS_MAX = 4
_ID = re.compile(r"wh_[a-z2-7]{16}")
_DELIVERY = re.compile(r"[a-z]{1,16}_[0-9a-z]{1,64}@[0-9]{1,16}")
_TRIES = 8


class Subscriptions:
    """See the module's docstring. A caller's ``client`` sees its tenant's alone."""

    def __init__(self, hosts: Iterable[str], *, clock: Clock, webhooks_max: int) -> None:
        self._allowed = allowed(hosts)
        self._clock = clock
        self._webhooks_max = webhooks_max

    async def create(
        self,
        client: Client,
        url: str,
        events: Iterable[EventName],
        description: str,
        *,
        request: Request | None = None,
    ) -> tuple[Webhook, str | None]:
        """Make a webhook; returns it and its secret, None for one that was made before by the
        same ``request``. Raises ``invalid`` and ``limit_reached`` problems,
        ``RequestConflict``, and ``Conflict`` where it was deleted since."""
        try:
            target(url, self._allowed)
        except InputError as error:
            field = FieldError(field="body.url", message=str(error))
            raise ProblemError("invalid", str(error), errors=[field]) from error
        webhook_id = _new_id(client, request)
        known = await client.record(WEBHOOK_KIND, webhook_id) if request is not None else None
        if known is None:
            await self._make_room(client)
        secret = secret_of(secrets.token_bytes(SECRET_BYTES))
        wanted = set(events)
        webhook = Webhook(
            id=webhook_id,
            url=url,
            events=tuple(event for event in EVENTS if event in wanted),
            description=description,
            secrets=(Secret(value=secret),),
            created_ms=self._clock.now_ms(),
        )
        body = msgspec.to_builtins(webhook)
        await client.put_record(WEBHOOK_KIND, webhook_id, body, expect=0, request=request)
        stored = await client.record(WEBHOOK_KIND, webhook_id)
        if stored is None:
            raise Conflict("the webhook that this request made has been deleted")
        return _shown(webhook_of(stored.body), secret)

    async def _make_room(self, client: Client) -> None:
        if len(await client.records(WEBHOOK_KIND, limit=self._webhooks_max)) >= self._webhooks_max:
            raise limited(
                "webhooks_max",
                self._webhooks_max,
                f"the tenant has {self._webhooks_max} webhooks already",
                kind="limit_reached",
            )

    async def rotate(
        self, client: Client, webhook_id: str, *, request: Request | None = None
    ) -> tuple[Webhook, str | None]:
        """Give a webhook a new secret; returns both. The old one signs beside it for a day."""
        for _ in range(_TRIES):
            record = await _stored(client, webhook_id)
            webhook, now_ms = webhook_of(record.body), self._clock.now_ms()
            secret = secret_of(secrets.token_bytes(SECRET_BYTES))
            present, *older = webhook.secrets
            signing = [s for s in older if s.until_ms is not None and now_ms < s.until_ms]
            replaced = replace(present, until_ms=now_ms + ROTATION_MS)
            kept = (Secret(value=secret), replaced, *signing)[:SECRETS_MAX]
            body = msgspec.to_builtins(replace(webhook, secrets=kept))
            try:
                await client.put_record(
                    WEBHOOK_KIND, webhook_id, body, expect=record.version, request=request
                )
            except Conflict as error:
                if type(error) is not Conflict:
                    raise
                continue
            return _shown(webhook_of((await _stored(client, webhook_id)).body), secret)
        raise Conflict(f"webhook {webhook_id!r} is being changed by many: try again")

    async def page(self, client: Client, *, after: str = "", limit: int = 100) -> list[Webhook]:
        """Webhooks of a tenant by id, those after ``after``."""
        records = await client.records(WEBHOOK_KIND, after=after, limit=limit)
        return [webhook_of(record.body) for record in records]

    async def get(self, client: Client, webhook_id: str) -> Webhook:
        """One webhook. Raises ``NotFound``."""
        return webhook_of((await _stored(client, webhook_id)).body)

    async def delete(self, client: Client, webhook_id: str) -> Webhook:
        """Delete a webhook, and with it all that it was to be told. Raises ``NotFound``."""
        for _ in range(_TRIES):
            record = await _stored(client, webhook_id)
            try:
                await client.delete_record(WEBHOOK_KIND, webhook_id, expect=record.version)
            except Conflict:
                continue
            return webhook_of(record.body)
        raise Conflict(f"webhook {webhook_id!r} is being changed by many: try again")

    async def deliveries(
        self, client: Client, webhook_id: str, *, after: str = "", limit: int = 100
    ) -> list[Delivery]:
        """Deliveries of a webhook by id, those after ``after``. Raises ``NotFound``."""
        await _stored(client, webhook_id)
        records = await client.records(
            DELIVERY_KIND,
            prefix=delivery_key(webhook_id, ""),
            after=delivery_key(webhook_id, after),
            limit=limit,
        )
        return [delivery_of(record.body) for record in records]

    async def delivery(self, client: Client, webhook_id: str, delivery_id: str) -> Delivery:
        """One delivery. Raises ``NotFound``."""
        await _stored(client, webhook_id)
        shaped = _DELIVERY.fullmatch(delivery_id) is not None
        key = delivery_key(webhook_id, delivery_id)
        record = await client.record(DELIVERY_KIND, key) if shaped else None
        if record is None:
            raise NotFound("delivery", delivery_id)
        return delivery_of(record.body)


async def _stored(client: Client, webhook_id: str) -> StoredRecord:
    shaped = _ID.fullmatch(webhook_id) is not None
    record = await client.record(WEBHOOK_KIND, webhook_id) if shaped else None
    if record is None:
        raise NotFound("webhook", webhook_id)
    return record


def _shown(webhook: Webhook, secret: str) -> tuple[Webhook, str | None]:
    """The secret goes with the webhook only if it is the one that was stored just now."""
    return webhook, secret if webhook.secrets[0].value == secret else None


def _new_id(client: Client, request: Request | None) -> str:
    """A random id, or always the same one for a request of the same name."""
    seed = secrets.token_bytes(10)
    if request is not None:
        named = msgspec.json.encode(["webhook id", client.tenant, request.key])
        seed = hashlib.sha256(named).digest()[:10]
    return "wh_" + base64.b32encode(seed).decode().lower()
