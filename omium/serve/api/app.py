"""The application: its routes, its parts, and how they start and end."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager

from fastapi import APIRouter, FastAPI, Request, Response
from starlette.exceptions import HTTPException
from starlette.routing import BaseRoute, Route

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
    uploads,
    webhooks,
    workflows,
)
from omium.serve.api.context import Api
from omium.serve.api.openapi import describe
from omium.serve.api.problems import problem_of
from omium.serve.api.settings import ApiSettings

# Looked through in this order, so what is asked for most comes first.
ROUTERS = (
    executions.router,
    workflows.router,
    control.router,
    checkpoints.router,
    journal.router,
    streams.router,
    keys.router,
    uploads.router,
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
        # Not `include_router`, which would look for the route of a request twice.
        app.router.routes.extend(router.routes)

    async def told(request: Request, error: Exception) -> Response:
        """What the framework refuses before any route is reached: paths and methods."""
        problem, path = problem_of(error), request.scope["path"]
        if problem.status_code == 405:
            problem.headers = {"Allow": ", ".join(methods_of(path, app.routes))}
        return problem.response(path)

    app.add_exception_handler(HTTPException, told)
    app.openapi = lambda: describe(app)
    return app


def methods_of(path: str, routes: Iterable[BaseRoute]) -> list[str]:
    """The methods of the resource at a path: of the first template that fits, and of all routes
    that have it. The framework names those of the first route alone."""
    fitting = [r for r in routes if isinstance(r, Route) and r.path_regex.fullmatch(path)]
    same = [route for route in fitting if route.path == fitting[0].path]
    return sorted({method for route in same for method in route.methods or ()})
