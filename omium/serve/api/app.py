"""The application: its routes, its parts, and how they start and end."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException

from omium.actors.client import Client
from omium.serve.api import (
    checkpoints,
    control,
    executions,
    journal,
    keys,
    models,
    operations,
    streams,
    webhooks,
    workflows,
)
from omium.serve.api.context import Api
from omium.serve.api.openapi import describe
from omium.serve.api.problems import problem_of
from omium.serve.api.settings import ApiSettings

ROUTERS = (
    workflows.router,
    executions.router,
    control.router,
    checkpoints.router,
    journal.router,
    streams.router,
    keys.router,
    webhooks.router,
    models.router,
    operations.router,
)


def create_app(
    client: Client | Callable[[], Client],
    settings: ApiSettings,
    *,
    routers: Sequence[APIRouter] = (),
    version: str = "1",
) -> FastAPI:
    """The HTTP API over a client of a coordinator.

    A client that is given stays the giver's, who opens and closes it in the event loop in
    which the application runs. A function is called there when the application starts, and
    what it makes is opened and closed by the application. ``routers`` come beside those of this
    room; their routes are of class ``ApiRoute``.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        made = None if isinstance(client, Client) else client()
        if made is not None:
            made.open()
            app.state.api = Api(made, settings)
        try:
            yield
        finally:
            await app.state.api.close()
            if made is not None:
                await made.close()

    app = FastAPI(title="Omium", version=version, lifespan=lifespan, redoc_url=None)
    if isinstance(client, Client):
        app.state.api = Api(client, settings)
    for router in (*ROUTERS, *routers):
        app.include_router(router)
    app.add_exception_handler(HTTPException, _told)
    app.openapi = lambda: describe(app)
    return app


async def _told(request: Request, error: Exception) -> Response:
    """What the framework refuses before any route is reached: paths and methods."""
    problem = problem_of(error)
    if problem.status_code == 405:
        problem.headers = {"Allow": ", ".join(_methods_of(request))}
    return problem.response(request.scope["path"])


def _methods_of(request: Request) -> list[str]:
    """The methods that a path takes. The framework names those of its first route alone."""
    path = request.scope["path"]
    routes = [route for route in request.app.routes if isinstance(route, APIRoute)]
    return sorted({m for r in routes if r.path_regex.fullmatch(path) for m in r.methods or ()})
