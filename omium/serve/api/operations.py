"""``/healthz``, ``/readyz`` and ``/metrics``: for whoever operates the service."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST

from omium.errors import Unavailable
from omium.serve.api import schemas as s
from omium.serve.api.context import api_of, caller_of
from omium.serve.api.route import ApiRoute, answer, needs

router = APIRouter(tags=["operations"], route_class=ApiRoute)


@router.get("/healthz", response_model=s.Health, openapi_extra=needs(None))
async def healthz(request: Request) -> Response:
    """Say that this process answers."""
    return answer({"status": "ok"})


@router.get("/readyz", response_model=s.Health, responses={503: {}}, openapi_extra=needs(None))
async def readyz(request: Request) -> Response:
    """Say that the coordinator answers, too, so that requests can be carried out."""
    api = api_of(request)
    try:
        async with asyncio.timeout(api.settings.ready_timeout_s):
            await api.client.runtime()
    except TimeoutError as error:
        raise Unavailable("the coordinator does not answer") from error
    return answer({"status": "ok"})


@router.get(
    "/metrics",
    response_class=Response,
    responses={
        200: {
            "description": "Prometheus' text format.",
            "content": {"text/plain": {"schema": {"type": "string"}}},
        }
    },
    openapi_extra=needs("read"),
)
async def metrics(request: Request) -> Response:
    """The figures of the caller's tenant, of the process that answers."""
    text = api_of(request).figures.text(caller_of(request).tenant)
    return Response(text, headers={"Content-Type": CONTENT_TYPE_LATEST})
