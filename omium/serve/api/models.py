"""``/v1/chat/completions`` and ``/v1/models``: OpenAI's API for anyone with a key.

Passed on to the runtime's gateway, which routes and retries. Errors are problems with OpenAI's
``error`` beside, so that both kinds of clients understand them.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from typing import Any

import httpx
import msgspec
from fastapi import APIRouter, Request, Response
from starlette.background import BackgroundTask
from starlette.responses import StreamingResponse

from omium.errors import Unavailable
from omium.serve.api import schemas as s
from omium.serve.api.context import Api, api_of
from omium.serve.api.problems import KINDS, ProblemError, problem_of
from omium.serve.api.route import ApiRoute, media_type, needs, read_json
from omium.types import Json

log = logging.getLogger(__name__)
router = APIRouter(prefix="/v1", tags=["models"], route_class=ApiRoute)

ERROR_BYTES_MAX = 64 * 1024
_BODY = {
    "required": True,
    "content": {
        "application/json": {
            "schema": {
                "type": "object",
                "properties": {
                    "model": {"type": "string"},
                    "messages": {"type": "array", "items": {"type": "object"}},
                    "stream": {"type": ["boolean", "null"]},
                },
                "required": ["model", "messages"],
            },
            "example": {
                "model": "local/smollm2-135m-instruct",
                "messages": [{"role": "user", "content": "Say hello."}],
            },
        }
    },
}
_COMPLETION = {
    "description": "The completion; a stream of chunks where `stream` is true.",
    "content": {
        "application/json": {"schema": {"type": "object"}},
        "text/event-stream": {"schema": {"type": "string"}},
    },
}


@router.post(
    "/chat/completions",
    response_class=Response,
    responses={200: _COMPLETION, 400: {}, 404: {}, 413: {}, 415: {}, 502: {}, 503: {}},
    openapi_extra=needs("run", requestBody=_BODY),
)
async def chat_completions(request: Request) -> Response:
    """Ask a model, as with OpenAI's API; `model` is `provider/model`. Not journaled."""
    try:
        return await _completion(request)
    except Exception as error:
        raise _openai(problem_of(error)) from error


@router.get("/models", response_model=s.ModelList, openapi_extra=needs("read"))
async def list_models(request: Request) -> Response:
    """List the models that this service names, as OpenAI's API does. Others may be asked for,
    too: any of a provider that the service knows."""
    names = api_of(request).settings.models
    data = [
        {"id": name, "object": "model", "created": 0, "owned_by": name.partition("/")[0]}
        for name in names
    ]
    return Response(
        msgspec.json.encode({"object": "list", "data": data}), media_type="application/json"
    )


async def _completion(request: Request) -> Response:
    api = api_of(request)
    if media_type(request) != "application/json":
        raise ProblemError("unsupported_media_type", "send content-type: application/json")
    body = await request.body()
    _check(read_json(body))
    # Nothing of the caller's headers goes on: the gateway trusts what it is told there.
    outgoing = api.http.build_request(
        "POST",
        f"{await _gateway_url(api)}/v1/chat/completions",
        content=body,
        headers={
            "authorization": f"Bearer {api.settings.gateway_key}",
            "content-type": "application/json",
        },
    )
    try:
        incoming = await api.http.send(outgoing, stream=True)
    except httpx.HTTPError as error:
        raise Unavailable("the gateway does not answer") from error
    if incoming.status_code != 200:
        raise await _refused(incoming)
    return StreamingResponse(
        _passed(incoming),
        media_type=incoming.headers.get("content-type", "application/json"),
        background=BackgroundTask(incoming.aclose),
    )


def _check(body: Json) -> None:
    """Refuse what is no chat completion. Models and providers know the rest."""
    if not isinstance(body, dict):
        raise ProblemError("invalid", "body: expected an object")
    if not isinstance(body.get("model"), str):
        raise ProblemError("invalid", "body.model: expected the name of a model")
    messages = body.get("messages")
    if not isinstance(messages, list) or not all(isinstance(m, dict) for m in messages):
        raise ProblemError("invalid", "body.messages: expected a list of objects")
    if not isinstance(body.get("stream"), bool | None):
        raise ProblemError("invalid", "body.stream: expected true or false")


async def _passed(incoming: httpx.Response) -> AsyncIterator[bytes]:
    try:
        async for block in incoming.aiter_bytes():
            yield block
    finally:
        await incoming.aclose()


async def _refused(incoming: httpx.Response) -> ProblemError:
    """The gateway's error, which is the caller's in all but what it says of the gateway."""
    text = bytearray()
    async for block in incoming.aiter_bytes():
        text += block
        if len(text) > ERROR_BYTES_MAX:
            break
    await incoming.aclose()
    try:
        told: Any = msgspec.json.decode(bytes(text))["error"]
        message, kind = str(told["message"]), str(told.get("type") or "")
    except (msgspec.DecodeError, KeyError, TypeError, ValueError):
        message, kind = f"the gateway answered {incoming.status_code}", "unavailable"
    status = incoming.status_code
    if kind in ("input", "config"):
        # The request was looked at here: what the gateway misses is the service's own.
        log.warning("the gateway refused a completion: %s", message)
        return ProblemError("config", "the service cannot load this model")
    if kind not in KINDS or KINDS[kind].status == 500:
        kind = "model_refused"
    if status in (401, 403, 407):
        # A provider that does not know the service's key is no fault of the caller's key.
        status = 502
    return ProblemError(kind, message, status=status)


async def _gateway_url(api: Api) -> str:
    url = api.settings.gateway_url or (await api.client.runtime()).gateway_url
    if not url:
        raise Unavailable("the gateway has not started")
    return url


def _openai(problem: ProblemError) -> ProblemError:
    error = {"message": problem.text, "type": problem.kind, "param": None, "code": problem.kind}
    problem.extra = {**problem.extra, "error": error}
    return problem
