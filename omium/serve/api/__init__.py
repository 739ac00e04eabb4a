"""The HTTP API: a FastAPI application over a client of the coordinator. Knows no Ray.

So far it says only whether it is alive and ready.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from fastapi import FastAPI, Response

from omium.actors.client import Client
from omium.definitions import Workflow
from omium.errors import OmiumError

READY_TIMEOUT_S = 2.0


@dataclass(frozen=True, kw_only=True)
class ApiSettings:
    """What the API is told.

    ``pepper`` is what API keys are hashed with. ``gateway_url`` and ``gateway_key`` lead to the
    runtime's LLM gateway. Definitions that come over HTTP may name code in the folders
    ``import_paths`` and in ``modules``; ``check`` raises for those that cannot run here.
    ``model`` is for agents that name none. ``replica`` tells processes apart.
    """

    pepper: bytes = field(repr=False)
    import_paths: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()
    model: str | None = None
    models: tuple[str, ...] = ()
    check: Callable[[Workflow, str | None], None]
    gateway_url: str = ""
    gateway_key: str = field(default="", repr=False)
    replica: str = ""


def create_app(client: Client, settings: ApiSettings) -> FastAPI:
    """The application, to be served in the event loop that ``client`` lives in."""
    app = FastAPI(title="Omium")
    app.state.settings = settings

    @app.get("/healthz")
    async def healthz() -> dict[str, str]:
        return {"status": "alive"}

    @app.get("/readyz")
    async def readyz(response: Response) -> dict[str, str]:
        try:
            async with asyncio.timeout(READY_TIMEOUT_S):
                await client.runtime()
        except (TimeoutError, OmiumError) as error:
            response.status_code = 503
            return {"status": "not ready", "reason": type(error).__name__}
        return {"status": "ready"}

    return app
