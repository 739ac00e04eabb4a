"""What the routes share: the application's parts, and the caller of a request."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import httpx
from starlette.requests import HTTPConnection

from omium.actors.client import Client
from omium.clock import Clock, SystemClock
from omium.errors import Unavailable
from omium.serve.api.auth import Keys, Principal, Scope, allow
from omium.serve.api.bundles import Bundles
from omium.serve.api.catalogue import Catalogue
from omium.serve.api.figures import Figures
from omium.serve.api.settings import ApiSettings
from omium.serve.api.slots import Slots
from omium.serve.api.subscriptions import Subscriptions
from omium.types import TenantId

CALLER = "omium.caller"
"""Where a request's scope holds its caller."""

PROXY_TIMEOUT_S = 600.0

PACKING_MAX = 2
"""So many bundles of code are packed, looked at and compared at once."""

UPLOADING_MAX = 4
"""So many are received at once: each is in memory."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Caller:
    """Who calls, and a client that sees no more than that tenant's."""

    principal: Principal
    client: Client

    @property
    def tenant(self) -> TenantId:
        return self.principal.tenant

    @property
    def name(self) -> str:
        """What the journal calls one who asks over HTTP."""
        return f"key {self.principal.key_id}"


class Api:
    """The parts of one application. ``close`` it in the event loop that used it."""

    def __init__(
        self, client: Client, settings: ApiSettings, *, clock: Clock | None = None
    ) -> None:
        self.client = client
        self.settings = settings
        self.clock = clock or SystemClock()
        self.keys = Keys(
            client,
            settings.pepper,
            clock=self.clock,
            keys_max=settings.keys_max,
            cache_s=settings.key_cache_s,
        )
        self.catalogue = Catalogue(settings)
        self.subscriptions = Subscriptions(
            settings.webhook_hosts, clock=self.clock, webhooks_max=settings.webhooks_max
        )
        self.slots = Slots(settings.streams_per_key_max, settings.streams_per_tenant_max)
        self.figures = Figures(settings.replica, self.slots)
        self.bundles = Bundles(settings)
        self.packing = asyncio.Semaphore(PACKING_MAX)
        self.uploading = asyncio.Semaphore(UPLOADING_MAX)
        self._http: httpx.AsyncClient | None = None

    async def caller(self, authorization: str, scope: Scope) -> Caller:
        """Who sends that header, if they may do what needs ``scope``."""
        principal = await self.keys.verify(authorization)
        allow(principal, scope)
        return Caller(principal=principal, client=self.client.for_tenant(principal.tenant))

    @property
    def http(self) -> httpx.AsyncClient:
        """The client that asks the gateway."""
        if self._http is None:
            self._http = httpx.AsyncClient(
                timeout=httpx.Timeout(PROXY_TIMEOUT_S, connect=5.0), trust_env=False
            )
        return self._http

    async def close(self) -> None:
        if self._http is not None:
            await self._http.aclose()


def api_of(connection: HTTPConnection) -> Api:
    """The application's parts. Raises ``Unavailable`` before the application has started."""
    api = getattr(connection.app.state, "api", None)
    if api is None:
        raise Unavailable("the service is starting")
    return api


def caller_of(connection: HTTPConnection) -> Caller:
    """Who calls a route that needs a key."""
    return connection.scope[CALLER]
