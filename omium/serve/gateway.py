"""The gateway: the OpenAI-compatible address to which all LLM calls of a node go.

It looks each call up in the journal, makes it once however often it is asked for, and
records the answer before anybody has the whole of it. It decides nothing about agents.
"""

from __future__ import annotations

import asyncio
import hmac
import json
from collections.abc import AsyncIterator, Awaitable, Sequence
from typing import Any, TypeAlias, TypeVar

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from starlette.requests import ClientDisconnect

from omium.actors import messages as m
from omium.actors.link import Address
from omium.actors.payloads import Blobs
from omium.actors.shards.routing import link_to
from omium.actors.transport import Answer, Codec, Connection, stop_listening
from omium.errors import (
    AttemptFenced,
    InputError,
    ModelRefused,
    ModelUnreachable,
    NotFound,
    OmiumError,
    ProtocolError,
    UserError,
)
from omium.execution.calls import canonical_chat_request, digest_of
from omium.execution.records import CallKey
from omium.frameworks.scope import (
    CONTROL_HEADER,
    ERROR_FIELD,
    ERROR_HEADER,
    SCOPE_HEADER,
    Scope,
    decode_scope,
)
from omium.llm.router import Router
from omium.llm.wire import error_body, read_json, sse_encode, wants_usage
from omium.serve.flight import Flight, Pilot, Understudy
from omium.types import AgentName, ExecutionId

BODY_BYTES_MAX = 4 * 1024 * 1024
FLIGHTS_MAX = 512

_FlightKey: TypeAlias = tuple[ExecutionId, AgentName, CallKey]
_AttemptKey: TypeAlias = tuple[ExecutionId, AgentName, int]
_T = TypeVar("_T")


class Gateway:
    """See the module's docstring. ``serve`` runs it until ``stop``."""

    def __init__(
        self,
        router: Router,
        *,
        coordinator: Address | Sequence[Address],
        secret: bytes,
        api_key: str,
        blobs: Blobs,
        host: str,
        port: int,
        pid: int,
        understudy: Understudy | None = None,
        further: Sequence[Sequence[Address]] = (),
    ) -> None:
        """``further`` are the addresses of each of the shards beside the first, whose
        ``coordinator`` is."""
        self._router = router
        self._api_key = api_key.encode()
        self._address = (host, port)
        self._pid = pid
        self._link = link_to(
            coordinator,
            further,
            Codec(m.Messages),
            secret,
            handler=self._handle,
            greeting=lambda: m.GatewayHello(url=self.url, pid=self._pid),
        )
        self._pilot = Pilot(self._link, router, blobs, understudy)
        self._flights: dict[_FlightKey, tuple[Flight, asyncio.Task[None]]] = {}
        self._waiting: dict[_AttemptKey, set[asyncio.Future[Any]]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        config = uvicorn.Config(
            self._app(), host=host, port=port, log_config=None, access_log=False, lifespan="off"
        )
        self._server = uvicorn.Server(config)
        self._serving: asyncio.Task[None] | None = None

    @property
    def url(self) -> str:
        """``http://host:port``, with the real port once started; the API is under ``/v1``."""
        return f"http://{self._address[0]}:{self._address[1]}"

    async def start(self) -> str:
        """Listen, then tell the coordinator. Returns the URL."""
        self._serving = asyncio.create_task(self._server.serve(), name="omium-gateway")
        while not self._server.started:
            if self._serving.done():
                self._serving.result()
                raise InputError(f"cannot listen on {self._address[0]}:{self._address[1]}")
            await asyncio.sleep(0.01)
        self._address = self._server.servers[0].sockets[0].getsockname()[:2]
        self._link.open()
        return self.url

    async def stop(self) -> None:
        """Stop at once. Connections are broken, as in a crash: who asked will ask again."""
        self._server.should_exit = self._server.force_exit = True
        for listener in self._server.servers:
            await stop_listening(listener)
        for connection in list(self._server.server_state.connections):
            if connection.transport is not None:
                connection.transport.abort()
        for task in list(self._tasks):
            task.cancel()
        await self._link.close()
        if self._serving is not None:
            await self._serving
        await self._router.close()

    def _app(self) -> FastAPI:
        app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
        app.add_api_route("/v1/chat/completions", self._chat, methods=["POST"])
        app.add_api_route("/healthz", self._healthz, methods=["GET"])
        return app

    async def _healthz(self) -> Response:
        return JSONResponse({"status": "ok", "flights": len(self._tasks)})

    async def _chat(self, request: Request) -> Response:
        try:
            named = self._authorized(request)
            body = await _body(request)
            scope = _scope(request, named)
            while True:
                flight = self._flight(body, scope)
                try:
                    return await self._answer(flight, body, scope)
                except AttemptFenced:
                    if scope is None or not flight.is_fenced or flight.epoch >= scope.epoch:
                        raise
                    # It was begun too late for an earlier attempt, and this one had joined it.
        except AttemptFenced as fenced:
            return _error_response(409, str(fenced), "attempt_fenced", {CONTROL_HEADER: "fenced"})
        except OmiumError as error:
            # As JSON in ASCII: a header holds nothing else.
            told = {ERROR_HEADER: json.dumps(_told(error))}
            return _error_response(_status(error), str(error), error.kind, told)

    async def _answer(self, flight: Flight, body: dict[str, Any], scope: Scope | None) -> Response:
        if body.get("stream"):
            await self._while_wanted(scope, flight.begun())
            events = self._events(flight, scope, usage=wants_usage(body))
            return StreamingResponse(events, media_type="text/event-stream")
        completion = await self._while_wanted(scope, flight.completion())
        return JSONResponse(completion, headers={"x-omium-source": flight.source})

    async def _events(
        self, flight: Flight, scope: Scope | None, *, usage: bool
    ) -> AsyncIterator[bytes]:
        chunks = flight.chunks(usage=usage)
        try:
            while (chunk := await self._while_wanted(scope, anext(chunks, None))) is not None:
                yield sse_encode(chunk)
        except OmiumError as error:
            # The headers have left, so what they would say of the error goes with it.
            yield sse_encode({**error_body(str(error), kind=error.kind), ERROR_FIELD: _told(error)})
            return
        except AttemptFenced as fenced:
            yield sse_encode(error_body(str(fenced), kind="attempt_fenced"))
            return
        yield b"data: [DONE]\n\n"

    async def _while_wanted(self, scope: Scope | None, work: Awaitable[_T]) -> _T:
        """What ``work`` gives, unless the attempt that waits for it is stopped meanwhile.

        Raises ``AttemptFenced`` then: an agent that waits in a thread can be stopped nowhere
        else. The call itself goes on.
        """
        if scope is None:
            return await work
        key = (scope.execution_id, scope.agent, scope.epoch)
        task = asyncio.ensure_future(work)
        waiting = self._waiting.setdefault(key, set())
        waiting.add(task)
        try:
            await asyncio.wait([task])
            if task.cancelled():
                raise AttemptFenced("the attempt was stopped")
            return task.result()
        finally:
            task.cancel()
            waiting.discard(task)
            if not waiting:
                self._waiting.pop(key, None)

    def _handle(self, _: Connection, message: Any, __: Answer) -> None:
        match message:
            case m.Stop():
                key = (message.execution_id, message.agent, message.epoch)
                for task in self._waiting.get(key, ()):
                    task.cancel()
                if message.cancelled:
                    self._give_up(message.execution_id)
            case _:
                raise ProtocolError(f"a gateway takes no {type(message).__name__}")

    def _authorized(self, request: Request) -> bool:
        """Whether the key is that of an attempt. Raises ``ModelRefused`` for a wrong one."""
        given = request.headers.get("authorization", "").removeprefix("Bearer ")
        key, dot, _ = given.partition(".")
        if not hmac.compare_digest(key.encode(), self._api_key):
            raise ModelRefused("omium", 401, "this gateway does not know that key")
        return bool(dot)

    def _flight(self, body: dict[str, Any], scope: Scope | None) -> Flight:
        """The call under way that answers ``body``, begun now unless it was before."""
        key = _call_key(body, scope) if scope is not None else None
        name = (scope.execution_id, scope.agent, key) if scope is not None and key else None
        known = self._flights.get(name) if name is not None else None
        if known is not None:
            return known[0]
        if len(self._tasks) >= FLIGHTS_MAX:
            raise ModelUnreachable("omium", f"{FLIGHTS_MAX} calls are under way on this node")
        flight = Flight(scope.epoch if scope is not None else 0)
        task = asyncio.create_task(self._pilot.fly(flight, body, scope, key))
        if name is not None:
            self._flights[name] = flight, task
        self._tasks.add(task)
        task.add_done_callback(lambda done: self._landed(done, name))
        return flight

    def _give_up(self, execution_id: ExecutionId) -> None:
        """Leave the calls of an execution that was cancelled: nobody will ask for the answers, and
        a provider that is hung up on writes no more of them."""
        for (of, _, _), (_, task) in self._flights.items():
            if of == execution_id:
                task.cancel()

    def _landed(self, task: asyncio.Task[None], name: _FlightKey | None) -> None:
        self._tasks.discard(task)
        if name is not None:
            self._flights.pop(name, None)


def _scope(request: Request, named: bool) -> Scope | None:
    header = request.headers.get(SCOPE_HEADER)
    if header is not None:
        return decode_scope(header)
    if named:
        # The hook always adds a scope while its attempt lives: this one is over.
        raise AttemptFenced("this key's attempt is over")
    return None


def _call_key(body: dict[str, Any], scope: Scope) -> CallKey:
    return CallKey(
        kind="llm",
        scope=scope.scope,
        name=str(body.get("model", "")),
        digest=digest_of(canonical_chat_request(body)),
        occurrence=scope.occurrence,
    )


async def _body(request: Request) -> dict[str, Any]:
    data = bytearray()
    try:
        async for block in request.stream():
            data += block
            if len(data) > BODY_BYTES_MAX:
                raise ModelRefused("omium", 413, f"the request is over {BODY_BYTES_MAX} bytes")
    except ClientDisconnect as error:
        # Nobody is told: an agent that was stopped while it asked.
        raise InputError("the request was cut off") from error
    try:
        body = read_json(bytes(data))
    except ProtocolError as error:
        raise InputError(f"the request is not a JSON object: {error}") from error
    if not isinstance(body.get("messages"), list):
        raise InputError("the request is not a chat completion: it has no list of messages")
    return body


def _told(error: OmiumError) -> list[Any]:
    """An error's kind and arguments, for the hook to make it again."""
    return [error.kind, [part[:500] if isinstance(part, str) else part for part in error.args]]


def _status(error: OmiumError) -> int:
    match error:
        case ModelRefused():
            return error.status
        case ModelUnreachable():
            return 502
        case NotFound():
            return 404
        case UserError():
            return 400
        case _:
            return 503


def _error_response(status: int, message: str, kind: str, headers: dict[str, str]) -> JSONResponse:
    # The router and the recovery policy retry, knowingly; an SDK must not.
    return JSONResponse(
        error_body(message, kind=kind),
        status_code=status,
        headers={**headers, "x-should-retry": "false"},
    )
