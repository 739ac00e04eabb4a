"""Several shards that look like one: who has what, once by name, and one without the other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import pytest

# Before the clock of a test runs: it takes seconds, in which an event loop stands still.
import tests.actors.agents  # noqa: F401
from omium.actors import messages as m
from omium.actors.client import Client
from omium.actors.link import Link
from omium.actors.transport import Answer, Codec, Connection
from omium.errors import Conflict, NotFound, ProtocolError, RequestConflict
from omium.execution.events import Request, type_of
from omium.execution.records import Payload
from omium.storage.journal import ExecutionRow
from omium.testing.shards import InProcessShards
from omium.types import DEFAULT_TENANT, ExecutionId, TenantId
from tests.actors.gates import gate
from tests.actors.stage import Stage, agent, stage, workflow
from tests.webhooks.receiver import receiving
from tests.webhooks.test_courier import QUICK, log, settled, subscribe

SHARDS = 3
FLOW = workflow(agent("doer"))


@asynccontextmanager
async def sharded(directory: Path, **options: Any) -> AsyncIterator[tuple[Stage, InProcessShards]]:
    async with stage(directory, kind=InProcessShards, shards=SHARDS, **options) as s:
        yield s, cast("InProcessShards", s.runtime)


def named(key: str, digest: str = "d") -> Request:
    return Request(key=key, digest=digest)


async def one_in_each(s: Stage, runtime: InProcessShards, *actions: Any) -> list[ExecutionId]:
    """An execution in each shard, by its number."""
    return [
        await s.submit(FLOW, {"do": list(actions)}, execution_id=runtime.new_id_in(shard))
        for shard in range(SHARDS)
    ]


def rows_in(runtime: InProcessShards, shard: int) -> list[ExecutionRow]:
    return runtime.replica_of(shard).journal.executions(limit=1_000)


@asynccontextmanager
async def link_to_shard(runtime: InProcessShards, shard: int) -> AsyncIterator[Link]:
    def no_requests(_: Connection, __: Any, ___: Answer) -> None:
        raise ProtocolError("nobody asks a test")

    addresses = [runtime.addresses, *runtime.further][shard]
    link = Link(addresses, Codec(m.Messages), runtime.secret, handler=no_requests)
    link.open()
    try:
        yield link
    finally:
        await link.close()


async def test_each_execution_lives_and_is_read_in_its_own_shard(tmp_path: Path) -> None:
    async with sharded(tmp_path) as (s, runtime):
        ids = await one_in_each(s, runtime, {"ask": "x"}, {"tool": "add", "with": {"a": 1, "b": 2}})
        for shard, execution_id in enumerate(ids):
            await s.result(execution_id)
            assert [row.id for row in rows_in(runtime, shard)] == [execution_id]
            assert (await s.client.view(execution_id)).status == "completed"
            types = [type_of(entry.event) for entry in await s.client.entries(execution_id)]
            assert types.count("call.completed") == 2
        # Each shard has leased its own to workers of its own.
        assert len(runtime.spawner.workers) >= 1
        workers = (await s.client.runtime()).workers
        assert len({worker.worker for worker in workers}) == len(workers) >= SHARDS


async def test_lists_and_counts_are_of_all_shards(tmp_path: Path) -> None:
    async with sharded(tmp_path) as (s, runtime):
        ids = [await s.submit(FLOW, {"do": []}, labels={"n": str(n % 2)}) for n in range(17)]
        assert all(rows_in(runtime, shard) for shard in range(SHARDS))
        for execution_id in ids:
            await s.result(execution_id)
        read: list[ExecutionId] = []
        while page := await s.client.executions(before=read[-1] if read else None, limit=4):
            read += [row.id for row in page]
        assert read == sorted(ids, reverse=True)
        even = await s.client.executions(labels={"n": "0"}, limit=100)
        assert [row.id for row in even] == sorted(ids[::2], reverse=True)
        assert await s.client.counts() == {"completed": 17}
        assert await s.client.for_tenant(TenantId("other")).counts() == {}


async def test_control_and_streams_go_to_the_shard(tmp_path: Path) -> None:
    async with sharded(tmp_path) as (s, runtime):
        with gate() as held:
            ids = await one_in_each(s, runtime, {"hold": held.name})
            await held.reached(SHARDS)
            for execution_id in ids:
                await s.client.signal(execution_id, "go", 1, request=named(f"s-{execution_id}"))
                await s.client.interrupt(execution_id)
                assert (await s.client.view(execution_id)).status == "paused"
                await s.client.cancel(execution_id, request=named(f"c-{execution_id}"))
                types = await s.types(execution_id)
                assert types[-1] == "execution.cancelled" and "execution.signalled" in types
            held.open()


async def test_what_an_agent_streams_is_seen_whatever_its_shard(tmp_path: Path) -> None:
    async with sharded(tmp_path) as (s, runtime):
        for shard in range(SHARDS):
            execution_id = await s.submit(
                FLOW,
                {"do": [{"ask": "a b c d", "stream": True}]},
                execution_id=runtime.new_id_in(shard),
            )
            news = [item async for item in s.client.follow(execution_id, live=True)]
            assert any(isinstance(item, m.Delta) for item in news)


async def test_a_fork_is_made_beside_its_origin(tmp_path: Path) -> None:
    async with sharded(tmp_path) as (s, runtime):
        for shard, origin in enumerate(
            await one_in_each(s, runtime, {"checkpoint": "one"}, {"ask": "two"})
        ):
            await s.result(origin)
            request = named(f"f{shard}")
            forks = {await s.client.fork(origin, 2, request=request) for _ in range(3)}
            (fork,) = forks
            assert runtime.shard_of(fork) == shard
            await s.result(fork)
            with pytest.raises(RequestConflict):
                await s.client.fork(origin, 3, request=named(f"f{shard}", "other"))


# ------------------------------------------------------------------ by name and once


async def test_a_name_has_the_effect_of_one_request_across_shards(tmp_path: Path) -> None:
    async with sharded(tmp_path) as (s, runtime):
        for first in range(SHARDS):
            key = named(f"k{first}")
            created = {
                await s.submit(FLOW, {"do": []}, execution_id=runtime.new_id_in(shard), request=key)
                for shard in (first, *range(SHARDS))
            }
            (execution_id,) = created
            assert runtime.shard_of(execution_id) == first
            assert await s.client.carried_out(key) == execution_id
            with pytest.raises(RequestConflict, match=execution_id):
                await s.submit(FLOW, {"do": []}, request=named(key.key, "other"))
            # Neither has another shard anything to say about that name.
            for shard in range(SHARDS):
                other = await s.submit(FLOW, {"do": []}, execution_id=runtime.new_id_in(shard))
                with pytest.raises(RequestConflict):
                    await s.client.cancel(other, request=named(key.key, "cancel"))
        together = await asyncio.gather(
            *(s.submit(FLOW, {"do": []}, request=named("t")) for _ in range(8))
        )
        assert len(set(together)) == 1
        assert sum(await _counts(s.client)) == SHARDS + SHARDS * SHARDS + 1


async def test_a_claim_whose_maker_died_is_fulfilled_with_its_id(tmp_path: Path) -> None:
    async with sharded(tmp_path) as (s, runtime), link_to_shard(runtime, 0) as home:
        cases = [(claimed, again) for claimed in range(1, SHARDS) for again in range(SHARDS)]
        for claimed, again in cases:
            first, key = runtime.new_id_in(claimed), named(f"k{claimed}{again}")
            await home.call(m.ClaimRequest(tenant=DEFAULT_TENANT, request=key, execution_id=first))
            # Nothing was carried out yet, and nobody is told that it was.
            assert await s.client.carried_out(key) is None
            with pytest.raises(NotFound):
                await s.client.view(first)
            fresh = runtime.new_id_in(again)
            assert await s.submit(FLOW, {"do": []}, execution_id=fresh, request=key) == first
            assert await s.client.carried_out(key) == first
        assert len(await s.client.executions()) == len(cases)


async def test_a_refused_request_may_come_again(tmp_path: Path) -> None:
    async with sharded(tmp_path) as (s, runtime):
        for execution_id in await one_in_each(s, runtime):
            await s.result(execution_id)
            key = named(f"c-{execution_id}")
            for _ in range(2):
                with pytest.raises(Conflict):
                    await s.client.cancel(execution_id, request=key)
            assert await s.client.carried_out(key) is None
        with pytest.raises(NotFound):
            await s.client.view(runtime.new_id_in(1))


# ------------------------------------------------------------------ records and webhooks


async def test_records_are_in_the_home_shard(tmp_path: Path) -> None:
    async with sharded(tmp_path) as (s, runtime):
        for number in range(6):
            request = named(f"r{number}")
            for _ in range(2):
                await s.client.put_record("kept", f"k{number}", {"n": number}, request=request)
            assert await s.client.carried_out(request) == f"k{number}"
        assert [r.key for r in await s.client.records("kept")] == [f"k{n}" for n in range(6)]
        for shard in range(1, SHARDS):
            assert runtime.replica_of(shard).catalog.records(DEFAULT_TENANT, "kept") == []


async def test_webhooks_are_told_of_every_shard(tmp_path: Path) -> None:
    async with receiving() as receiver, sharded(tmp_path, webhooks=QUICK) as (s, runtime):
        await subscribe(s.client, receiver.url)
        ids = await one_in_each(s, runtime)
        for execution_id in ids:
            await s.result(execution_id)
        await receiver.got(SHARDS)
        told = await settled(s.client, SHARDS)
        assert [delivery.execution for delivery in told] == sorted(ids)
        for delivery in told:
            await s.client.redeliver("wh_1", delivery.id, request=named(delivery.id))
        await receiver.got(2 * SHARDS)
        await settled(s.client, SHARDS)
        for number in range(8):
            request = named(f"t{number}")
            names = {await s.client.test_webhook("wh_1", request=request) for _ in range(2)}
            assert len(names) == 1
        await receiver.got(2 * SHARDS + 8)
        await settled(s.client, SHARDS + 8)
        await s.client.delete_record("webhook", "wh_1")
        for execution_id in await one_in_each(s, runtime):
            await s.result(execution_id)
        assert await log(s.client) == []
        assert all(runtime.replica_of(shard).outbox.is_empty for shard in range(SHARDS))
        assert len(receiver.messages) == 2 * SHARDS + 8


async def test_copies_of_a_webhook_end_with_the_newest(tmp_path: Path) -> None:
    async with sharded(tmp_path) as (s, runtime):

        async def change(number: int) -> None:
            await s.client.put_record("webhook", "wh_1", {"events": [], "n": number})

        async def check() -> None:
            home = await s.client.record("webhook", "wh_1")
            assert home is not None
            for shard in range(1, SHARDS):
                copy = runtime.replica_of(shard).catalog.record(DEFAULT_TENANT, "webhook", "wh_1")
                assert copy is not None
                assert copy.body == {**home.body, "home_version": home.version}

        for number in range(2):
            await change(number)
            await check()
        await asyncio.gather(*map(change, range(12)))
        await check()
        await asyncio.gather(*(s.client.delete_record("webhook", "wh_1") for _ in range(3)))
        for shard in range(SHARDS):
            assert runtime.replica_of(shard).catalog.records(DEFAULT_TENANT, "webhook") == []


# ------------------------------------------------------------------ one without the other


@pytest.mark.parametrize("stopped", range(SHARDS))
async def test_the_other_shards_go_on(tmp_path: Path, stopped: int) -> None:
    async with sharded(tmp_path) as (s, runtime):
        with gate() as held:
            ids = await one_in_each(s, runtime, {"hold": held.name}, {"ask": "x"})
            await held.reached(SHARDS)
            await runtime.stop_shard(stopped)
            held.open()
            for shard in set(range(SHARDS)) - {stopped}:
                await s.result(ids[shard])
                after = await s.submit(
                    FLOW, {"do": [{"ask": "y"}]}, execution_id=runtime.new_id_in(shard)
                )
                await s.result(after)
            await runtime.start_shard(stopped)
            await s.result(ids[stopped])
        assert await s.client.counts() == {"completed": 2 * SHARDS - 1}


async def test_a_large_payload_is_the_same_in_every_shard(tmp_path: Path) -> None:
    async with sharded(tmp_path) as (s, runtime):
        text = "x" * 100_000
        for execution_id in await one_in_each(s, runtime, {"ask": text}):
            await s.result(execution_id)
            view = await s.client.view(execution_id)
            payload = view.agents[0].output
            assert isinstance(payload, Payload)
            assert text in str(await s.client.value(payload))


async def _counts(client: Client) -> list[int]:
    return list((await client.counts()).values())
