"""The courier: delivers what is in the outbox, and writes down what became of it.

It goes by the outbox alone, from its beginning after every start, so whatever was committed is
told, once or more, under one id. Receivers are waited for in tasks of their own, so many at a
time; nothing else waits for them. What follows from a try is decided in
``omium.webhooks.decisions``.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import msgspec

from omium.actors import messages as m
from omium.actors.committer import Committer
from omium.actors.ordering import CommitResult
from omium.clock import Clock
from omium.errors import Conflict, CorruptRecord, NotFound, OmiumError
from omium.execution.commands import WriteDelivery
from omium.execution.events import Request
from omium.storage.outbox import DELIVERY_KIND, WEBHOOK_KIND, Lane, OutboxRow
from omium.storage.replica import Replica
from omium.types import ExecutionId, TenantId
from omium.webhooks.decisions import DELAYS_S, KEPT, after_try, queued_again, surplus
from omium.webhooks.post import TIMEOUT_S, Post, Resolve
from omium.webhooks.records import (
    TEST_EVENT,
    Delivery,
    Webhook,
    delivery_key,
    delivery_of,
    message,
    test_message,
    webhook_of,
)
from omium.webhooks.signing import sign
from omium.webhooks.targets import allowed

log = logging.getLogger(__name__)
_T = TypeVar("_T")

LOOK_S = 1.0
"""How often the clock is looked at while something waits for its time."""

PRUNED_EVERY = 50
"""A webhook's log is cut back to what is kept once in so many tries."""


@dataclass(frozen=True, kw_only=True)
class WebhookSettings:
    """``hosts`` are those that tenants may reach beside the public internet's; see
    ``omium.webhooks.targets``. ``delays_s`` come between tries. ``hold_s`` is how long a delivery
    rests when it cannot be written down. The rest bounds how many are under way."""

    hosts: tuple[str, ...] = ()
    delays_s: tuple[float, ...] = DELAYS_S
    timeout_s: float = TIMEOUT_S
    hold_s: float = 10.0
    kept: int = KEPT
    under_way_max: int = 128
    per_tenant_max: int = 16
    per_webhook_max: int = 4


class Courier:
    """See the module's docstring."""

    def __init__(
        self,
        replica: Replica,
        committer: Committer,
        clock: Clock,
        settings: WebhookSettings,
        *,
        chance: Callable[[], float] = random.random,
        resolve: Resolve | None = None,
    ) -> None:
        self._replica = replica
        self._outbox = replica.outbox
        self._committer = committer
        self._clock = clock
        self._settings = settings
        self._chance = chance
        self._post = Post(allowed(settings.hosts), timeout_s=settings.timeout_s, resolve=resolve)
        self._woken = asyncio.Event()
        self._running: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._held: dict[tuple[Lane, str], OutboxRow] = {}
        self._of_lane: Counter[Lane] = Counter()
        self._of_tenant: Counter[TenantId] = Counter()
        self._tries: Counter[Lane] = Counter()
        self._resting: set[Lane] = set()
        self._stopped = False

    def start(self) -> None:
        self._running = asyncio.create_task(self._run(), name="omium-courier")

    async def stop(self) -> None:
        """Leave what is under way; it is in the outbox still."""
        self._stopped = True
        tasks = [*self._tasks, *([self._running] if self._running is not None else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._post.close()

    def wake(self) -> None:
        """Something was put into the outbox."""
        self._woken.set()

    async def _run(self) -> None:
        while True:
            self._woken.clear()
            self._send_due()
            wait_s = None if self._outbox.is_empty else LOOK_S
            try:
                async with asyncio.timeout(wait_s):
                    await self._woken.wait()
            except TimeoutError:
                pass

    # ------------------------------------------------------------------ sending

    def _send_due(self) -> None:
        now_ms = self._clock.now_ms()
        for lane in self._outbox.lanes(now_ms):
            room = self._room(lane)
            if room <= 0 or lane in self._resting:
                continue
            # Those under way are still in the outbox, and as many as they are they come first.
            try:
                rows = self._outbox.due(lane, now_ms, self._of_lane[lane] + room)
            except OmiumError:
                # One that is damaged keeps nobody else's waiting.
                log.exception("what is due for %s cannot be read", lane[1])
                self._resting.add(lane)
                self._later(self._resting.discard, lane)
                continue
            for row in [r for r in rows if (lane, r.id) not in self._held][:room]:
                self._hold(lane, row)
                task = asyncio.create_task(self._deliver(lane, row))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    def _room(self, lane: Lane) -> int:
        settings = self._settings
        return min(
            settings.under_way_max - len(self._held),
            settings.per_tenant_max - self._of_tenant[lane[0]],
            settings.per_webhook_max - self._of_lane[lane],
        )

    def _hold(self, lane: Lane, row: OutboxRow) -> None:
        self._held[lane, row.id] = row
        self._of_lane[lane] += 1
        self._of_tenant[lane[0]] += 1

    def _let_go(self, lane: Lane, row: OutboxRow) -> None:
        del self._held[lane, row.id]
        _count_down(self._of_lane, lane)
        _count_down(self._of_tenant, lane[0])
        self.wake()

    async def _deliver(self, lane: Lane, row: OutboxRow) -> None:
        try:
            command = await self._tried(lane, row)
        except NotFound:
            # The webhook was deleted in this moment, and what it was to be told with it.
            self._let_go(lane, row)
        except Exception:
            # Nothing was sent: that is the last of what can fail.
            log.exception("delivery %s to %s cannot be tried", row.id, row.webhook)
            self._later(self._let_go, lane, row)
        else:
            self._write(lane, row, command)

    async def _tried(self, lane: Lane, row: OutboxRow) -> WriteDelivery:
        """Try a delivery, and say what is to be written of that."""
        webhook = self._webhook(row.tenant, row.webhook)
        delivery = self._delivery(row.tenant, row.webhook, row.id) or new_delivery(row)
        drop = self._drop(lane)
        body = self._body(row)
        now_ms = self._clock.now_ms()
        headers = sign(row.id, now_ms // 1_000, body, webhook.secrets_at(now_ms))
        answer = await self._post.send(webhook.url, headers, body)
        after = after_try(
            delivery,
            answer,
            now_ms=self._clock.now_ms(),
            chance=self._chance(),
            delays_s=self._settings.delays_s,
        )
        if after.state == "given_up":
            log.warning(
                "gave delivery %s to %s up: tried %d times", row.id, row.webhook, after.attempts
            )
        return _command(row.tenant, after, drop=drop)

    def _write(self, lane: Lane, row: OutboxRow, command: WriteDelivery) -> None:
        """Write down what became of a try; again and again, rather than to send it twice."""

        def then(result: CommitResult) -> None:
            if isinstance(result, OmiumError):
                log.warning("what became of delivery %s is not written: %s", row.id, result)
                self._later(self._write, lane, row, command)
            else:
                self._let_go(lane, row)

        self._committer.submit(command, then)

    def _later(self, work: Callable[..., None], *given: object) -> None:
        def unless_stopped() -> None:
            if not self._stopped:
                work(*given)

        asyncio.get_running_loop().call_later(self._settings.hold_s, unless_stopped)

    def _body(self, row: OutboxRow) -> bytes:
        if row.type == TEST_EVENT:
            return msgspec.json.encode(test_message(row.webhook, row.at_ms))
        journal = self._replica.journal
        shown = journal.executions(tenant=row.tenant, execution_id=row.execution, limit=1)
        entries = journal.entries(row.execution, after=row.index - 1, limit=1)
        if not shown or not entries:
            raise CorruptRecord(f"outbox {row.id}", "what it tells of is missing")
        return msgspec.json.encode(message(shown[0], entries[0]))

    def _drop(self, lane: Lane) -> tuple[str, ...]:
        """The keys of deliveries that are no longer kept, looked for now and then."""
        self._tries[lane] += 1
        if self._tries[lane] % PRUNED_EVERY != 1:
            return ()
        tenant, webhook = lane
        found: list[Delivery] = []
        after = ""
        while page := self._replica.catalog.records(
            tenant, DELIVERY_KIND, prefix=f"{webhook}/", after=after
        ):
            found += [delivery_of(record.body) for record in page]
            after = page[-1].key
        old = surplus(found, kept=self._settings.kept)
        return tuple(delivery_key(webhook, delivery.id) for delivery in old)

    # ------------------------------------------------------------------ asked for

    def redeliver(self, message: m.Redeliver, then: Callable[[CommitResult], None]) -> None:
        """Deliver a message once more. Raises ``NotFound``, and ``Conflict`` for one that is
        being delivered."""
        tenant = message.tenant
        self._webhook(tenant, message.webhook)
        delivery = self._delivery(tenant, message.webhook, message.delivery)
        if delivery is None:
            raise NotFound("delivery", message.delivery)
        if ((tenant, message.webhook), delivery.id) in self._held:
            raise Conflict(f"{delivery.id} is being delivered to {message.webhook}")
        again = queued_again(delivery, now_ms=self._clock.now_ms())
        self._ask(_command(tenant, again, request=message.request, anew=True), then)

    def test(self, message: m.TestWebhook, then: Callable[[CommitResult], None]) -> None:
        """Deliver a trial message. Raises ``NotFound``."""
        self._webhook(message.tenant, message.webhook)
        now_ms = self._clock.now_ms()
        row = OutboxRow(
            tenant=message.tenant,
            webhook=message.webhook,
            execution=ExecutionId(message.name),
            index=0,
            type=TEST_EVENT,
            at_ms=now_ms,
            due_ms=now_ms,
        )
        again = queued_again(new_delivery(row), now_ms=now_ms)
        self._ask(_command(message.tenant, again, request=message.request, anew=True), then)

    def _ask(self, command: WriteDelivery, then: Callable[[CommitResult], None]) -> None:
        def written(result: CommitResult) -> None:
            then(result)
            self.wake()

        self._committer.submit(command, written)

    # ------------------------------------------------------------------ in common

    def _webhook(self, tenant: TenantId, webhook: str) -> Webhook:
        record = self._replica.catalog.record(tenant, WEBHOOK_KIND, webhook)
        if record is None:
            raise NotFound("webhook", webhook)
        return webhook_of(record.body)

    def _delivery(self, tenant: TenantId, webhook: str, delivery: str) -> Delivery | None:
        key = delivery_key(webhook, delivery)
        record = self._replica.catalog.record(tenant, DELIVERY_KIND, key)
        return delivery_of(record.body) if record is not None else None


def new_delivery(row: OutboxRow) -> Delivery:
    """A delivery that was not tried yet."""
    return Delivery(
        id=row.id,
        webhook=row.webhook,
        type=row.type,
        execution=row.execution,
        index=row.index,
        at_ms=row.at_ms,
    )


def _count_down(counter: Counter[_T], name: _T) -> None:
    counter[name] -= 1
    if not counter[name]:
        del counter[name]


def _command(
    tenant: TenantId,
    delivery: Delivery,
    *,
    drop: tuple[str, ...] = (),
    anew: bool = False,
    request: Request | None = None,
) -> WriteDelivery:
    return WriteDelivery(
        tenant=tenant,
        webhook=delivery.webhook,
        execution=ExecutionId(delivery.execution),
        index=delivery.index,
        event=delivery.type,
        event_ms=delivery.at_ms,
        body=msgspec.to_builtins(delivery),
        due_ms=delivery.next_ms,
        anew=anew,
        drop=drop,
        request=request,
    )
