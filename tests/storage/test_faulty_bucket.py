"""A runtime that ships to a real S3 server on bad days: nobody waits for it, what is kept for it is
bounded, and in the end the archive has exactly what was committed."""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace
from pathlib import Path

import pytest

from omium.actors import messages as m
from omium.actors import shipper
from omium.actors.shipper import ShippingSettings
from omium.storage import backlog
from omium.storage import replica as replica_module
from omium.storage.archive import Archive
from omium.storage.object_urls import open_object_store
from omium.storage.replica import FILE_NAME
from omium.storage.restoring import choose, restore
from omium.storage.verifying import damage_in_archive, disagreements
from omium.testing.seaweedfs import S3Server
from tests.actors.stage import Stage, stage
from tests.storage.faulty_bucket import Fault, faulty_bucket, then

QUICK_S = 0.01
LONG_S = 120.0
ROWS_KEPT = 8
UNSHIPPED_ROWS = 32
RECORDS = 100
MIXED: tuple[Fault, ...] = ("none", "slow_down", "slow", "lost_answer", "cut")


async def seen(s: Stage) -> m.ArchiveView:
    view = (await s.client.runtime()).archive
    assert view is not None
    return view


async def shipped(s: Stage) -> m.ArchiveView:
    """Wait until the archive holds all that is committed."""
    async with asyncio.timeout(LONG_S):
        while True:
            view = await seen(s)
            if view.shipped == view.committed and not view.trouble:
                return view
            await asyncio.sleep(QUICK_S)


@pytest.mark.s3
async def test_a_bucket_on_bad_days_delays_nobody_and_loses_nothing(
    tmp_path: Path, s3_server: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shipper, "PAUSE_S_MAX", QUICK_S)
    monkeypatch.setattr(replica_module, "LOG_ROWS_KEPT", ROWS_KEPT)
    monkeypatch.setattr(backlog, "ROWS_MAX", UNSHIPPED_ROWS)
    rng = random.Random(7)
    mixed: list[Fault] = [*MIXED, *(rng.choice(MIXED) for _ in range(30))]
    url, options = f"s3://{bucket}/bad-days", s3_server.options(retries_max=0)
    data = tmp_path / "data"
    async with faulty_bucket(s3_server.endpoint, then(mixed, "hang")) as (
        at,
        proxy,
    ):
        through = Archive(open_object_store(url, s3=replace(options, endpoint=at)))
        shipping = ShippingSettings(archive=through, url=url, interval_s=QUICK_S)
        async with stage(data, shipping=shipping) as s:
            # Something is always committed, until one request after all the faults hangs.
            number = 0
            async with asyncio.timeout(LONG_S):
                while not proxy.hanging.is_set():
                    number += 1
                    await s.client.put_record("kind", f"{number:06d}", number)
            # From here on every acknowledgement is one that the bucket had no part in.
            before = await seen(s)
            assert await s.result(await s.do({"ask": "one"})) == {"heard": ["echo: one"]}
            for more in range(RECORDS):
                await s.client.put_record("more", f"{more:06d}", more)
            behind = await seen(s)
            assert behind.shipped == before.shipped
            assert behind.committed - behind.shipped >= RECORDS
            assert behind.behind_ms > 0
            assert s.runtime.replica is not None
            (rows,) = s.runtime.replica.connection.execute("SELECT count(*) FROM log").fetchone()
            assert rows <= UNSHIPPED_ROWS + ROWS_KEPT
            proxy.release()
            view = await shipped(s)
        assert set(MIXED) | {"hang"} == set(proxy.done)
    # Without the proxy: what is there is whole, and it is what the disk has.
    archive = Archive(open_object_store(url, s3=options))
    past = await choose(archive, None)
    assert [error async for error in damage_in_archive(archive, past, tmp_path)] == []
    found = tmp_path / "found"
    restored = await restore(archive, past, found)
    assert restored.index == view.committed
    assert list(disagreements({"data": data / FILE_NAME, "found": found / FILE_NAME})) == []
