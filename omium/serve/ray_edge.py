"""The gateway as a Ray actor: the one module of this room that knows Ray."""

from __future__ import annotations

import asyncio
import os

import ray

from omium.actors.runtime_config import RuntimeConfig
from omium.llm.router import Router, RouterSettings
from omium.serve.gateway import Gateway


@ray.remote(num_cpus=0, max_restarts=-1)
class GatewayActor:
    """The gateway's process. Ray starts it again when it dies, at the same address."""

    def __init__(self, config: RuntimeConfig, settings: RouterSettings) -> None:
        self._started = asyncio.get_running_loop().create_task(self._start(config, settings))

    async def _start(self, config: RuntimeConfig, settings: RouterSettings) -> Gateway:
        gateway = Gateway(
            Router(settings),
            coordinator=config.coordinator,
            further=config.further_coordinators,
            secret=config.secret,
            api_key=config.api_key,
            blobs=config.blobs(),
            host=config.host,
            port=config.gateway_port,
            pid=os.getpid(),
        )
        await gateway.start()
        return gateway

    async def ready(self) -> str:
        """The gateway's URL, once it listens. Raises what kept it from starting."""
        return (await self._started).url
