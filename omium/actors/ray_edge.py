"""Coordinator and workers as Ray actors: the one module of this room that knows Ray.

Ray places, starts and restarts the processes. What they say to one another goes over the
streams of ``transport``. Configuration crosses as constructor arguments, since an actor on
another node has another environment.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from omium.actors.coordinator import Coordinator
from omium.actors.courier import WebhookSettings
from omium.actors.faults import FaultInjector, parse_faults
from omium.actors.group.opening import open_store, seat_folder
from omium.actors.group.seat import GroupSettings, Seat
from omium.actors.link import Address
from omium.actors.ordering import Order
from omium.actors.shipper import ShippingSettings
from omium.actors.worker import Worker
from omium.actors.workforce import SupervisorSettings
from omium.clock import SystemClock
from omium.errors import ConfigError, OmiumError
from omium.frameworks.registry import adapter_of
from omium.storage.archive import Archive
from omium.storage.blobs import BlobStore, S3Options, open_blob_store, open_object_store
from omium.storage.replica import FILE_NAME, Replica
from omium.types import WorkerId

log = logging.getLogger(__name__)

NAMESPACE = "omium"


@dataclass(frozen=True, kw_only=True)
class SeatPlace:
    """Where a seat of a group of coordinators is: its node, and its ports for clients and peers."""

    host: str
    port: int
    peer_port: int


@dataclass(frozen=True, kw_only=True)
class RuntimeConfig:
    """What every process of one runtime is told.

    ``runtime_id`` is unique to this start of the runtime. ``secret`` proves membership to the
    coordinator, ``api_key`` to the gateway. ``scratch_dir`` is for files that may vanish.
    ``webhook_hosts`` may be told of events beside the public internet's. What is committed is
    shipped to ``archive_url``, if that is anywhere. ``seats`` are the places
    of the coordinators of ``group``, empty where one is alone; ``forming`` until all were taken.
    """

    runtime_id: str
    host: str
    coordinator_port: int
    gateway_port: int
    secret: bytes
    api_key: str
    data_dir: Path
    scratch_dir: Path
    blobs_url: str
    s3: S3Options
    capacity: int
    driver_pid: int
    faults: str | None = None
    webhook_hosts: tuple[str, ...] = ()
    archive_url: str = ""
    group: str = ""
    forming: bool = False
    seats: tuple[SeatPlace, ...] = ()

    @property
    def coordinator(self) -> Sequence[Address]:
        """Where the coordinator may listen: of several the one that leads does."""
        if self.seats:
            return tuple((place.host, place.port) for place in self.seats)
        return ((self.host, self.coordinator_port),)

    @property
    def gateway_url(self) -> str:
        return f"http://{self.host}:{self.gateway_port}"

    def blobs(self) -> BlobStore:
        return open_blob_store(self.blobs_url, s3=self.s3)

    def shipping(self) -> ShippingSettings | None:
        """Where what is committed is shipped to, if anywhere."""
        if not self.archive_url:
            return None
        archive = Archive(open_object_store(self.archive_url, s3=self.s3))
        return ShippingSettings(archive=archive, url=self.archive_url)

    def __repr__(self) -> str:
        return f"RuntimeConfig({self.runtime_id})"


class RaySpawner:
    """Starts and ends worker actors. They outlive the coordinator that asked for them, so that
    its restart does not cost the attempts under way; an orphan ends itself."""

    def __init__(self, config: RuntimeConfig) -> None:
        self._config = config
        self._clock = SystemClock()

    def start(self, framework: str) -> WorkerId:
        worker_id = WorkerId(self._clock.new_id("w"))
        WorkerActor.options(  # pyright: ignore[reportFunctionMemberAccess]
            name=worker_id, namespace=NAMESPACE, lifetime="detached", num_cpus=0, max_restarts=0
        ).remote(self._config, worker_id, framework)
        return worker_id

    def end(self, worker: WorkerId) -> None:
        try:
            ray.kill(ray.get_actor(worker, namespace=NAMESPACE))
        except ValueError:
            log.info("worker %s is gone already", worker)


@ray.remote(num_cpus=0, max_restarts=-1)
class CoordinatorActor:
    """A coordinator's process. Ray starts it again when it dies; it goes on from its disk."""

    def __init__(
        self,
        config: RuntimeConfig,
        settings: SupervisorSettings,
        seat: int = 0,
    ) -> None:
        """``seat`` is its seat in the group; 0 where it is alone."""
        self._config = config
        self._settings = settings
        self._seat: Seat | None = None
        # One that is started again and finds no disk has lost it.
        forming = config.forming
        again = ray.get_runtime_context().was_current_actor_reconstructed
        if again and not (seat_folder(config.data_dir, seat) / FILE_NAME).exists():
            forming = False
        self._started = asyncio.get_running_loop().create_task(
            self._take_seat(seat, forming) if seat else self._start()
        )

    async def _start(self) -> None:
        config = self._config
        replica = Replica.open(config.data_dir, owner=self._owner)
        try:
            await self._coordinator(replica, None).start(*config.coordinator[0])
        except OSError as error:
            replica.close()
            raise ConfigError(
                f"cannot listen on {config.host}:{config.coordinator_port}: {error.strerror}"
            ) from error

    async def _take_seat(self, seat: int, forming: bool) -> None:
        config = self._config
        store = open_store(
            config.data_dir,
            seat,
            group=config.group,
            forming=forming,
            owner=self._owner,
            clock=SystemClock(),
        )
        places = dict(enumerate(config.seats, start=1))
        settings = GroupSettings(
            seat=seat,
            peers={number: (place.host, place.peer_port) for number, place in places.items()},
            coordinators={number: (place.host, place.port) for number, place in places.items()},
            secret=config.secret,
        )
        self._seat = Seat(settings, store, self._coordinator)
        try:
            await self._seat.start()
        except OSError as error:
            await self._seat.stop()
            place = places[seat]
            raise ConfigError(
                f"cannot listen on {place.host}:{place.peer_port}: {error.strerror}"
            ) from error

    @property
    def _owner(self) -> str:
        return f"omium (process {self._config.driver_pid})"

    def _coordinator(self, replica: Replica, order: Order | None) -> Coordinator:
        config = self._config
        injector: FaultInjector | None = None
        if config.faults is not None:
            injector = FaultInjector(
                parse_faults(config.faults),
                view=lambda: coordinator.view(),  # noqa: PLW0108 (made below)
                driver_pid=config.driver_pid,
            )
        coordinator = Coordinator(
            replica,
            clock=SystemClock(),
            secret=config.secret,
            spawner=RaySpawner(config),
            settings=self._settings,
            webhooks=WebhookSettings(hosts=config.webhook_hosts),
            observer=injector,
            order=order,
            shipping=config.shipping(),
        )
        return coordinator

    async def ready(self) -> int:
        """The process id, once it listens. Raises what kept it from starting."""
        await self._started
        return os.getpid()

    async def seated(self) -> None:
        """Wait until this seat has a vote in its group. Raises what keeps it from that."""
        await self._started
        if self._seat is not None:
            await self._seat.seated()


def seat_nodes(count: int) -> list[tuple[str, str]]:
    """The id and address of the node of each of ``count`` seats: this one first, then the others
    in turn. Always the same ones in the same cluster, for that is where the seats' disks are."""
    here = ray.get_runtime_context().get_node_id()
    nodes = [(node["NodeID"], node["NodeManagerAddress"]) for node in ray.nodes() if node["Alive"]]
    nodes.sort(key=lambda node: (node[0] != here, node[1], node[0]))
    return [nodes[number % len(nodes)] for number in range(count)]


def start_coordinators(
    config: RuntimeConfig, settings: SupervisorSettings, **options: Any
) -> list[Any]:
    """Start the coordinator, or all of a group, each on the node where its disk is.

    ``options`` are Ray's, for each of the actors.
    """
    actor: Any = CoordinatorActor
    name = f"omium-{config.runtime_id}-coordinator"
    started: list[Any] = []
    for number, (node, _) in enumerate(seat_nodes(max(len(config.seats), 1)), start=1):
        seat = number if config.seats else 0
        started.append(
            actor.options(
                name=f"{name}-{seat}" if seat else name,
                namespace=NAMESPACE,
                scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False),
                **options,
            ).remote(config, settings, seat)
        )
    return started


@ray.remote(num_cpus=0, max_restarts=0)
class WorkerActor:
    """A worker's process: hosts the attempts of one agent until it is told to end.

    It begins by itself and ends by itself, since nobody needs to outlive it to tell it so.
    """

    def __init__(self, config: RuntimeConfig, worker_id: WorkerId, framework: str) -> None:
        self._config = config
        self._id = worker_id
        self._framework = framework
        self._living = asyncio.get_running_loop().create_task(self._live())

    async def _live(self) -> None:
        try:
            await self._work()
        except OmiumError:
            log.exception("worker %s cannot work", self._id)
        finally:
            ray.kill(ray.get_actor(self._id, namespace=NAMESPACE))

    async def _work(self) -> None:
        config = self._config
        # Attempts of blocking frameworks hold a thread each, and their tools may want another.
        asyncio.get_running_loop().set_default_executor(
            ThreadPoolExecutor(2 * config.capacity + 4, thread_name_prefix="omium")
        )
        # For clients that the user's code constructs itself, in whatever framework. The
        # suffix says to the gateway that whoever uses this key must name an attempt.
        os.environ["OPENAI_BASE_URL"] = f"{config.gateway_url}/v1"
        os.environ["OPENAI_API_KEY"] = f"{config.api_key}.worker"
        worker = Worker(
            self._id,
            adapter_of(self._framework, config.scratch_dir / self._id),
            coordinator=config.coordinator,
            secret=config.secret,
            api_key=config.api_key,
            blobs=config.blobs(),
            capacity=config.capacity,
            code_directory=config.scratch_dir / self._id / "code",
        )
        await worker.start()
        await worker.ended.wait()
        await worker.stop()
