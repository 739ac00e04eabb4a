"""What the scripted provider does with an HTTP request: an ASGI application.

Owns the way from a request to the bytes of its answer, delays, breaks and damage included.
Which answer it is, ``omium.testing.script`` says; ports and threads belong to
``omium.testing.scripted``.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import replace
from typing import Any, TypeAlias

from omium.clock import Clock
from omium.errors import InputError, ProtocolError
from omium.llm.wire import (
    SSE_DONE,
    JsonObject,
    chunks_of,
    error_body,
    read_json,
    sse_encode,
    wants_usage,
)
from omium.testing.call_log import CallLog, RecordedCall
from omium.testing.script import (
    Answer,
    Playback,
    Script,
    completion_of,
    error_answer_body,
    request_digest,
)

SCOPE_HEADER = "x-omium-scope"
_REQUEST_BYTES_MAX = 32 << 20
_FLUSH_S = 5.0

Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class Dropped(Exception):
    """The script broke the connection, or the provider is stopping."""


class ScriptedApp:
    """The ASGI application of a scripted provider; it runs on one event loop.

    ``stopping`` ends every request that waits. The scope of a request must hold its transport
    under ``omium.transport``.
    """

    def __init__(self, script: Script, log: CallLog, clock: Clock) -> None:
        self.stopping = asyncio.Event()
        self.log = log
        self._script = script
        self._playback = Playback(script)
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        reply = _Reply(scope, receive, send, self.stopping)
        path, method = scope["path"], scope["method"]
        headers = {
            name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]
        }
        try:
            body = await _read(receive)
            if path == "/v1/chat/completions" and method == "POST":
                await self._chat(reply, headers, body)
            elif not self._admits(headers):
                await reply.json(401, _WRONG_KEY)
            elif path == "/v1/models" and method == "GET":
                await reply.json(
                    200, {"object": "list", "data": [*map(_model, self._script.models)]}
                )
            elif path.startswith("/v1/models/") and method == "GET":
                name = path.removeprefix("/v1/models/")
                known = name in self._script.models
                await reply.json(200 if known else 404, _model(name) if known else _no_model(name))
            else:
                message = f"Unknown request URL: {method} {path}."
                await reply.json(404, error_body(message, code="unknown_url"))
        except Dropped:
            await reply.drop()

    def _admits(self, headers: dict[str, str]) -> bool:
        key = self._script.api_key
        return key is None or secrets.compare_digest(
            headers.get("authorization", "").encode(), f"Bearer {key}".encode()
        )

    async def _chat(self, reply: _Reply, headers: dict[str, str], data: bytes | None) -> None:
        request, problem = _read_request(data)
        call = RecordedCall(
            call=secrets.token_hex(8),
            time_ms=self._clock.now_ms(),
            digest=request_digest(request),
            model=str(request.get("model") or ""),
            stream=bool(request.get("stream")),
            scope=headers.get(SCOPE_HEADER),
            body=request,
        )
        self.log.arrived(call)
        rule: int | None = None
        try:
            if not self._admits(headers):
                await reply.json(401, _WRONG_KEY)
            elif problem is not None:
                await reply.json(400, error_body(problem))
            elif self._script.only_models and call.model not in self._script.models:
                await reply.json(404, _no_model(call.model))
            else:
                rule, answer = self._playback.choose(request)
                await self._answer(reply, request, answer)
        finally:
            self.log.done(replace(call, rule=rule, status=reply.status, sent=reply.sent))

    async def _answer(self, reply: _Reply, request: JsonObject, answer: Answer) -> None:
        await reply.wait(answer.delay_s)
        if answer.drop_after_chunks == 0:
            raise Dropped
        if answer.error is not None:
            await reply.json(answer.error.status, error_answer_body(answer.error))
            return
        try:
            completion = completion_of(request, answer, number=self.log.received)
        except InputError as error:
            await reply.json(500, error_body(str(error), kind="server_error"))
            return
        if request.get("stream"):
            await self._stream(reply, request, answer, completion)
        elif answer.malformed:
            await reply.text(200, b'{"id": "chatcmpl-broken", "choices": [')
        elif answer.drop_after_chunks is not None:
            whole = json.dumps(completion).encode()
            await reply.begin(200, b"application/json", len(whole))
            await reply.part(whole[: len(whole) // 2])
            raise Dropped
        else:
            await reply.json(200, completion)

    async def _stream(
        self, reply: _Reply, request: JsonObject, answer: Answer, completion: JsonObject
    ) -> None:
        await reply.begin(200, b"text/event-stream; charset=utf-8", None)
        chunks = chunks_of(completion, include_usage=wants_usage(request), pieces=answer.chunks)
        for number, chunk in enumerate(chunks):
            if number == answer.drop_after_chunks:
                raise Dropped
            if number > 0:
                await reply.wait(answer.chunk_delay_s)
            if answer.malformed and number == 1:
                await reply.part(b'data: {"id": "chatcmpl-broken", "choices": [\n\n')
            else:
                await reply.part(sse_encode(chunk))
        if answer.drop_after_chunks is not None:
            raise Dropped
        await reply.end(SSE_DONE)


class _Reply:
    """One HTTP response, and whether all of it was handed to a connection that was open."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, stopping: asyncio.Event) -> None:
        self.status: int | None = None
        self.sent = False
        self._transport: asyncio.Transport = scope["omium.transport"]
        self._receive, self._send, self._stopping = receive, send, stopping

    async def wait(self, seconds: float) -> None:
        if seconds <= 0:
            return
        try:
            await asyncio.wait_for(self._stopping.wait(), seconds)
        except TimeoutError:
            return
        raise Dropped

    async def begin(self, status: int, kind: bytes, length: int | None) -> None:
        self.status = status
        headers = [(b"content-type", kind)]
        if length is not None:
            headers.append((b"content-length", str(length).encode()))
        await self._send({"type": "http.response.start", "status": status, "headers": headers})

    async def part(self, data: bytes) -> None:
        await self._send({"type": "http.response.body", "body": data, "more_body": True})

    async def end(self, data: bytes) -> None:
        # What a closing connection is given is thrown away without a word.
        is_open = not self._transport.is_closing()
        await self._send({"type": "http.response.body", "body": data, "more_body": False})
        self.sent = is_open

    async def text(self, status: int, data: bytes) -> None:
        await self.begin(status, b"application/json", len(data))
        await self.end(data)

    async def json(self, status: int, body: Any) -> None:
        await self.text(status, json.dumps(body).encode())

    async def drop(self) -> None:
        """Breaks the connection after what was sent already has left."""
        self._transport.close()
        asyncio.get_running_loop().call_later(_FLUSH_S, self._transport.abort)
        # The server takes an application that returns without an answer for a broken one,
        # unless it has seen the disconnection.
        while (await self._receive())["type"] != "http.disconnect":
            continue


# ------------------------------------------------------------------ requests


async def _read(receive: Receive) -> bytes | None:
    """The body of a request; None when it is larger than the bound."""
    data = b""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Dropped
        data += message.get("body", b"")
        if len(data) > _REQUEST_BYTES_MAX:
            return None
        if not message.get("more_body"):
            return data


def _read_request(data: bytes | None) -> tuple[JsonObject, str | None]:
    """The request in ``data``, and what is wrong with it."""
    if data is None:
        return {}, f"the request is larger than {_REQUEST_BYTES_MAX} bytes"
    try:
        request = read_json(data)
    except ProtocolError as error:
        return {}, f"We could not parse the JSON body of your request: {error}"
    if not isinstance(request.get("messages"), list) or not request["messages"]:
        return request, "'messages' must be a list of at least one message"
    return request, None


_WRONG_KEY = error_body("Incorrect API key provided.", code="invalid_api_key")


def _model(name: str) -> JsonObject:
    return {"id": name, "object": "model", "created": 1_700_000_000, "owned_by": "omium"}


def _no_model(name: str) -> JsonObject:
    return error_body(f"The model {name!r} does not exist", code="model_not_found", param="model")
