"""Two shards on a real Ray: each goes on while the coordinator of the other is away."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, cast

import pytest
from ray.util import list_named_actors

from omium.actors.client import Client
from omium.actors.shards.journals import Journals
from omium.actors.shards.opening import recorded_shards
from omium.actors.shards.placement import shard_of
from omium.config import Settings, load_settings
from omium.definitions import workflow_from
from omium.execution.events import StepCompleted
from omium.runtime.runtime import Runtime
from omium.types import ExecutionId

pytestmark = [pytest.mark.ray, pytest.mark.timeout(300)]

ROOT = str(Path(__file__).parents[2])
SHARDS = 2
WAIT_S = 90.0
GATED = workflow_from(
    {
        "name": "gated",
        "version": "1",
        "agents": [
            {"name": "gated", "framework": "python", "entrypoint": "tests.runtime.agents:gated"}
        ],
    }
)


def settings_of(directory: Path, **others: int) -> Settings:
    return load_settings({"data_dir": directory / "data", "shards": SHARDS, **others})


async def submitted(client: Client, shard: int, gates: Path) -> ExecutionId:
    """An execution in that shard, of two steps behind the gates ``0`` and ``1``."""
    while shard_of(drawn := client.new_execution_id(), SHARDS) != shard:
        pass
    inputs = {"steps": 2, "gates": str(gates)}
    return await client.submit(GATED, {**inputs}, import_paths=(ROOT,), execution_id=drawn)


async def stepped(client: Client, execution_id: ExecutionId) -> None:
    """Wait until the first step is done."""
    async with asyncio.timeout(WAIT_S):
        async for entry in client.events(execution_id):
            if isinstance(entry.event, StepCompleted):
                return


@contextmanager
def halted(pid: int) -> Iterator[None]:
    """A process that stands still, and is killed in the end."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGKILL)


async def test_each_goes_on_while_the_other_is_away(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    gates = tmp_path / "gates"
    gates.mkdir()
    async with Runtime(settings) as runtime:
        client = runtime.client
        (gates / "0").touch()
        ids = [await submitted(client, shard, gates) for shard in range(SHARDS)]
        for execution_id in ids:
            await stepped(client, execution_id)
        view = await client.runtime()
        # Whoever takes over asks Ray for them by these names.
        named = {actor["name"] for actor in cast("Any", list_named_actors(all_namespaces=True))}
        assert view.workers
        for worker in view.workers:
            assert any(name.endswith(f"-{worker.worker}") for name in named)
        pids = [shard.pid for shard in view.shards]
        (gates / "1").touch()
        for away, there in ((1, 0), (0, 1)):
            with halted(pids[away]):
                after = await submitted(client, there, gates)
                for execution_id in (ids[there], after):
                    assert await client.result(execution_id, timeout_s=WAIT_S) == {"done": 2}
            # Ray has started it again, and it goes on from its disk.
            assert await client.result(ids[away], timeout_s=WAIT_S) == {"done": 2}
        assert await client.counts() == {"completed": 2 * SHARDS}

    assert recorded_shards(settings.data_dir) == SHARDS
    with closing(Journals.open(settings.data_dir)) as journals:
        assert len(journals.executions()) == 2 * SHARDS
        for execution_id in ids:
            assert journals.of(execution_id).counts() == {"completed": 2}
