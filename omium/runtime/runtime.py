"""A runtime from start to end: what a driver holds while it runs executions.

Composes what the rooms below offer; decides nothing itself.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import ray
from ray.exceptions import RayActorError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from omium.actors.client import Client
from omium.actors.ray_edge import (
    NAMESPACE,
    seat_nodes,
    start_coordinators,
    taken,
)
from omium.actors.runtime_config import RuntimeConfig
from omium.clock import Clock, SystemClock
from omium.config import Settings
from omium.definitions import Workflow
from omium.errors import OmiumError, StorageUnwritable, Unavailable
from omium.runtime.endpoint import Endpoint, publish, withdraw
from omium.runtime.local_ray import RayCluster
from omium.serve.composition import (
    HOST,
    new_identity,
    router_settings,
    runtime_config,
    supervisor_settings,
)
from omium.serve.ray_edge import GatewayActor

START_TIMEOUT_S = 120.0
WATCH_S = 0.25

PrepareRay = Callable[[Path], None]
Report = Callable[[str], None]
"""Told what is being done, in a few words."""


class Runtime:
    """Ray, coordinators, a gateway and warm workers: an async context manager.

    ``client`` talks to the coordinator. With ``resume_all``, every unfinished execution in the
    data directory goes on; without, only those that are submitted or resumed now.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        warm: Mapping[str, int] | None = None,
        resume_all: bool = False,
        show_worker_output: bool = False,
        dashboard: bool = False,
        prepare_ray: PrepareRay = lambda _: None,
        report: Report = lambda _: None,
        clock: Clock | None = None,
    ) -> None:
        """``dashboard`` starts Ray's too, where Ray is started here; ``prepare_ray`` is called
        with the scratch directory before Ray is there."""
        self._settings = settings
        self._warm = dict(warm or {})
        self._resume_all = resume_all
        self._show_worker_output = show_worker_output
        self._report = report
        self._clock = clock or SystemClock()
        self._prepare_ray = prepare_ray
        self._dashboard = dashboard
        self._config: RuntimeConfig | None = None
        self._cluster: RayCluster | None = None
        self._actors: list[Any] = []
        self._client: Client | None = None
        self._endpoint: Endpoint | None = None

    @property
    def config(self) -> RuntimeConfig:
        """What its processes were told. Raises ``Unavailable`` before the start."""
        if self._config is None:
            raise Unavailable("the runtime is not running")
        return self._config

    @property
    def cluster(self) -> RayCluster:
        """The Ray beneath. Raises ``Unavailable`` before the start and after the end."""
        if self._cluster is None:
            raise Unavailable("the runtime is not running")
        return self._cluster

    @property
    def client(self) -> Client:
        """Raises ``Unavailable`` before the start and after the end."""
        if self._client is None:
            raise Unavailable("the runtime is not running")
        return self._client

    async def __aenter__(self) -> Runtime:
        try:
            await self.start()
        except BaseException:
            await self.stop()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Start everything. Raises what kept a part from starting; then call ``stop``."""
        settings = self._settings
        prepare_data_dir(settings)
        router = router_settings(settings)
        address = settings.ray_address
        self._report(f"joining Ray at {address}" if address else "starting Ray")
        await self._connect(address)
        self._report("starting the coordinator and the gateway")
        config = self._config = self._runtime_config()
        supervisor = supervisor_settings(
            settings,
            gateway_url=config.gateway_url,
            awake_from_ms=0 if self._resume_all else self._clock.now_ms(),
            warm=self._warm,
        )
        shards = [(shard, start_coordinators(shard, supervisor)) for shard in config.shards]
        gateway: Any = GatewayActor
        self._actors = [
            *(actor for _, coordinators in shards for actor in coordinators),
            gateway.options(
                name=f"omium-{config.runtime_id}-gateway",
                namespace=NAMESPACE,
                scheduling_strategy=_this_node(),
            ).remote(config, router),
        ]
        for shard, coordinators in shards:
            await taken(shard, coordinators, self._done)
        await self._done(self._actors[-1].ready.remote())
        self._client = Client(
            config.coordinator,
            config.secret,
            blobs=config.blobs(),
            clock=self._clock,
            further=config.further_coordinators,
        )
        self._client.open()
        (host, port), *others = config.coordinator
        self._endpoint = Endpoint(
            host=host,
            port=port,
            others=tuple(others),
            peers=config.peers,
            further=tuple(tuple(addresses) for addresses in config.further_coordinators),
            further_peers=tuple(shard.peers for shard in config.further),
            secret=config.secret.hex(),
            pid=config.driver_pid,
        )
        publish(settings.data_dir, self._endpoint)

    def _runtime_config(self) -> RuntimeConfig:
        assert self._cluster is not None
        count, joined = self._settings.coordinators, self._cluster.joined
        return runtime_config(
            self._settings,
            new_identity(self._clock.new_id("rt"), count, self._settings.shards),
            host=ray.util.get_node_ip_address() if joined else HOST,
            scratch_dir=self._cluster.scratch_dir,
            seat_hosts=seat_nodes(count) if joined and count > 1 else (),
            ships=self._resume_all,
        )

    async def _connect(self, address: str | None) -> None:
        connecting = asyncio.create_task(
            asyncio.to_thread(
                RayCluster.connect,
                address,
                self._settings.ray,
                show_worker_output=self._show_worker_output,
                dashboard=self._dashboard,
                prepare=self._prepare_ray,
            )
        )
        try:
            self._cluster = await asyncio.shield(connecting)
        except asyncio.CancelledError:
            # A thread cannot be stopped, and what it starts has to be ended.
            self._cluster = await connecting
            raise

    async def _done(self, reference: Any) -> None:
        ready = asyncio.wrap_future(reference.future())
        try:
            async with asyncio.timeout(START_TIMEOUT_S):
                while not ready.done():
                    await asyncio.wait([ready], timeout=WATCH_S)
                    self.check()
                ready.result()
        except RayTaskError as error:
            cause = error.cause
            raise cause if isinstance(cause, OmiumError) else error from None
        except RayActorError as error:
            raise Unavailable(f"an actor of the runtime did not start: {error}") from error
        except TimeoutError as error:
            raise Unavailable(f"Ray started no actor within {START_TIMEOUT_S:g} s") from error

    def check(self) -> None:
        """Raise ``Unavailable`` when the Ray beneath has died."""
        failure = self._cluster.failure() if self._cluster is not None else None
        if failure is not None:
            raise Unavailable(failure)

    async def watch(self) -> None:
        """Return never, or raise ``Unavailable`` once the Ray beneath has died."""
        while True:
            self.check()
            await asyncio.sleep(WATCH_S)

    async def stop(self) -> None:
        """End everything that was started. What was acknowledged is on disk already."""
        if self._endpoint is not None:
            endpoint, self._endpoint = self._endpoint, None
            withdraw(self._settings.data_dir, endpoint)
        alive = self._cluster is not None and self._cluster.failure() is None
        if self._client is not None:
            client, self._client = self._client, None
            if alive:
                await _told_to_stop(client)
            await client.close()
        if alive:
            for actor in self._actors:
                ray.kill(actor)
        self._actors = []
        if self._cluster is not None:
            cluster, self._cluster = self._cluster, None
            await asyncio.to_thread(cluster.close)


def warm_for(workflow: Workflow, spare: int) -> dict[str, int]:
    """How many workers of each framework to have ready for one execution of ``workflow``."""
    frameworks = {agent.framework for agent in workflow.agents}
    return dict.fromkeys(frameworks, spare)


def prepare_data_dir(settings: Settings) -> None:
    """Make the data directory, and find out early that it cannot be written."""
    path = settings.data_dir
    try:
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
        probe = path / f".probe-{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise StorageUnwritable(str(path), error.strerror or str(error)) from error


async def _told_to_stop(client: Client) -> None:
    try:
        await client.stop_runtime()
    except Unavailable:
        # Gone already: there is nobody left to tell, and the actors are killed next.
        return


def _this_node() -> Any:
    """Ray's strategy that keeps an actor on this node: the data directory is here."""
    return NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
