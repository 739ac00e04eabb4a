"""The host of a runtime that nobody drives: a detached actor on the cluster's head node.

For ``serve deploy`` and KubeRay, where there is no ``omium up``. It starts coordinator and
gateway as detached actors and tells the replicas of the ingress where they are. What they know
one another by is kept in the data directory, so a host, a coordinator or a gateway that is
started again, and one of the next cluster on that directory, has the same address and secret.
"""

from __future__ import annotations

import asyncio
import logging
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayActorError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from omium.actors.ray_edge import (
    NAMESPACE,
    seat_nodes,
    start_coordinators,
    taken,
)
from omium.actors.runtime_config import RuntimeConfig
from omium.clock import SystemClock
from omium.config import ServiceSettings, Settings, load_settings
from omium.errors import OmiumError, StorageUnwritable, Unavailable
from omium.serve.api import ApiSettings
from omium.serve.composition import (
    api_settings,
    kept_identity,
    router_settings,
    runtime_config,
    supervisor_settings,
)
from omium.serve.ray_edge import GatewayActor

log = logging.getLogger(__name__)

NAME = "omium-host"
HEAD = {"node:__internal_head__": 0.001}
"""What Ray gives the head node only: the data directory is there, across restarts of the host."""
TRIES = 3


@dataclass(frozen=True, kw_only=True)
class HostArguments:
    """The settings that a deployment was given, as names and plain values, and those about the
    ingress among them."""

    settings: dict[str, Any]
    service: ServiceSettings

    @classmethod
    def of(cls, args: dict[str, Any]) -> HostArguments:
        """Check ``args`` here, before anything is started. Raises ``ConfigError``."""
        return cls(settings=dict(args), service=load_settings(args).service)


class Host:
    """The host's process. ``describe`` is what it is for."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self._settings = load_settings(settings)
        self._started = asyncio.get_running_loop().create_task(self._start())

    async def describe(self) -> tuple[RuntimeConfig, ApiSettings]:
        """Where the runtime is, once it answers. Raises what kept it from starting."""
        return await asyncio.shield(self._started)

    async def _start(self) -> tuple[RuntimeConfig, ApiSettings]:
        settings = self._settings
        try:
            settings.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise StorageUnwritable(str(settings.data_dir), error.strerror or str(error)) from error
        count = settings.coordinators
        runtime_id = SystemClock().new_id("rt")
        identity = kept_identity(settings.data_dir, runtime_id, count, settings.shards)
        scratch = Path(tempfile.gettempdir()) / f"omium-{identity.runtime_id}"
        scratch.mkdir(mode=0o700, exist_ok=True)
        config = runtime_config(
            settings,
            identity,
            host=ray.util.get_node_ip_address(),
            scratch_dir=scratch,
            seat_hosts=seat_nodes(count) if count > 1 else (),
            ships=True,
        )
        await _parts(settings, config)
        return config, api_settings(settings, config)


async def _parts(settings: Settings, config: RuntimeConfig) -> None:
    """Start coordinators and gateway, unless they are there, the gateway beside this process."""
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    supervisor = supervisor_settings(
        settings, gateway_url=config.gateway_url, awake_from_ms=0, warm=settings.warm_pool
    )
    kept: dict[str, Any] = {"lifetime": "detached", "get_if_exists": True}
    shards = [(shard, start_coordinators(shard, supervisor, **kept)) for shard in config.shards]
    gateway: Any = GatewayActor
    part = gateway.options(
        name=f"omium-{config.runtime_id}-gateway",
        namespace=NAMESPACE,
        scheduling_strategy=here,
        **kept,
    ).remote(config, router_settings(settings))
    for shard, coordinators in shards:
        await taken(shard, coordinators, _answer)
    await _answer(part.ready.remote())


async def described(arguments: HostArguments) -> tuple[RuntimeConfig, ApiSettings]:
    """What the cluster's host says, which is started where there is none. Raises what kept the
    runtime from starting, and ``Unavailable``."""
    actor: Any = ray.remote(Host)
    host = actor.options(
        name=NAME,
        namespace=NAMESPACE,
        lifetime="detached",
        get_if_exists=True,
        max_restarts=-1,
        max_task_retries=TRIES,
        num_cpus=0,
        resources=HEAD,
    ).remote(arguments.settings)
    try:
        return await _answer(host.describe.remote())
    except OmiumError:
        # With the next try it is told anew: settings may have been mended meanwhile.
        ray.kill(host)
        raise


async def _answer(reference: Any) -> Any:
    try:
        return await reference
    except RayTaskError as error:
        cause = error.cause
        raise cause if isinstance(cause, OmiumError) else error from None
    except RayActorError as error:
        raise Unavailable(f"an actor of the runtime did not start: {error}") from error
