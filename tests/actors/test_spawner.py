"""Asking Ray for workers, and about them. Nobody waits for Ray: its head may be cut off."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest

from omium.actors import ray_edge
from omium.actors.ray_edge import RaySpawner
from omium.actors.runtime_config import RuntimeConfig
from omium.storage.objects import S3Options
from omium.types import WorkerId

WAIT_S = 20.0


class CutOff:
    """A Ray that answers nothing until it is ``mended``, and knows no actor."""

    def __init__(self) -> None:
        self.mended = threading.Event()
        self.asked: list[str] = []

    def get_actor(self, name: str, namespace: str) -> object:
        assert self.mended.wait(WAIT_S)
        self.asked.append(f"{namespace} {name}")
        raise ValueError(name)

    def kill(self, actor: object) -> None:
        raise AssertionError(f"{actor} was found")


def config(folder: Path) -> RuntimeConfig:
    return RuntimeConfig(
        runtime_id="rt_1",
        host="127.0.0.1",
        coordinator_port=1,
        gateway_port=2,
        secret=b"s",
        api_key="k",
        data_dir=folder,
        scratch_dir=folder,
        blobs_url="memory://",
        s3=S3Options(),
        capacity=1,
        driver_pid=1,
    )


async def test_those_live_whom_ray_knows_of_this_runtime_and_shard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    named = [
        {"namespace": namespace, "name": name}
        for namespace, name in (
            ("omium", "omium-rt_1-0-w_1"),
            ("omium", "omium-rt_1-0-w_2"),
            ("omium", "omium-rt_1-1-w_3"),
            ("omium", "omium-rt_2-0-w_4"),
            ("other", "omium-rt_1-0-w_5"),
            ("omium", "omium-rt_1-coordinator"),
        )
    ]
    monkeypatch.setattr(ray_edge, "list_named_actors", lambda *, all_namespaces: named)
    told: asyncio.Future[frozenset[WorkerId]] = asyncio.get_running_loop().create_future()
    RaySpawner(config(tmp_path)).living(told.set_result)
    async with asyncio.timeout(WAIT_S):
        assert await told == {"w_1", "w_2"}


async def test_a_ray_that_is_cut_off_keeps_nobody_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    away = CutOff()
    monkeypatch.setattr(ray_edge, "ray", away)
    spawner = RaySpawner(config(tmp_path))
    for name in ("w_1", "w_2"):
        spawner.end(WorkerId(name))
    settled = asyncio.ensure_future(spawner.settled())
    # The event loop goes on, and nothing was done.
    await asyncio.sleep(0)
    assert not settled.done()
    assert away.asked == []
    away.mended.set()
    async with asyncio.timeout(WAIT_S):
        await settled
    assert away.asked == ["omium omium-rt_1-0-w_1", "omium omium-rt_1-0-w_2"]
