"""Webhooks over HTTP: made, tried, told of executions, given new secrets, and deleted."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from omium.client.webhooks import verify
from omium.errors import PermissionRefused
from tests.serve.api.stage import Served, served
from tests.serve.api.test_control import kind
from tests.webhooks.receiver import receiving
from tests.webhooks.test_courier import QUICK, WAIT_S

URL = "https://example.com/hook"


async def made(s: Served, url: str = URL, **fields: Any) -> dict[str, Any]:
    """A new webhook, with its secret."""
    answer = await s.http.post("/v1/webhooks", json={"url": url, **fields})
    assert answer.status_code == 201, answer.text
    return answer.json()


async def delivered(s: Served, webhook: str, count: int = 1) -> list[dict[str, Any]]:
    """Wait until so many deliveries have arrived."""
    async with asyncio.timeout(WAIT_S):
        while True:
            found = (await s.http.get(f"/v1/webhooks/{webhook}/deliveries")).json()["deliveries"]
            if sum(d["state"] == "delivered" for d in found) >= count:
                return found


async def test_a_webhook_is_told_of_an_execution(tmp_path: Path) -> None:
    async with receiving() as receiver, served(tmp_path, webhooks=QUICK) as s:
        hook = await made(s, receiver.url, events=["execution.completed"])
        await s.register()
        execution = await s.run({"ask": "hello"}, labels={"customer": "4711"})
        (message,) = await receiver.got(1)
        assert verify(message.body, message.headers, hook["secret"]) == message.id
        assert message.data["execution"] == execution
        assert message.data["labels"] == {"customer": "4711"}
        result = await s.http.get(message.data["result"])
        assert result.status_code == 200 and result.json()["execution"] == execution
        (delivery,) = await delivered(s, hook["id"])
        assert (delivery["id"], delivery["status"]) == (message.id, 204)
        again = await s.http.post(
            f"/v1/webhooks/{hook['id']}/deliveries/{delivery['id']}/redeliver"
        )
        assert again.status_code == 202
        one, two = await receiver.got(2)
        assert (one.id, one.body) == (two.id, two.body)


async def test_a_secret_is_shown_once(tmp_path: Path) -> None:
    async with served(tmp_path) as s:
        hook = await made(s, events=["execution.failed", "execution.completed"])
        secret = hook.pop("secret")
        assert secret.startswith("whsec_")
        assert hook["events"] == ["execution.completed", "execution.failed"]
        assert (await s.http.get(f"/v1/webhooks/{hook['id']}")).json() == hook
        listed = await s.http.get("/v1/webhooks")
        assert listed.json() == {"webhooks": [hook], "next_cursor": None}
        gone = await s.http.delete(f"/v1/webhooks/{hook['id']}")
        assert gone.json() == hook
        for answer in (listed, gone):
            assert secret not in answer.text
        assert kind(await s.http.get(f"/v1/webhooks/{hook['id']}")) == (404, "not_found")
        assert kind(await s.http.delete(f"/v1/webhooks/{hook['id']}")) == (404, "not_found")


async def test_the_same_request_makes_one_webhook(tmp_path: Path) -> None:
    async with served(tmp_path, settings={"webhooks_max": 1}) as s:
        key, body = {"idempotency-key": "k"}, {"url": URL}
        one = await s.http.post("/v1/webhooks", json=body, headers=key)
        two = await s.http.post("/v1/webhooks", json=body, headers=key)
        assert (one.status_code, two.status_code) == (201, 200)
        assert two.json() == {**one.json(), "secret": None}
        other = await s.http.post("/v1/webhooks", json={"url": URL + "2"}, headers=key)
        assert kind(other) == (409, "idempotency_conflict")
        full = await s.http.post("/v1/webhooks", json=body)
        assert kind(full) == (409, "limit_reached")
        assert full.json()["limit"] == {"name": "webhooks_max", "max": 1}
        await s.http.delete(f"/v1/webhooks/{one.json()['id']}")
        late = await s.http.post("/v1/webhooks", json=body, headers=key)
        assert kind(late) == (409, "conflict")
        assert (await s.http.get("/v1/webhooks")).json()["webhooks"] == []


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/",
        "https://localhost/",
        "https://10.0.0.1/",
        "https://169.254.169.254/latest",
        "https://user:pass@example.com/",
        "https://[::ffff:10.0.0.1]/",
        "file:///etc/passwd",
    ],
)
async def test_a_url_that_is_not_public_is_refused(tmp_path: Path, url: str) -> None:
    async with served(tmp_path, settings={"webhook_hosts": ()}) as s:
        refused = await s.http.post("/v1/webhooks", json={"url": url})
        assert kind(refused) == (422, "invalid")
        assert [e["field"] for e in refused.json()["errors"]] == ["body.url"]
        assert (await s.http.get("/v1/webhooks")).json()["webhooks"] == []


async def test_a_new_secret_signs_beside_the_old_one(tmp_path: Path) -> None:
    async with receiving() as receiver, served(tmp_path, webhooks=QUICK) as s:
        hook = await made(s, receiver.url)
        path, key = f"/v1/webhooks/{hook['id']}", {"idempotency-key": "r"}
        rotated = await s.http.post(f"{path}/rotate", headers=key)
        assert rotated.status_code == 200
        new = rotated.json()["secret"]
        assert new != hook["secret"]
        again = await s.http.post(f"{path}/rotate", headers=key)
        assert again.json() == {**rotated.json(), "secret": None}
        assert (await s.http.post(f"{path}/test")).status_code == 202
        (message,) = await receiver.got(1)
        for secret in (hook["secret"], new):
            verify(message.body, message.headers, secret)
        assert len(message.headers["webhook-signature"].split()) == 2
        newest = new
        for _ in range(6):
            newest = (await s.http.post(f"{path}/rotate")).json()["secret"]
        await s.http.post(f"{path}/test")
        _, message = await receiver.got(2)
        verify(message.body, message.headers, newest)
        assert len(message.headers["webhook-signature"].split()) == 4
        with pytest.raises(PermissionRefused):
            verify(message.body, message.headers, hook["secret"])


async def test_a_trial_is_logged_and_sent_once_by_name(tmp_path: Path) -> None:
    async with receiving() as receiver, served(tmp_path, webhooks=QUICK) as s:
        hook = await made(s, receiver.url)
        path, key = f"/v1/webhooks/{hook['id']}", {"idempotency-key": "t"}
        one = await s.http.post(f"{path}/test", headers=key)
        two = await s.http.post(f"{path}/test", headers=key)
        assert one.status_code == two.status_code == 202
        assert one.json()["id"] == two.json()["id"]
        (delivery,) = await delivered(s, hook["id"])
        assert delivery["type"] == "webhook.test"
        again = f"{path}/deliveries/{delivery['id']}/redeliver"
        for _ in range(2):
            answer = await s.http.post(again, headers={"idempotency-key": "again"})
            assert answer.status_code == 202
            await receiver.got(2)
        await delivered(s, hook["id"])
        assert len(receiver.messages) == 2
        # And what is asked for without a name happens each time.
        for count in (3, 4):
            await delivered(s, hook["id"])
            assert (await s.http.post(f"{path}/test")).status_code == 202
            await receiver.got(count)
        unknown = f"{path}/deliveries/ex_nobody@1/redeliver"
        assert kind(await s.http.post(unknown)) == (404, "not_found")


async def test_the_log_comes_in_pages(tmp_path: Path) -> None:
    async with receiving() as receiver, served(tmp_path, webhooks=QUICK) as s:
        hook = await made(s, receiver.url)
        path = f"/v1/webhooks/{hook['id']}"
        for _ in range(5):
            await s.http.post(f"{path}/test")
        everything = [d["id"] for d in await delivered(s, hook["id"], 5)]
        found, cursor = [], ""
        while cursor is not None:
            page = await s.http.get(
                f"{path}/deliveries", params={"limit": 2, **({"cursor": cursor} if cursor else {})}
            )
            found += [d["id"] for d in page.json()["deliveries"]]
            cursor = page.json()["next_cursor"]
        assert found == everything and len(found) == 5


async def test_nothing_secret_is_in_the_log(tmp_path: Path) -> None:
    async with receiving() as receiver, served(tmp_path, webhooks=QUICK) as s:
        hook = await made(s, receiver.url)
        await s.http.post(f"/v1/webhooks/{hook['id']}/test")
        assert hook["secret"] not in json.dumps(await delivered(s, hook["id"]))
