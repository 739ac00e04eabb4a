"""A service: a runtime that stays, with the HTTP API on Ray Serve in front of it.

Owns the order of starting and ending. Ready means that the API has answered; only then does
``service.json`` say where. Ending begins with the API, so that nothing new comes in, and lets
running steps finish for a while; what is left goes on with the next start.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType

import httpx
from ray.exceptions import RayError

from omium.actors.client import Client
from omium.clock import Clock, SystemClock
from omium.config import Settings
from omium.errors import ConfigError, DataDirectoryBusy, Unavailable
from omium.frameworks.registry import require
from omium.ports import free_ports
from omium.runtime.endpoint import is_owned, live_endpoint
from omium.runtime.runtime import Report, Runtime
from omium.runtime.service_file import ServiceRecord, live_service, publish, withdraw
from omium.serve.composition import api_settings
from omium.serve.edge import edge_environment

ANSWER_TIMEOUT_S = 60.0
PROBE_S = 0.1
LEFTOVERS_S = 20.0
SERVE_STOP_MARGIN_S = 15.0
EVERYWHERE = ("0.0.0.0", "::")

Welcome = Callable[[Client, Settings, str], Awaitable[None]]
"""Called with the client, the settings and the address once the runtime is up and before the
API is: for what must be there before the first request, such as the first key."""


async def no_welcome(_: Client, __: Settings, ___: str) -> None:
    """Nothing needs to be there before the first request."""


class Service:
    """An async context manager. ``record`` says where it answers."""

    def __init__(
        self,
        settings: Settings,
        *,
        dashboard: bool = False,
        welcome: Welcome = no_welcome,
        report: Report = lambda _: None,
        clock: Clock | None = None,
    ) -> None:
        self._settings = settings
        self._welcome = welcome
        self._report = report
        self._clock = clock or SystemClock()
        self._runtime = Runtime(
            settings,
            warm=settings.warm_pool,
            resume_all=True,
            dashboard=dashboard,
            prepare_ray=_prepare_serve,
            report=report,
            clock=clock,
        )
        self._serving = False
        self._record: ServiceRecord | None = None

    @property
    def record(self) -> ServiceRecord:
        """Raises ``Unavailable`` while it is not ready."""
        if self._record is None:
            raise Unavailable("the service is not running")
        return self._record

    async def __aenter__(self) -> Service:
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
        """Start everything and wait until it answers. Raises ``DataDirectoryBusy``,
        ``ConfigError``, and what kept a part from starting; then call ``stop``."""
        settings, wanted = self._settings, self._settings.service
        refuse_second(settings.data_dir)
        await _until_free(settings.data_dir)
        for framework in wanted.warm:
            require(framework)
        port = wanted.port or free_ports(1, wanted.host)[0]
        if settings.ray_address is None:
            _check_free(wanted.host, port)
        await self._runtime.start()
        address = f"http://{_reachable(wanted.host)}:{port}"
        await self._welcome(self._runtime.client, settings, address)
        self._report("starting the HTTP API")
        self._serving = True
        await self._in_thread(lambda: self._serve(port))
        await self._answers(address)
        cluster = self._runtime.cluster
        self._record = ServiceRecord(
            address=address,
            pid=os.getpid(),
            dashboard=cluster.dashboard,
            started_ms=self._clock.now_ms(),
            ray_token=cluster.token if cluster.dashboard else None,
        )
        publish(settings.data_dir, self._record)

    async def watch(self) -> None:
        """Return never, or raise ``Unavailable`` once the Ray beneath has died."""
        await self._runtime.watch()

    async def stop(self) -> None:
        """End everything, the API first. What has not finished goes on with the next start."""
        if self._record is not None:
            record, self._record = self._record, None
            withdraw(self._settings.data_dir, record)
        if self._serving and self._is_alive():
            await asyncio.gather(self._stop_serving(), self._drain())
        self._serving = False
        self._report("stopping the runtime")
        await self._runtime.stop()

    def _is_alive(self) -> bool:
        try:
            self._runtime.check()
        except Unavailable:
            return False
        return True

    # ------------------------------------------------------------------ Serve

    def _serve(self, port: int) -> None:
        # Behind the environment that Serve reads while it is imported.
        from ray import serve

        from omium.serve.app import APPLICATION, IngressConfig, application

        # Its news about itself is not for whoever reads the service's.
        logging.getLogger("ray.serve").setLevel(logging.WARNING)
        settings, config = self._settings, self._runtime.config
        wanted = settings.service
        told = IngressConfig(runtime=config, api=api_settings(settings, config))
        if self._runtime.cluster.joined:
            _refuse_foreign_serve()
        try:
            serve.start(
                proxy_location="HeadOnly",
                http_options={"host": wanted.host, "port": port},
                logging_config={"enable_access_log": False},
            )
            serve.run(
                application(told, replicas=wanted.replicas, grace_s=wanted.grace_s),
                name=APPLICATION,
                route_prefix="/",
            )
        except (RayError, RuntimeError, TimeoutError) as error:
            cause = getattr(error, "cause", None) or error
            raise Unavailable(f"Ray Serve did not start the HTTP API: {cause}") from error

    async def _answers(self, address: str) -> None:
        """Wait until the API is ready to work. Raises ``Unavailable``."""
        said = "nothing"
        async with httpx.AsyncClient(base_url=address, trust_env=False) as http:
            try:
                async with asyncio.timeout(ANSWER_TIMEOUT_S):
                    while True:
                        self._runtime.check()
                        try:
                            answer = await http.get("/readyz", timeout=5.0)
                        except httpx.HTTPError as error:
                            said = str(error) or type(error).__name__
                        else:
                            if answer.status_code == 200:
                                return
                            said = f"{answer.status_code} {answer.text[:200]}"
                        await asyncio.sleep(PROBE_S)
            except TimeoutError as error:
                raise Unavailable(
                    f"the HTTP API at {address} was not ready within {ANSWER_TIMEOUT_S:g} s; "
                    f"it said: {said}"
                ) from error

    async def _stop_serving(self) -> None:
        from ray import serve

        limit_s = self._settings.service.grace_s + SERVE_STOP_MARGIN_S
        try:
            async with asyncio.timeout(limit_s):
                await asyncio.to_thread(serve.shutdown)
        except (TimeoutError, RayError, RuntimeError) as error:
            # Its processes end with the Ray that was started here, or are ended below.
            self._report(f"Ray Serve did not end in good order: {error or type(error).__name__}")

    async def _drain(self) -> None:
        try:
            client = self._runtime.client
            # Of several shards one may be without a leader: the others' steps are to finish.
            with suppress(Unavailable):
                if await client.begin_drain():
                    # Said once it is true: the coordinators let nothing begin any more.
                    self._report("letting running steps finish")
            await client.drain(self._settings.service.grace_s)
        except Unavailable:
            # It never came up, or its coordinator is gone: nothing runs.
            return

    async def _in_thread(self, work: Callable[[], None]) -> None:
        """A thread cannot be stopped, and what it starts has to be ended: wait for it."""
        working = asyncio.create_task(asyncio.to_thread(work))
        try:
            await asyncio.shield(working)
        except asyncio.CancelledError:
            await asyncio.wait([working])
            raise


def refuse_second(data_dir: Path) -> None:
    """Raise ``DataDirectoryBusy`` where a service or a run is there already."""
    record = live_service(data_dir)
    if record is not None:
        raise DataDirectoryBusy(
            str(data_dir), f"the service at {record.address} (process {record.pid})"
        )
    endpoint = live_endpoint(data_dir)
    if endpoint is not None:
        raise DataDirectoryBusy(str(data_dir), f"omium (process {endpoint.pid})")


async def _until_free(data_dir: Path) -> None:
    """Wait for what a killed service left behind to end. Raises ``DataDirectoryBusy``."""
    try:
        async with asyncio.timeout(LEFTOVERS_S):
            while is_owned(data_dir):
                refuse_second(data_dir)
                await asyncio.sleep(PROBE_S)
    except TimeoutError as error:
        raise DataDirectoryBusy(str(data_dir), "an omium that starts or ends") from error


def _prepare_serve(scratch: Path) -> None:
    """For the Ray that is started here; one that is joined has an environment of its own."""
    directory = scratch / "e"
    directory.mkdir(mode=0o700)
    os.environ.update(edge_environment(directory))


def _refuse_foreign_serve() -> None:
    """Two services cannot share a cluster's Serve: it has one address."""
    from ray import serve

    try:
        applications = serve.status().applications
    except RayError as error:
        raise Unavailable(f"cannot ask the cluster's Ray Serve: {error}") from error
    if applications:
        names = ", ".join(map(repr, sorted(applications)))
        raise ConfigError(
            f"the cluster's Ray Serve runs {names} already: deploy with `serve deploy` there "
            "(docs/operations.md), or give Omium a cluster of its own"
        )


def _check_free(host: str, port: int) -> None:
    """Find out at once that the port is taken: Serve would find out last."""
    try:
        with socket.create_server((host, port)):
            pass
    except OSError as error:
        raise ConfigError(
            f"cannot listen on {host}:{port}: {error.strerror or error}; choose another with "
            "--port (0 is any free one)"
        ) from error


def _reachable(host: str) -> str:
    """By what name this machine reaches what listens on ``host``."""
    if host in EVERYWHERE:
        return "127.0.0.1"
    return f"[{host}]" if ":" in host else host
