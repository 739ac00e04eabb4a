"""Deliveries by a whole runtime to a real receiver, through failures of either."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import sqlite3
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from omium.actors.client import Client
from omium.actors.courier import WebhookSettings
from omium.client.webhooks import verify
from omium.errors import Conflict, NotFound, StorageFull
from omium.execution.events import Request
from omium.storage.replica import FILE_NAME, Replica
from omium.types import TenantId
from omium.webhooks.records import EVENTS, Delivery, EventName, Secret, Webhook, delivery_of
from omium.webhooks.signing import secret_of
from tests.actors.gates import gate
from tests.actors.stage import WAIT_S, Stage, agent, stage, workflow
from tests.webhooks.receiver import HOST, OK, SILENCE, receiving, status

KEY = bytes(32)
QUICK = WebhookSettings(hosts=(HOST,), delays_s=(0.05, 0.05, 0.05), timeout_s=5.0, hold_s=0.05)


@asynccontextmanager
async def telling(directory: Path, **changes: Any) -> AsyncIterator[Stage]:
    """A stage whose courier is quick and may reach this machine."""
    async with stage(directory, webhooks=replace(QUICK, **changes)) as s:
        yield s


async def subscribe(
    client: Client, url: str, *events: EventName, name: str = "wh_1", keys: tuple[bytes, ...] = ()
) -> Webhook:
    webhook = Webhook(
        id=name,
        url=url,
        events=events or EVENTS,
        description="",
        secrets=tuple(Secret(value=secret_of(key)) for key in keys or (KEY,)),
        created_ms=1,
    )
    await client.put_record("webhook", name, msgspec.to_builtins(webhook), expect=0)
    return webhook


async def log(client: Client, webhook: str = "wh_1") -> list[Delivery]:
    """The delivery log of a webhook."""
    records = await client.records("delivery", prefix=f"{webhook}/", limit=1_000)
    return [delivery_of(record.body) for record in records]


async def settled(client: Client, count: int = 1, webhook: str = "wh_1") -> list[Delivery]:
    """Wait until so many deliveries are settled, and none is pending."""
    async with asyncio.timeout(WAIT_S):
        while True:
            found = await log(client, webhook)
            if len(found) >= count and all(d.state != "pending" for d in found):
                return found


def outbox_of(s: Stage) -> list[Any]:
    assert s.runtime.replica is not None
    outbox = s.runtime.replica.outbox
    return [row for lane in outbox.lanes(2**60) for row in outbox.due(lane, 2**60, 1_000)]


async def test_a_completed_execution_is_told_and_signed(tmp_path: Path) -> None:
    async with receiving() as receiver, telling(tmp_path) as s:
        await subscribe(s.client, receiver.url)
        flow = workflow(agent("doer"))
        execution = await s.submit(flow, {"do": []}, labels={"customer": "Ünï"})
        await s.result(execution)
        (message,) = await receiver.got(1)
        last = (await s.journal(execution))[-1]
        assert message.data == {
            "type": "execution.completed",
            "execution": execution,
            "workflow": "tested",
            "version": "1",
            "status": "completed",
            "index": last.index,
            "at_ms": last.at_ms,
            "labels": {"customer": "Ünï"},
            "result": f"/v1/executions/{execution}/result",
        }
        assert message.path == "/hook?a=b"
        assert message.headers["host"] == f"{HOST}:{receiver.port}"
        assert message.headers["content-type"] == "application/json"
        identifier = f"{execution}@{last.index}"
        assert verify(message.body, message.headers, secret_of(KEY)) == identifier
        stamp = message.headers["webhook-timestamp"]
        told = f"{identifier}.{stamp}.".encode() + message.body
        by_hand = base64.b64encode(hmac.new(KEY, told, hashlib.sha256).digest()).decode()
        assert message.headers["webhook-signature"] == f"v1,{by_hand}"
        assert abs(time.time() - int(stamp)) < 60
        (delivery,) = await settled(s.client)
        assert (delivery.id, delivery.state, delivery.attempts) == (identifier, "delivered", 1)
        assert (delivery.status, delivery.error, delivery.next_ms) == (204, "", None)
        assert outbox_of(s) == []


async def test_failures_pauses_and_cancellations_are_told_to_who_wants_them(
    tmp_path: Path,
) -> None:
    with gate() as held:
        async with receiving() as receiver, telling(tmp_path) as s:
            kinds: tuple[EventName, ...] = (
                "execution.failed",
                "execution.paused",
                "execution.cancelled",
            )
            await subscribe(s.client, receiver.url, *kinds)
            completed = await s.do()
            await s.result(completed)
            failed = await s.do({"fail": "it broke"})
            await s.journal(failed)
            waiting = await s.do({"hold": held.name})
            await held.reached()
            await s.client.interrupt(waiting, detail="hold on")
            await s.client.cancel(waiting, by="Ann")
            messages = await receiver.got(3)
            told = {m.data["type"]: m.data for m in messages}
            assert sorted(told) == sorted(kinds)
            assert told["execution.failed"]["failure"]["message"]
            assert told["execution.failed"]["execution"] == failed
            assert "traceback" not in told["execution.failed"]["failure"]
            assert told["execution.paused"]["pause"]["detail"] == "hold on"
            assert told["execution.paused"]["status"] == "paused"
            assert told["execution.cancelled"]["cancelled_by"] == "Ann"
            await settled(s.client, 3)
            assert len(receiver.messages) == 3


async def test_what_fails_first_is_tried_again_under_the_same_id(tmp_path: Path) -> None:
    moved = status(302, "location: http://127.0.0.1:1/elsewhere")
    async with receiving(status(500), moved, OK) as receiver, telling(tmp_path) as s:
        await subscribe(s.client, receiver.url)
        execution = await s.do()
        await s.result(execution)
        messages = await receiver.got(3)
        assert len({m.id for m in messages}) == 1
        assert len({m.body for m in messages}) == 1
        (delivery,) = await settled(s.client)
        assert (delivery.state, delivery.attempts, delivery.status) == ("delivered", 3, 204)


async def test_in_the_end_it_is_given_up_and_can_be_sent_again(tmp_path: Path) -> None:
    async with receiving(*[status(503)] * 4, OK) as receiver, telling(tmp_path) as s:
        await subscribe(s.client, receiver.url)
        await s.result(await s.do())
        (delivery,) = await settled(s.client)
        assert (delivery.state, delivery.attempts) == ("given_up", 4)
        assert delivery.error == "answered 503"
        assert outbox_of(s) == []
        await s.client.redeliver("wh_1", delivery.id)
        messages = await receiver.got(5)
        assert len({m.id for m in messages}) == 1
        (again,) = await settled(s.client)
        assert (again.state, again.attempts) == ("delivered", 1)


async def test_what_is_being_delivered_is_not_asked_for_again(tmp_path: Path) -> None:
    async with receiving(status(500), SILENCE, OK) as receiver, telling(tmp_path) as s:
        await subscribe(s.client, receiver.url)
        await s.result(await s.do())
        await receiver.got(2)
        (delivery,) = await log(s.client)
        with pytest.raises(Conflict, match="is being delivered"):
            await s.client.redeliver("wh_1", delivery.id)
        receiver.hang_up()
        await receiver.got(3)
        assert [d.state for d in await settled(s.client)] == ["delivered"]


async def test_a_redirect_is_no_delivery(tmp_path: Path) -> None:
    async with receiving() as elsewhere:
        moved = status(307, f"location: {elsewhere.url}")
        async with receiving(moved) as receiver, telling(tmp_path, delays_s=()) as s:
            await subscribe(s.client, receiver.url)
            await s.result(await s.do())
            (delivery,) = await settled(s.client)
            assert (delivery.state, delivery.status) == ("given_up", 307)
            assert "redirect" in delivery.error
            assert elsewhere.messages == []


async def test_an_answer_is_not_read_beyond_its_head(tmp_path: Path) -> None:
    # The body that is promised never comes.
    endless = b"HTTP/1.1 200 OK\r\ncontent-length: 1000000000000\r\n\r\n" + b"x" * 100_000
    async with receiving(endless) as receiver, telling(tmp_path) as s:
        await subscribe(s.client, receiver.url)
        await s.result(await s.do())
        (delivery,) = await settled(s.client)
        assert (delivery.state, delivery.status) == ("delivered", 200)


async def test_an_endless_head_is_an_error(tmp_path: Path) -> None:
    huge = b"HTTP/1.1 200 OK\r\n" + b"x-y: " + b"z" * 1_000_000
    async with receiving(huge) as receiver, telling(tmp_path, delays_s=()) as s:
        await subscribe(s.client, receiver.url)
        await s.result(await s.do())
        (delivery,) = await settled(s.client)
        assert (delivery.state, delivery.status) == ("given_up", None)
        assert delivery.error


async def test_who_is_gone_or_silent_keeps_nobody_waiting(tmp_path: Path) -> None:
    async with receiving() as gone:
        pass
    async with (
        receiving(SILENCE) as silent,
        receiving() as receiver,
        telling(tmp_path, delays_s=(), timeout_s=1.0, per_webhook_max=2) as s,
    ):
        await subscribe(s.client, gone.url, name="wh_gone")
        await subscribe(s.client, silent.url, name="wh_silent")
        await subscribe(s.client, receiver.url)
        executions = [await s.do() for _ in range(5)]
        for execution in executions:
            await s.result(execution)
        # All are told while the silent one is waited for.
        assert len(await receiver.got(5)) == 5
        assert all(d.state == "delivered" for d in await settled(s.client, 5))
        for delivery in await settled(s.client, 5, "wh_silent"):
            assert delivery.state == "given_up"
            assert delivery.error == "no answer within 1 s"
        assert silent.open_most == 2
        for delivery in await settled(s.client, 5, "wh_gone"):
            assert (delivery.state, delivery.status) == ("given_up", None)
            assert "ConnectError" in delivery.error


async def test_what_was_committed_is_told_after_a_crash(tmp_path: Path) -> None:
    async with receiving(SILENCE, OK) as receiver, telling(tmp_path, timeout_s=60.0) as s:
        await subscribe(s.client, receiver.url)
        execution = await s.do()
        await s.result(execution)
        # It has been sent, and the coordinator dies before it hears what became of that.
        (first,) = await receiver.got(1)
        await s.runtime.stop_coordinator()
        await s.runtime.start_coordinator()
        first, second = await receiver.got(2)
        assert first.id == second.id and first.body == second.body
        (delivery,) = await settled(s.client)
        assert (delivery.id, delivery.state) == (first.id, "delivered")
        assert len(receiver.messages) == 2


async def test_what_was_never_sent_is_told_after_a_crash(tmp_path: Path) -> None:
    async with receiving() as receiver:
        port = receiver.port
    async with telling(tmp_path, delays_s=(0.01,) * 1_000) as s:
        await subscribe(s.client, f"http://{HOST}:{port}/")
        execution = await s.do()
        await s.result(execution)
        await s.runtime.stop_coordinator()
        # On the disk, beside the event that it tells of.
        replica = Replica.open(tmp_path, owner="test")
        (lane,) = replica.outbox.lanes(2**60)
        (row,) = replica.outbox.due(lane, 2**60, 10)
        replica.close()
        assert (row.execution, row.type) == (execution, "execution.completed")
        async with receiving(port=port) as receiver:
            await s.runtime.start_coordinator()
            (message,) = await receiver.got(1)
            assert message.id == row.id
            await settled(s.client)


async def test_a_tenant_is_told_of_its_own_and_nothing_else(tmp_path: Path) -> None:
    async with receiving() as receiver, receiving() as theirs, telling(tmp_path) as s:
        other = s.client.for_tenant(TenantId("other"))
        await subscribe(s.client, receiver.url)
        await subscribe(other, theirs.url)
        mine = await s.do()
        flow = workflow(agent("doer"))
        foreign = await other.submit(flow, {"do": []}, model="scripted/scripted")
        await s.result(mine)
        await other.result(foreign, timeout_s=WAIT_S)
        assert [m.data["execution"] for m in await receiver.got(1)] == [mine]
        assert [m.data["execution"] for m in await theirs.got(1)] == [foreign]
        (delivery,) = await settled(s.client)
        with pytest.raises(NotFound):
            await other.redeliver("wh_1", delivery.id)
        await settled(other)
        assert len(receiver.messages) == len(theirs.messages) == 1


async def test_private_addresses_are_refused_when_a_message_is_sent(tmp_path: Path) -> None:
    async with receiving() as receiver, telling(tmp_path, hosts=(), delays_s=()) as s:
        await subscribe(s.client, f"https://localhost:{receiver.port}/", name="wh_local")
        await subscribe(s.client, receiver.url)
        await s.result(await s.do())
        for webhook in ("wh_1", "wh_local"):
            (delivery,) = await settled(s.client, 1, webhook)
            assert (delivery.state, delivery.status) == ("given_up", None)
        assert receiver.messages == [] and receiver.open_most == 0


async def test_a_webhook_that_is_deleted_is_told_nothing_more(tmp_path: Path) -> None:
    async with receiving(status(500)) as receiver, telling(tmp_path, delays_s=(60.0,)) as s:
        await subscribe(s.client, receiver.url)
        await s.result(await s.do())
        await receiver.got(1)
        async with asyncio.timeout(WAIT_S):
            while not await log(s.client):
                pass
        assert len(outbox_of(s)) == 1
        await s.client.delete_record("webhook", "wh_1")
        assert outbox_of(s) == [] and await log(s.client) == []
        await s.result(await s.do())
        assert outbox_of(s) == []


async def test_a_deletion_while_a_message_is_sent_leaves_nothing_behind(tmp_path: Path) -> None:
    async with receiving(SILENCE) as receiver, telling(tmp_path, delays_s=()) as s:
        await subscribe(s.client, receiver.url)
        await s.result(await s.do())
        await receiver.got(1)
        await s.client.delete_record("webhook", "wh_1")
        receiver.hang_up()
        # Under the same name, so that what comes late would be seen.
        await subscribe(s.client, receiver.url)
        receiver.answers = [OK]
        await s.client.test_webhook("wh_1")
        (delivery,) = await settled(s.client)
        assert delivery.type == "webhook.test"


async def test_the_log_is_bounded(tmp_path: Path) -> None:
    async with receiving() as receiver, telling(tmp_path, kept=5) as s:
        await subscribe(s.client, receiver.url)
        for _ in range(120):
            await s.client.test_webhook("wh_1")
        await receiver.got(120)
        found = await settled(s.client)
        async with asyncio.timeout(WAIT_S):
            while outbox_of(s):
                await s.client.runtime()
        assert len(found) <= 5 + 50 + 2 * QUICK.per_webhook_max
        # Each try is told, whatever of it is kept.
        assert len({m.id for m in receiver.messages}) == 120


async def test_a_trial_by_name_is_sent_once(tmp_path: Path) -> None:
    async with receiving() as receiver, telling(tmp_path) as s:
        await subscribe(s.client, receiver.url)
        request = Request(key="k", digest="d")
        first = await s.client.test_webhook("wh_1", request=request)
        assert await s.client.test_webhook("wh_1", request=request) == first
        await settled(s.client)
        (message,) = receiver.messages
        assert message.id == first
        assert set(message.data) == {"type", "webhook", "at_ms"}
        assert message.data["type"] == "webhook.test"


async def test_a_full_disk_delays_the_log_and_sends_nothing_twice(tmp_path: Path) -> None:
    async with receiving(SILENCE, OK) as receiver, telling(tmp_path) as s:
        await subscribe(s.client, receiver.url)
        await s.result(await s.do())
        await receiver.got(1)
        replica = s.runtime.replica
        assert replica is not None
        commit, failed = replica.commit, 0

        def refusing(batch: Any) -> Any:
            nonlocal failed
            if failed < 3:
                failed += 1
                raise StorageFull("no space left")
            return commit(batch)

        replica.commit = refusing  # type: ignore[method-assign]
        receiver.hang_up()
        (delivery,) = await settled(s.client)
        assert failed == 3
        assert (delivery.state, delivery.attempts) == ("delivered", 2)
        assert len(receiver.messages) == 2


async def test_what_is_damaged_keeps_nobody_elses_waiting(tmp_path: Path) -> None:
    async with receiving() as gone:
        pass
    async with receiving() as receiver, telling(tmp_path, delays_s=(3_600.0,)) as s:
        await subscribe(s.client, gone.url, name="wh_damaged")
        await s.result(await s.do())
        async with asyncio.timeout(WAIT_S):
            while not await log(s.client, "wh_damaged"):
                pass
        await s.runtime.stop_coordinator()
        raw = sqlite3.connect(tmp_path / FILE_NAME)
        raw.execute("UPDATE outbox SET due_ms = 1")
        raw.commit()
        raw.close()
        await s.runtime.start_coordinator()
        await subscribe(s.client, receiver.url)
        execution = await s.do()
        await s.result(execution)
        (message,) = await receiver.got(1)
        assert message.data["execution"] == execution


async def test_who_has_no_webhooks_adds_nothing(tmp_path: Path) -> None:
    async with telling(tmp_path) as s:
        other = s.client.for_tenant(TenantId("other"))
        await subscribe(other, f"http://{HOST}:1/")
        await s.result(await s.do())
        assert outbox_of(s) == []
        assert s.runtime.replica is not None
        assert not s.runtime.replica.outbox.is_wanted(TenantId("default"))
        assert s.runtime.replica.outbox.is_wanted(TenantId("other"))
