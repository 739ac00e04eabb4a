"""The HTTP API over several shards: nobody who asks sees how many there are."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import cast

from omium.testing.shards import InProcessShards
from omium.types import ExecutionId
from tests.serve.api.stage import Served, served, submission
from tests.serve.api.test_webhooks import delivered, made
from tests.webhooks.receiver import receiving
from tests.webhooks.test_courier import QUICK

SHARDS = 3


def placed(s: Served, ids: list[ExecutionId]) -> Counter[int]:
    runtime = cast("InProcessShards", s.stage.runtime)
    return Counter(runtime.shard_of(execution_id) for execution_id in ids)


async def test_executions_of_all_shards_are_one_list(tmp_path: Path) -> None:
    async with (
        receiving() as receiver,
        served(tmp_path, webhooks=QUICK, kind=InProcessShards, shards=SHARDS) as s,
    ):
        hook = await made(s, receiver.url)
        await s.register()
        ids: list[ExecutionId] = []
        while len(placed(s, ids)) < SHARDS or len(ids) < 8:
            headers = {"idempotency-key": f"key-{len(ids)}"}
            body = submission({"ask": "hello"}, labels={"n": str(len(ids))})
            twice = [
                (await s.http.post("/v1/executions", json=body, headers=headers)).json()
                for _ in range(2)
            ]
            assert twice[0]["execution"] == twice[1]["execution"]
            ids.append(twice[0]["execution"])
            other = await s.http.post("/v1/executions", json=submission(), headers=headers)
            assert (other.status_code, other.json()["type"]) == (
                409,
                "urn:omium:problem:idempotency_conflict",
            )
        for execution_id in ids:
            await s.result(execution_id)
            assert (await s.http.get(f"/v1/executions/{execution_id}/result")).status_code == 200
        listed: list[str] = []
        cursor: str | None = None
        while cursor is not None or not listed:
            params = {"limit": "3", **({"cursor": cursor} if cursor else {})}
            page = (await s.http.get("/v1/executions", params=params)).json()
            listed += [row["id"] for row in page["executions"]]
            cursor = page["next_cursor"]
        assert listed == sorted(ids, reverse=True)
        figures = (await s.http.get("/metrics")).text
        assert f'omium_executions{{status="completed"}} {len(ids)}' in figures
        await receiver.got(len(ids))
        told = await delivered(s, hook["id"], len(ids))
        assert {one["execution"] for one in told} == set(ids)


async def test_what_is_done_to_an_execution_reaches_its_shard(tmp_path: Path) -> None:
    async with served(tmp_path, kind=InProcessShards, shards=SHARDS) as s:
        await s.register()
        ids: list[ExecutionId] = []
        while len(placed(s, ids)) < SHARDS:
            ids.append(await s.run({"checkpoint": "one"}, {"ask": "two"}))
        for number, execution_id in enumerate(ids):
            await s.result(execution_id)
            path = f"/v1/executions/{execution_id}"
            assert (await s.http.get(f"{path}/checkpoints")).json()["checkpoints"]
            headers = {"idempotency-key": f"fork-{number}"}
            forks = [
                await s.http.post(f"{path}/fork", json={"at": 2}, headers=headers) for _ in range(2)
            ]
            assert [fork.status_code for fork in forks] == [202, 202], forks[0].text
            (fork,) = {fork.json()["execution"] for fork in forks}
            assert placed(s, [fork]) == placed(s, [execution_id])
            await s.result(fork)
            refused = await s.http.post(f"{path}/cancel", headers={"idempotency-key": path})
            assert refused.status_code == 409
