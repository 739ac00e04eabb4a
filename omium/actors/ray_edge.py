"""Coordinator and workers as Ray actors: the one module of this room that knows Ray.

Ray places, starts and restarts the processes. What they say to one another goes over the
streams of ``transport``. Configuration crosses as a constructor argument (``runtime_config``).
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

import ray
from ray.util import list_named_actors
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from omium.actors.coordinator import Coordinator
from omium.actors.courier import WebhookSettings
from omium.actors.faults import FaultInjector, parse_faults
from omium.actors.group.opening import open_store, record_formed, seat_folder
from omium.actors.group.seat import GroupSettings, Seat
from omium.actors.host import live
from omium.actors.link import Address
from omium.actors.ordering import Order
from omium.actors.requirements import install
from omium.actors.runtime_config import RuntimeConfig
from omium.actors.shards.opening import claim_shard
from omium.actors.shards.placement import HOME
from omium.actors.worker import Worker
from omium.actors.workforce import SupervisorSettings
from omium.clock import SystemClock
from omium.errors import (
    ConfigError,
    DataDirectoryBusy,
    OmiumError,
    StorageFull,
    StorageUnwritable,
    Unavailable,
)
from omium.frameworks.registry import adapter_of
from omium.storage.replica import FILE_NAME, Replica
from omium.types import WorkerId

log = logging.getLogger(__name__)

T = TypeVar("T")

NAMESPACE = "omium"
OPEN_AGAIN_S = 1.0
SHARE = 0.001
"""Of the one unit that Ray gives every node under the name of its address."""


class RaySpawner:
    """Starts and ends worker actors. They outlive the coordinator that asked for them, so that
    its restart does not cost the attempts under way; an orphan ends itself.

    Ray is asked in a thread, in order: whoever is cut off from Ray's head waits there for as long
    as that lasts, and a leader that waits leads no more.
    """

    def __init__(self, config: RuntimeConfig) -> None:
        self._config = config
        self._clock = SystemClock()
        self._asking = ThreadPoolExecutor(max_workers=1, thread_name_prefix="omium-spawner")

    def start(self, framework: str) -> WorkerId:
        worker_id = WorkerId(self._clock.new_id("w"))
        self._ask(lambda: self._start(worker_id, framework))
        return worker_id

    def end(self, worker: WorkerId) -> None:
        self._ask(lambda: self._end(worker))

    def living(self, then: Callable[[frozenset[WorkerId]], None]) -> None:
        loop = asyncio.get_running_loop()
        self._ask(lambda: self._tell_living(loop, then))

    async def settled(self) -> None:
        await asyncio.wrap_future(self._asking.submit(lambda: None))

    def _ask(self, ask: Callable[[], None]) -> None:
        self._asking.submit(ask).add_done_callback(_log_failure)

    def _start(self, worker_id: WorkerId, framework: str) -> None:
        WorkerActor.options(  # pyright: ignore[reportFunctionMemberAccess]
            name=_worker_name(self._config, worker_id),
            namespace=NAMESPACE,
            lifetime="detached",
            num_cpus=0,
            max_restarts=0,
        ).remote(self._config, worker_id, framework)

    def _tell_living(
        self, loop: asyncio.AbstractEventLoop, then: Callable[[frozenset[WorkerId]], None]
    ) -> None:
        first = _worker_name(self._config, WorkerId(""))
        # Ray knows the name of an actor from before its start on, and forgets it when the process
        # has ended or, which takes some seconds, its node is taken for dead.
        actors: Any = list_named_actors(all_namespaces=True)
        living = frozenset(
            WorkerId(actor["name"].removeprefix(first))
            for actor in actors
            if actor["namespace"] == NAMESPACE and actor["name"].startswith(first)
        )
        loop.call_soon_threadsafe(then, living)

    def _end(self, worker: WorkerId) -> None:
        try:
            ray.kill(ray.get_actor(_worker_name(self._config, worker), namespace=NAMESPACE))
        except ValueError:
            log.info("worker %s is gone already", worker)


def _worker_name(config: RuntimeConfig, worker: WorkerId) -> str:
    return f"omium-{config.runtime_id}-{config.shard}-{worker}"


def _log_failure(asked: Future[None]) -> None:
    # A worker that does not come up is ended, and another one started, by its supervisor; who
    # lives it asks again.
    if not asked.cancelled() and (error := asked.exception()) is not None:
        log.error("Ray did not do what a coordinator asked of it: %s", error)


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
        self._again = ray.get_runtime_context().was_current_actor_reconstructed
        if self._again and not (seat_folder(config.data_dir, seat) / FILE_NAME).exists():
            forming = False
        self._started = asyncio.get_running_loop().create_task(
            self._told(self._take_seat(seat, forming) if seat else self._start())
        )

    async def _told(self, starting: Coroutine[Any, Any, None]) -> None:
        """Start, and tell why it was not possible: of one that is started again nobody asks."""
        try:
            await starting
        except OmiumError as error:
            log.error("this coordinator does not start: %s", error)
            raise

    async def _start(self) -> None:
        config = self._config
        await self._opened(lambda: claim_shard(config.data_dir, config.shard, config.shard_count))
        replica = await self._opened(lambda: Replica.open(config.data_dir, owner=self._owner))
        try:
            await self._coordinator(replica, None).start(*config.coordinator[0])
        except OSError as error:
            replica.close()
            raise ConfigError(
                f"cannot listen on {config.host}:{config.coordinator_port}: {error.strerror}"
            ) from error

    async def _take_seat(self, seat: int, forming: bool) -> None:
        config = self._config
        folder = seat_folder(config.data_dir, seat)
        await self._opened(lambda: claim_shard(folder, config.shard, config.shard_count))
        store = await self._opened(
            lambda: open_store(
                config.data_dir,
                seat,
                group=config.group,
                forming=forming,
                owner=self._owner,
                clock=SystemClock(),
            )
        )
        places = dict(enumerate(config.seats, start=1))
        settings = GroupSettings(
            seat=seat,
            peers={number: (place.host, place.peer_port) for number, place in places.items()},
            coordinators={number: (place.host, place.port) for number, place in places.items()},
            secret=config.secret,
        )
        self._seat = Seat(settings, store, self._coordinator, on_damaged=_start_again)
        try:
            await self._seat.start()
        except OSError as error:
            await self._seat.stop()
            place = places[seat]
            raise ConfigError(
                f"cannot listen on {place.host}:{place.peer_port}: {error.strerror}"
            ) from error

    async def _opened(self, open_disk: Callable[[], T]) -> T:
        """What ``open_disk`` gives. Who is started again waits for a disk that is full or away:
        nobody is told, and Ray starts only those again that have died."""
        while True:
            try:
                return open_disk()
            except (StorageFull, StorageUnwritable, DataDirectoryBusy) as error:
                if not self._again:
                    raise
                log.warning("the disk cannot be used yet: %s", error)
            await asyncio.sleep(OPEN_AGAIN_S)

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


def _start_again() -> None:
    """End this process as a crash would: Ray starts it again."""
    os._exit(1)


def seat_nodes(count: int) -> list[str]:
    """The address of a node for each of ``count`` seats of a new group: this one first, then the
    others in turn."""
    here = ray.get_runtime_context().get_node_id()
    nodes = [(node["NodeID"], node["NodeManagerAddress"]) for node in ray.nodes() if node["Alive"]]
    nodes.sort(key=lambda node: (node[0] != here, node[1], node[0]))
    return [nodes[number % len(nodes)][1] for number in range(count)]


def start_coordinators(
    config: RuntimeConfig, settings: SupervisorSettings, **options: Any
) -> list[Any]:
    """Start the coordinator of a shard, or all of its group, each on the node where its disk is.

    ``options`` are Ray's, for each of the actors. They are bound to the node's address and not to
    its id, which is another one when the node comes back: Ray would give the seat up with the id.
    Raises ``Unavailable`` where the nodes of a majority are away.
    """
    seats_away(config)
    actor: Any = CoordinatorActor
    shard = f"shard-{config.shard}-" if config.shard != HOME else ""
    name = f"omium-{config.runtime_id}-{shard}coordinator"
    started: list[Any] = []
    (here,) = seat_nodes(1)
    hosts = [place.host for place in config.seats] or [config.host]
    for number, host in enumerate(hosts, start=1):
        seat = number if config.seats else 0
        address = here if host == config.host else host
        started.append(
            actor.options(
                name=f"{name}-{seat}" if seat else name,
                namespace=NAMESPACE,
                resources={f"node:{address}": SHARE},
                **options,
            ).remote(config, settings, seat)
        )
    return started


def seats_away(config: RuntimeConfig) -> frozenset[int]:
    """The seats of a shard whose nodes are not there now: they come back with these.

    Raises ``Unavailable`` where no majority is left.
    """
    there = {config.host, *(n["NodeManagerAddress"] for n in ray.nodes() if n["Alive"])}
    away = {
        number: place.host
        for number, place in enumerate(config.seats, start=1)
        if place.host not in there
    }
    if len(away) * 2 > len(config.seats):
        raise Unavailable(
            f"of the {len(config.seats)} nodes with the disks of this group's coordinators, "
            f"{', '.join(sorted(set(away.values())))} are not in the cluster: a majority is needed"
        )
    return frozenset(away)


async def taken(
    shard: RuntimeConfig,
    coordinators: Sequence[Any],
    answer: Callable[[Any], Awaitable[Any]],
) -> None:
    """Wait until the coordinators of a shard are ready, but for those whose nodes are away; and
    where a group is being formed until each has a vote, which is noted. Raises what ``answer``
    makes of what kept one from starting, and as ``seats_away``."""
    away = seats_away(shard)
    for seat, actor in enumerate(coordinators, start=1):
        if seat not in away:
            await answer(actor.ready.remote())
    if shard.forming and not away:
        for actor in coordinators:
            await answer(actor.seated.remote())
        record_formed(shard.data_dir)


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
            name = _worker_name(self._config, self._id)
            ray.kill(ray.get_actor(name, namespace=NAMESPACE))

    async def _work(self) -> None:
        config = self._config
        # Attempts of blocking frameworks hold a thread each, and their tools may want another.
        asyncio.get_running_loop().set_default_executor(
            ThreadPoolExecutor(2 * config.capacity + 4, thread_name_prefix="omium")
        )
        _show_gateway(config)
        worker = Worker(
            self._id,
            adapter_of(self._framework, config.scratch_dir / self._id),
            coordinator=config.coordinator,
            secret=config.secret,
            api_key=config.api_key,
            blobs=config.blobs(),
            capacity=config.capacity,
            code_directory=config.scratch_dir / self._id / "code",
            install=install,
            hosts=RayHosts(config),
        )
        await worker.start()
        await worker.ended.wait()
        await worker.stop()


def _show_gateway(config: RuntimeConfig) -> None:
    """For clients that the user's code constructs itself, in whatever framework."""
    os.environ["OPENAI_BASE_URL"] = f"{config.gateway_url}/v1"
    # The suffix says to the gateway that whoever uses this key must name an attempt.
    os.environ["OPENAI_API_KEY"] = f"{config.api_key}.worker"


class RayHosts:
    """Starts hosts as actors on this node. They are the worker's own, and die with it. Ray is asked
    in a thread, in order, as by ``RaySpawner``."""

    def __init__(self, config: RuntimeConfig) -> None:
        self._config = config
        self._started: dict[str, Any] = {}
        self._asking = ThreadPoolExecutor(max_workers=1, thread_name_prefix="omium-hosts")

    def start(self, host: str, worker: Address, secret: bytes) -> None:
        self._ask(lambda: self._start(host, worker, secret))

    def end(self, host: str) -> None:
        self._ask(lambda: self._end(host))

    def _ask(self, ask: Callable[[], None]) -> None:
        self._asking.submit(ask).add_done_callback(_log_failure)

    def _start(self, host: str, worker: Address, secret: bytes) -> None:
        node = ray.get_runtime_context().get_node_id()
        self._started[host] = HostActor.options(  # pyright: ignore[reportFunctionMemberAccess]
            name=host,
            namespace=NAMESPACE,
            scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False),
        ).remote(self._config, host, worker, secret)

    def _end(self, host: str) -> None:
        actor = self._started.pop(host, None)
        if actor is not None:
            ray.kill(actor)


@ray.remote(num_cpus=0, max_restarts=0)
class HostActor:
    """A host's process: it lives as long as its worker listens to it, and ends by itself."""

    def __init__(self, config: RuntimeConfig, host: str, worker: Address, secret: bytes) -> None:
        _show_gateway(config)
        self._host = host
        self._living = asyncio.get_running_loop().create_task(self._live(worker, secret))

    async def _live(self, worker: Address, secret: bytes) -> None:
        try:
            await live(self._host, worker, secret)
        except OSError as error:
            log.warning("host %s has no worker: %s", self._host, error)
        finally:
            ray.kill(ray.get_actor(self._host, namespace=NAMESPACE))
