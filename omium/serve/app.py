"""The HTTP API as a Ray Serve application: the edge of this room to Ray Serve.

Owns the deployment around ``omium.serve.api``: how many replicas, how they end, and when one is
of no more use. A replica holds one link to the coordinator and no state that matters.

``build`` is the import path for ``serve deploy`` and KubeRay's ``serveConfigV2``. There nobody
has started a runtime: the replicas ask the host of ``omium.serve.host`` for one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from ray import serve

from omium.actors.client import Client
from omium.actors.runtime_config import RuntimeConfig
from omium.clock import SystemClock
from omium.serve.api import ApiSettings, create_app
from omium.serve.host import HostArguments, described

APPLICATION = "omium"
REQUESTS_MAX = 4_096
"""Requests and streams under way in one replica. The proxy takes as many connections."""
HEALTH_CHECK_S = 2.0


@dataclass(frozen=True, kw_only=True)
class IngressConfig:
    """What a replica of the ingress is told."""

    runtime: RuntimeConfig
    api: ApiSettings

    def __repr__(self) -> str:
        return f"IngressConfig({self.runtime!r})"


class Ingress:
    """One replica: the FastAPI application in an event loop that its client lives in, too."""

    async def __init__(self, told: IngressConfig | HostArguments) -> None:
        if isinstance(told, HostArguments):
            runtime, api = await described(told)
            told = IngressConfig(runtime=runtime, api=api)
        self._api = replace(told.api, replica=serve.get_replica_context().replica_id.unique_id)
        self._client = Client(
            told.runtime.coordinator,
            told.runtime.secret,
            blobs=told.runtime.blobs(),
            clock=SystemClock(),
            further=told.runtime.further_coordinators,
        )
        self._client.open()

    def __serve_build_asgi_app__(self) -> Any:
        """Called by Serve once this is made: the application cannot be made before the client."""
        return create_app(self._client, self._api)

    def check_health(self) -> None:
        """Raises once the coordinator has turned this replica away: one that is told anew is
        needed. A coordinator that is merely away comes back, which ``/readyz`` is about."""
        if self._client.refused is not None:
            raise self._client.refused


def application(
    told: IngressConfig | HostArguments, *, replicas: int, grace_s: float
) -> serve.Application:
    """The application. Requests under way have ``grace_s`` seconds when a replica is to end."""
    deployment: Any = serve.deployment(
        name="Ingress",
        num_replicas=replicas,
        max_ongoing_requests=REQUESTS_MAX,
        graceful_shutdown_timeout_s=grace_s,
        graceful_shutdown_wait_loop_s=0.2,
        health_check_period_s=HEALTH_CHECK_S,
        ray_actor_options={"num_cpus": 0},
        logging_config={"enable_access_log": False},
    )
    return deployment(serve.ingress()(Ingress)).bind(told)


def build(args: dict[str, Any]) -> serve.Application:
    """The application for ``serve deploy``.

    ``args`` are settings, as in ``omium.toml``; ``data_dir`` and all else is on the head node.
    Raises ``ConfigError``.
    """
    host = HostArguments.of(args)
    return application(host, replicas=host.service.replicas, grace_s=host.service.grace_s)
