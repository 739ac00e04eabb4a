"""What a coordinator commits is shipped while it works, and comes back after a total loss."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import pytest

from omium.actors.shipper import ShippingSettings
from omium.errors import NotShipped
from omium.execution.events import Request
from omium.storage.archive import Archive
from omium.storage.object_urls import open_object_store
from omium.storage.objects import ObjectStore
from omium.storage.restoring import choose, restore
from tests.actors.gates import gate
from tests.actors.stage import WAIT_S, Stage, agent, stage, workflow

QUICK_S = 0.01
NEVER_S = 3_600.0
"""Longer than anything waits."""


def archive_in(folder: Path) -> Archive:
    return Archive(open_object_store(str(folder / "archive")))


def shipping_to(archive: Archive) -> ShippingSettings:
    return ShippingSettings(archive=archive, url="somewhere", interval_s=QUICK_S)


async def until_shipped(s: Stage) -> int:
    """Wait until the archive holds all that is committed."""
    async with asyncio.timeout(WAIT_S):
        while True:
            view = (await s.client.runtime()).archive
            assert view is not None
            if view.shipped == view.committed and not view.trouble:
                assert view.behind_ms == 0
                return view.shipped
            await asyncio.sleep(QUICK_S)


async def test_an_execution_goes_on_after_everything_was_lost(tmp_path: Path) -> None:
    archive, lost = archive_in(tmp_path), tmp_path / "lost"
    lost.mkdir()
    blobs = str(tmp_path / "blobs")
    with gate() as door:
        async with stage(lost, shipping=shipping_to(archive), blobs_url=blobs) as s:
            done = await s.do({"ask": "one"})
            before = await s.result(done)
            waiting = await s.do({"ask": "two"}, {"checkpoint": "c"}, {"hold": door.name})
            await s.until(waiting, "step.completed")
            await until_shipped(s)
        shutil.rmtree(lost)
        found = tmp_path / "found"
        restored = await restore(archive, await choose(archive, None), found)
        assert restored.executions == {"completed": 1, "running": 1}
        async with stage(found, blobs_url=blobs) as s:
            assert await s.result(done) == before
            door.open()
            assert await s.result(waiting) == {"heard": ["echo: two"]}
            # What was answered before the loss was not asked again.
            assert [call.body["messages"][0]["content"] for call in s.provider.calls] == []


class Failing:
    """An object store that is away until ``mended``."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self.mended = False

    def __getattr__(self, name: str) -> object:
        from omium.errors import BlobStoreError

        if not self.mended:
            raise BlobStoreError("503 SlowDown")
        return getattr(self._store, name)


async def test_a_store_that_is_away_delays_shipping_and_nothing_else(tmp_path: Path) -> None:
    store = Failing(open_object_store(str(tmp_path / "archive")))
    settings = shipping_to(Archive(store))  # pyright: ignore[reportArgumentType]
    async with stage(tmp_path / "data", shipping=settings) as s:
        assert await s.result(await s.do({"ask": "one"})) == {"heard": ["echo: one"]}
        async with asyncio.timeout(WAIT_S):
            while True:
                view = (await s.client.runtime()).archive
                assert view is not None
                if view.trouble:
                    break
                await asyncio.sleep(QUICK_S)
        assert view.trouble == "503 SlowDown"
        assert view.shipped == 0 < view.committed
        store.mended = True
        assert await until_shipped(s) == view.committed


async def test_an_end_in_good_order_leaves_nothing_unshipped(tmp_path: Path) -> None:
    archive = archive_in(tmp_path)
    slow = ShippingSettings(archive=archive, url="somewhere", interval_s=3_600)
    async with stage(tmp_path / "data", shipping=slow) as s:
        await s.result(await s.do({"ask": "one"}))
        await s.client.drain(5.0)
        view = (await s.client.runtime()).archive
        assert view is not None
        past = await choose(archive, None)
        assert past.end == view.committed


async def trouble_of(s: Stage) -> str:
    """What keeps it from shipping, once something does."""
    async with asyncio.timeout(WAIT_S):
        while True:
            view = (await s.client.runtime()).archive
            assert view is not None
            if view.trouble:
                return view.trouble
            await asyncio.sleep(QUICK_S)


async def held_of(s: Stage) -> int:
    view = (await s.client.runtime()).archive
    assert view is not None
    return view.held


async def until_held(s: Stage) -> None:
    """Wait until an answer waits."""
    async with asyncio.timeout(WAIT_S):
        while True:
            if await held_of(s):
                return
            await asyncio.sleep(QUICK_S)


async def test_what_a_client_was_told_outlives_every_disk(tmp_path: Path) -> None:
    archive, lost, found = archive_in(tmp_path), tmp_path / "lost", tmp_path / "found"
    first = ShippingSettings(archive=archive, url="somewhere", interval_s=NEVER_S, first=True)
    blobs = str(tmp_path / "blobs")
    with gate() as door:
        async with stage(lost, shipping=first, blobs_url=blobs) as s:
            done = await s.do({"ask": "one"})
            before = await s.result(done)
            told = await s.do({"hold": door.name})
            # At this very moment everything is lost.
            await s.runtime.stop_coordinator()
            shutil.rmtree(lost)
            restored = await restore(archive, await choose(archive, None), found)
            assert sum(restored.executions.values()) == 2
            assert restored.executions["completed"] == 1
            await s.runtime.start_coordinator()
        door.open()
        async with stage(found, blobs_url=blobs) as s:
            assert await s.result(done) == before
            assert await s.result(told) == {"heard": []}


def first_to(store: Failing) -> ShippingSettings:
    """Quick in all it does, and in giving up."""
    return ShippingSettings(
        archive=Archive(store),  # pyright: ignore[reportArgumentType]
        url="somewhere",
        interval_s=QUICK_S,
        first=True,
        wait_s=0.2,
    )


async def test_who_waits_for_a_store_that_is_away_is_told_so_and_may_ask_again(
    tmp_path: Path,
) -> None:
    store = Failing(open_object_store(str(tmp_path / "archive")))
    async with stage(tmp_path / "data", shipping=first_to(store)) as s:
        flow, asked = workflow(agent("doer")), Request(key="once", digest="d")
        inputs = {"do": [{"ask": "one"}]}
        with pytest.raises(NotShipped, match="committed, and not in the archive yet"):
            await s.submit(flow, inputs, request=asked)
        assert await trouble_of(s) == "503 SlowDown"
        with pytest.raises(NotShipped, match="503 SlowDown; ask again"):
            await s.submit(flow, inputs, request=asked)
        assert await held_of(s) == 0
        # The agents are at work meanwhile.
        await s.asked(1)
        store.mended = True
        await until_shipped(s)
        execution_id = await s.submit(flow, inputs, request=asked)
        assert await s.result(execution_id) == {"heard": ["echo: one"]}
        assert len(await s.client.executions(limit=10)) == 1


async def test_what_cannot_be_done_twice_is_not_begun_before_the_archive_knows(
    tmp_path: Path,
) -> None:
    store = Failing(open_object_store(str(tmp_path / "archive")))
    async with stage(tmp_path / "data", shipping=first_to(store)) as s:
        with gate() as till:
            till.open()
            put = {"tool": "put", "with": {"till": till.name, "amount": 3}}
            pay = {"tool": "pay", "with": {"till": till.name, "amount": 5}}
            with pytest.raises(NotShipped):
                await s.do({"ask": "one"}, put, pay)
            await until_held(s)
            # What may be done again was, and what may not waits.
            assert len(till.notes) == 1
            store.mended = True
            await until_shipped(s)
            (row,) = await s.client.executions(limit=10)
            assert await s.result(row.id) == {"heard": ["echo: one", 3, 5]}
            assert len(till.notes) == 2
