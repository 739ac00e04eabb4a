"""What a coordinator commits is shipped while it works, and comes back after a total loss."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

from omium.actors.shipper import ShippingSettings
from omium.storage.archive import Archive
from omium.storage.blobs import ObjectStore, open_object_store
from omium.storage.restoring import choose, restore
from tests.actors.gates import gate
from tests.actors.stage import WAIT_S, Stage, stage

QUICK_S = 0.01


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
