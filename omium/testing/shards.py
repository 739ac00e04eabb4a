"""A runtime in one event loop with several shards, each a coordinator with workers of its own.

Every shard can be stopped, and started again on its data, while the others go on.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omium.actors.coordinator import Coordinator
from omium.actors.link import Address
from omium.actors.shards.opening import claim_shard, shard_folder
from omium.actors.shards.placement import HOME, shard_of
from omium.storage.replica import Replica
from omium.testing.runtime import HOST, InProcessRuntime, InProcessSpawner
from omium.types import ExecutionId


@dataclass(kw_only=True)
class _Shard:
    """A shard beside the first; ``running`` is None while it is stopped."""

    directory: Path
    spawner: InProcessSpawner
    port: int = 0
    running: tuple[Replica, Coordinator] | None = None


class InProcessShards(InProcessRuntime):
    """See the module's docstring. Used as ``InProcessRuntime`` is, which is its first shard."""

    def __init__(self, directory: Path, *, shards: int = 2, **options: Any) -> None:
        super().__init__(directory, **options)
        self.shards = shards
        self._further = {
            number: _Shard(
                directory=shard_folder(directory, number), spawner=self._spawner_of(number)
            )
            for number in range(1, shards)
        }

    def _spawner_of(self, number: int) -> InProcessSpawner:
        return InProcessSpawner(
            lambda worker_id, framework: self._worker(
                worker_id, framework, self.further[number - 1]
            ),
            self._worker_numbers,
        )

    @property
    def further(self) -> Sequence[Sequence[Address]]:
        return tuple(((HOST, shard.port),) for shard in self._further.values())

    def shard_of(self, execution_id: ExecutionId) -> int:
        """The number of the shard that has an execution."""
        return shard_of(execution_id, self.shards)

    def new_id_in(self, shard: int) -> ExecutionId:
        """A new id whose execution is in that shard."""
        while self.shard_of(drawn := ExecutionId(self._clock.new_id("ex"))) != shard:
            pass
        return drawn

    def replica_of(self, shard: int) -> Replica:
        """What a shard that is running has applied."""
        if shard == HOME:
            assert self.replica is not None, "the shard is stopped"
            return self.replica
        running = self._further[shard].running
        assert running is not None, "the shard is stopped"
        return running[0]

    async def start_coordinator(self) -> None:
        for number in range(self.shards):
            await self.start_shard(number)

    async def start_shard(self, number: int) -> None:
        """Start a shard on its data, at the address that it had."""
        if number == HOME:
            claim_shard(self._directory, number, self.shards)
            await super().start_coordinator()
            return
        shard = self._further[number]
        claim_shard(shard.directory, number, self.shards)
        replica = Replica.open(shard.directory, owner=f"test process {os.getpid()}")
        coordinator = self._make_coordinator(replica, spawner=shard.spawner)
        shard.port = await coordinator.start(HOST, shard.port)
        shard.running = replica, coordinator

    async def stop_shard(self, number: int) -> None:
        """Stop a shard as a crash would: its workers and clients find it gone."""
        if number == HOME:
            await self.stop_coordinator()
            return
        shard = self._further[number]
        running, shard.running = shard.running, None
        if running is not None:
            replica, coordinator = running
            await coordinator.stop(end_workers=False)
            replica.close()

    async def _stop_coordinators(self) -> None:
        await super()._stop_coordinators()
        for number, shard in self._further.items():
            await self.stop_shard(number)
            await shard.spawner.stop()
