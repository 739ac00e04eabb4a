"""API keys: shown once, stored as hashes, revoked within a second, and of one tenant."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from omium.serve.api import ensure_admin_key
from omium.serve.api.auth import KIND, SYSTEM_TENANT
from omium.types import TenantId
from tests.serve.api.stage import PEPPER, served
from tests.serve.api.test_control import kind


async def test_a_key_is_made_used_and_revoked(tmp_path: Path) -> None:
    async with served(tmp_path) as s:
        made = await s.http.post("/v1/keys", json={"name": "ci", "scopes": ["run"]})
        assert made.status_code == 201
        secret = made.json()["secret"]
        async with s.caller(secret) as ci:
            assert (await ci.get("/v1/executions")).status_code == 200
            refused = await ci.get("/v1/keys")
            assert kind(refused) == (403, "forbidden")
            assert refused.json()["scope"] == "admin"
            revoked = await s.http.delete(f"/v1/keys/{made.json()['id']}")
            assert revoked.json()["revoked_ms"] >= made.json()["created_ms"]
            assert kind(await ci.get("/v1/executions")) == (401, "unauthorized")
        again = await s.http.delete(f"/v1/keys/{made.json()['id']}")
        assert again.json() == revoked.json()
        assert kind(await s.http.delete("/v1/keys/aaaaaaaa")) == (404, "not_found")
        listed = (await s.http.get("/v1/keys")).json()["keys"]
        assert {key["name"] for key in listed} == {"tests", "ci"}
        assert "secret" not in json.dumps(listed) and "hash" not in json.dumps(listed)


async def test_no_secret_is_stored(tmp_path: Path) -> None:
    async with served(tmp_path) as s:
        system = s.stage.client.for_tenant(SYSTEM_TENANT)
        stored = json.dumps([r.body for r in await system.records(KIND)])
        assert s.key not in stored and s.key.split("_", 2)[2] not in stored
        secret = s.key
    files = await asyncio.to_thread(lambda: [f for f in tmp_path.rglob("*") if f.is_file()])
    assert files
    assert not any(secret.encode() in file.read_bytes() for file in files)


async def test_the_same_request_makes_one_key(tmp_path: Path) -> None:
    async with served(tmp_path) as s:
        key, body = {"idempotency-key": "k"}, {"name": "ci", "scopes": ["read"]}
        one = await s.http.post("/v1/keys", json=body, headers=key)
        two = await s.http.post("/v1/keys", json=body, headers=key)
        assert (one.status_code, two.status_code) == (201, 200)
        assert two.json() == {**one.json(), "secret": None}
        other = await s.http.post("/v1/keys", json={**body, "name": "x"}, headers=key)
        assert kind(other) == (409, "idempotency_conflict")
        async with s.caller(await s.key_of("stranger")) as stranger:
            theirs = await stranger.post("/v1/keys", json=body, headers=key)
            assert theirs.status_code == 201 and theirs.json()["id"] != one.json()["id"]


async def test_keys_are_paged_and_bounded(tmp_path: Path) -> None:
    async with served(tmp_path, settings={"keys_max": 4}) as s:
        for n in range(3):
            body = {"name": str(n), "scopes": ["read"]}
            assert (await s.http.post("/v1/keys", json=body)).status_code == 201
        full = await s.http.post("/v1/keys", json={"name": "x", "scopes": ["read"]})
        assert kind(full) == (409, "limit_reached")
        assert full.json()["limit"] == {"name": "keys_max", "max": 4}
        names: list[str] = []
        cursor = ""
        while True:
            page = (await s.http.get("/v1/keys", params={"limit": 3, "cursor": cursor})).json()
            names += [key["name"] for key in page["keys"]]
            cursor = page["next_cursor"]
            if cursor is None:
                break
        assert sorted(names) == ["0", "1", "2", "tests"]


async def test_a_key_is_believed_for_as_long_as_it_is_cached(tmp_path: Path) -> None:
    async with served(tmp_path) as s:
        now_s = 0.0
        keys = type(s.keys)(s.stage.client, PEPPER, now_s=lambda: now_s)
        secret = await s.key_of("t", "read")
        assert (await keys.verify(f"Bearer {secret}")).tenant == "t"
        await s.keys.revoke(TenantId("t"), secret[4:12])
        now_s = 0.99
        await keys.verify(f"Bearer {secret}")
        now_s = 1.0
        try:
            await keys.verify(f"Bearer {secret}")
        except Exception as error:  # noqa: BLE001 - which one is asked next
            assert getattr(error, "kind", "") == "unauthorized"
        else:
            raise AssertionError("a revoked key was believed for more than a second")


async def test_the_first_key_is_made_once(tmp_path: Path) -> None:
    async with served(tmp_path) as s:
        first = await ensure_admin_key(s.stage.client, PEPPER)
        assert await ensure_admin_key(s.stage.client, PEPPER, known=first) == first
        async with s.caller(first) as admin:
            assert (await admin.get("/v1/keys")).status_code == 200
        await s.keys.revoke(TenantId("default"), first[4:12])
        assert await ensure_admin_key(s.stage.client, PEPPER, known=first) != first
        small = await s.key_of("default", "read")
        assert await ensure_admin_key(s.stage.client, PEPPER, known=small) != small
        # Under another pepper nothing that was made before is valid.
        assert await ensure_admin_key(s.stage.client, b"q" * 32, known=s.key) != s.key
