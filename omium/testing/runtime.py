"""A whole runtime in one event loop, without Ray: the real coordinator, gateway and workers.

For exactness in tests: nothing is mocked but the processes. Workers can be killed, the
coordinator and the gateway can be stopped and started again on the same data.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from omium.actors.client import Client
from omium.actors.committer import CommitObserver
from omium.actors.coordinator import Coordinator
from omium.actors.courier import WebhookSettings
from omium.actors.host import live
from omium.actors.hosting import HostStarter
from omium.actors.link import Address
from omium.actors.ordering import Order
from omium.actors.outside import StandIns
from omium.actors.shipper import ShippingSettings
from omium.actors.worker import Worker
from omium.actors.workforce import SupervisorSettings
from omium.clock import Clock, SystemClock
from omium.frameworks.plain import PlainAdapter
from omium.frameworks.protocol import Adapter
from omium.llm.providers import Provider
from omium.llm.router import Router, RouterSettings
from omium.serve.flight import Understudy
from omium.serve.gateway import Gateway
from omium.storage.blobs import open_blob_store
from omium.storage.replica import Replica
from omium.types import WorkerId

HOST = "127.0.0.1"
QUICK = SupervisorSettings(
    heartbeat_timeout_s=5.0,
    reconnect_grace_s=0.5,
    start_timeout_s=30.0,
    stop_grace_s=1.0,
    cancel_grace_s=1.0,
)


class InProcessSpawner:
    """Starts workers as tasks of the event loop."""

    def __init__(
        self, make: Callable[[WorkerId, str], Worker], numbers: Iterator[int] | None = None
    ) -> None:
        """``numbers`` are those of the workers; default: from 1."""
        self._make = make
        self._numbers = numbers or itertools.count(1)
        self.workers: dict[WorkerId, Worker] = {}
        self.guests: set[WorkerId] = set()
        """Workers that live and were started by somebody else."""
        self.mute = False
        """Whether nothing can be known of who lives."""
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, framework: str) -> WorkerId:
        worker_id = WorkerId(f"w_{next(self._numbers):03d}")
        worker = self._make(worker_id, framework)
        self.workers[worker_id] = worker
        task = asyncio.create_task(self._host(worker_id, worker))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return worker_id

    def end(self, worker: WorkerId) -> None:
        """Kill a worker: it stops where it is and tells nobody."""
        found = self.workers.pop(worker, None)
        if found is not None:
            found.ended.set()

    def living(self, then: Callable[[frozenset[WorkerId]], None]) -> None:
        """Said truly: a killed worker is not among them."""
        if not self.mute:
            asyncio.get_running_loop().call_soon(then, frozenset({*self.workers, *self.guests}))

    async def settled(self) -> None:
        """Everything is done at once."""

    async def stop(self) -> None:
        for worker in list(self.workers):
            self.end(worker)
        await asyncio.gather(*self._tasks)

    async def _host(self, worker_id: WorkerId, worker: Worker) -> None:
        await worker.start()
        await worker.ended.wait()
        self.workers.pop(worker_id, None)
        await worker.stop()


class InProcessHosts:
    """Starts hosts as tasks of the event loop."""

    def __init__(self) -> None:
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def start(self, host: str, worker: Address, secret: bytes) -> None:
        task = asyncio.create_task(live(host, worker, secret), name=host)
        self._tasks[host] = task
        task.add_done_callback(lambda _: self._tasks.pop(host, None))

    def end(self, host: str) -> None:
        task = self._tasks.get(host)
        # Once: a second time would interrupt its clearing up.
        if task is not None and not task.cancelling():
            task.cancel()

    async def stopped(self) -> None:
        """Wait until all have ended."""
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)


class InProcessRuntime:
    """See the module's docstring. An async context manager; ``client`` talks to it."""

    def __init__(
        self,
        directory: Path,
        *,
        providers: Mapping[str, Provider] | None = None,
        adapters: Mapping[str, Callable[[], Adapter]] | None = None,
        settings: SupervisorSettings = QUICK,
        webhooks: WebhookSettings | None = None,
        shipping: ShippingSettings | None = None,
        observer: CommitObserver | None = None,
        clock: Clock | None = None,
        blobs_url: str = "memory://",
        capacity: int = 8,
        models_directory: Path | None = None,
        router: Callable[[], Router] | None = None,
        stand_ins: StandIns | None = None,
        understudy: Understudy | None = None,
        hosts: HostStarter | None = None,
    ) -> None:
        """``models_directory`` holds the embedded models, of which ``directory`` has none.

        ``router`` makes the gateway's, in place of one that knows ``providers``; ``stand_ins``
        act in place of tools, and the ``understudy`` in place of providers. ``hosts`` starts the
        processes of parts of agents that live apart; default: as tasks of the event loop.
        """
        self._in_process = InProcessHosts()
        self._hosts = hosts or self._in_process
        self._understudy = understudy
        self._router = router or self._plain_router
        self._stand_ins = stand_ins
        self._directory = directory
        self._models_directory = models_directory or directory / "models"
        self._providers = providers or {}
        self._adapters = {"python": PlainAdapter, **(adapters or {})}
        self._settings = settings
        self._webhooks = webhooks
        self._shipping = shipping
        self._observer = observer
        self._clock = clock or SystemClock()
        self._capacity = capacity
        self._secret = secrets.token_bytes(32)
        self._api_key = f"omium-{secrets.token_hex(16)}"
        self.blobs = open_blob_store(blobs_url)
        self._worker_numbers = itertools.count(1)
        self.spawner = InProcessSpawner(
            lambda worker_id, framework: self._worker(worker_id, framework, self.addresses),
            self._worker_numbers,
        )
        self._port = 0
        self._gateway_port = 0
        self.replica: Replica | None = None
        self._coordinator: Coordinator | None = None
        self._gateway: Gateway | None = None
        self._client: Client | None = None

    @property
    def client(self) -> Client:
        assert self._client is not None, "the runtime is not started"
        return self._client

    @property
    def address(self) -> tuple[str, int]:
        """Where the coordinator listens."""
        return HOST, self._port

    @property
    def addresses(self) -> Sequence[Address]:
        """Where a coordinator may listen."""
        return (self.address,)

    @property
    def further(self) -> Sequence[Sequence[Address]]:
        """Where the coordinators of further shards may listen."""
        return ()

    @property
    def secret(self) -> bytes:
        return self._secret

    @property
    def gateway_url(self) -> str:
        assert self._gateway is not None, "the runtime is not started"
        return self._gateway.url

    @property
    def api_key(self) -> str:
        return self._api_key

    async def __aenter__(self) -> Self:
        await self.start_coordinator()
        await self.start_gateway()
        self._client = Client(
            self.addresses,
            self._secret,
            blobs=self.blobs,
            clock=self._clock,
            further=self.further,
        )
        self._client.open()
        # Connected before anything is torn down again: asyncio loses sockets that it has accepted
        # when their server is closed in the same moment.
        while not (await self._client.runtime()).gateway_url:
            pass
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.client.close()
        # First, or it would lease to new workers what those that stop leave behind.
        await self._stop_coordinators()
        await self.spawner.stop()
        await self._in_process.stopped()
        if self._gateway is not None:
            await self.stop_gateway()

    def _make_coordinator(
        self,
        replica: Replica,
        order: Order | None = None,
        *,
        spawner: InProcessSpawner | None = None,
    ) -> Coordinator:
        return Coordinator(
            replica,
            clock=self._clock,
            secret=self._secret,
            spawner=spawner or self.spawner,
            settings=self._settings,
            webhooks=self._webhooks,
            shipping=self._shipping,
            observer=self._observer,
            order=order,
        )

    async def start_coordinator(self) -> None:
        self.replica = Replica.open(self._directory, owner=f"test process {os.getpid()}")
        self._coordinator = self._make_coordinator(self.replica)
        self._port = await self._coordinator.start(HOST, self._port)

    async def stop_coordinator(self) -> None:
        """Stop it as a crash would: its workers and clients find it gone."""
        assert self._coordinator is not None and self.replica is not None
        coordinator, self._coordinator = self._coordinator, None
        await coordinator.stop(end_workers=False)
        self.replica.close()

    async def _stop_coordinators(self) -> None:
        if self._coordinator is not None:
            await self.stop_coordinator()

    def tick(self, late_s: float = 0.0) -> None:
        """Let the coordinator look at the clock now, as if ``late_s`` seconds too late."""
        assert self._coordinator is not None, "the coordinator is not started"
        self._coordinator.tick(late_s)

    async def start_gateway(self) -> None:
        self._gateway = Gateway(
            self._router(),
            coordinator=self.addresses,
            secret=self._secret,
            api_key=self._api_key,
            blobs=self.blobs,
            host=HOST,
            port=self._gateway_port,
            pid=os.getpid(),
            understudy=self._understudy,
            further=self.further,
        )
        await self._gateway.start()
        self._gateway_port = int(self._gateway.url.rpartition(":")[2])

    async def stop_gateway(self) -> None:
        assert self._gateway is not None
        gateway, self._gateway = self._gateway, None
        await gateway.stop()

    def _plain_router(self) -> Router:
        settings = RouterSettings(
            providers=self._providers, local_models={}, models_directory=self._models_directory
        )
        return Router(settings)

    def _worker(self, worker_id: WorkerId, framework: str, addresses: Sequence[Address]) -> Worker:
        return Worker(
            worker_id,
            self._adapters[framework](),
            coordinator=addresses,
            secret=self._secret,
            api_key=self._api_key,
            blobs=self.blobs,
            capacity=self._capacity,
            stand_ins=self._stand_ins,
            code_directory=self._directory / "code" / worker_id,
            hosts=self._hosts,
        )
