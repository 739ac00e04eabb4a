"""``/v1/executions/{id}/events``: a journal as it grows, over SSE and WebSocket.

The cursor is the journal index, and the client keeps it, so any process can go on with any
stream. There is no queue here: the next page is asked for once the client has taken the last,
so a slow client holds one page in memory, and misses deltas, of which it is told.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Header, Query, Request, Response, WebSocket, WebSocketDisconnect
from starlette.types import Receive, Send
from starlette.types import Scope as AsgiScope

from omium.actors.client import Client, Lagged, Quiet
from omium.actors.messages import Delta, ExecutionView
from omium.errors import OmiumError, Unavailable
from omium.execution.events import Entry, to_json
from omium.serve.api import schemas as s
from omium.serve.api.auth import unauthorized
from omium.serve.api.context import Api, Caller, api_of, caller_of
from omium.serve.api.executions import execution_id as id_of
from omium.serve.api.executions import view_of
from omium.serve.api.problems import ProblemError, problem_of
from omium.serve.api.route import ApiRoute, needs
from omium.types import ExecutionId, Status

log = logging.getLogger(__name__)
router = APIRouter(prefix="/v1/executions/{execution_id}", tags=["events"], route_class=ApiRoute)

PATH = "/v1/executions/{execution_id}/events"
RETRY_MS = 1_000
AUTHORIZE_S = 5.0
FIRST_MESSAGE_CHARS_MAX = 4_096
_ENDS: dict[str, Status] = {
    "execution.completed": "completed",
    "execution.failed": "failed",
    "execution.cancelled": "cancelled",
}


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """What is told: ``id`` is the journal index, None for what is in no journal."""

    id: int | None
    event: str
    data: Any


HEARTBEAT = Message(id=None, event="heartbeat", data=None)

_STREAM = {
    "description": "A stream of events.",
    "content": {
        "text/event-stream": {
            "schema": {
                "type": "object",
                "properties": {
                    "id": {"type": "string", "description": "The journal index."},
                    "event": {"type": "string", "description": "The type of the entry."},
                    "data": {"type": "string", "description": "The entry in JSON."},
                },
            },
            "example": 'id: 7\nevent: step.completed\ndata: {"execution": "ex_…", "index": 7, '
            '"type": "step.completed"}\n\nevent: delta\ndata: {"agent": "writer", "call": 9, '
            '"text": "The"}\n\nevent: end\ndata: {"status": "completed"}\n\n',
        }
    },
}


@router.get(
    "/events",
    response_class=Response,
    responses={
        200: _STREAM,
        204: {"description": "It has ended, and everything was told. Do not come back."},
        404: {},
        429: {},
    },
    openapi_extra=needs("read"),
)
async def get_events(
    request: Request,
    execution_id: s.ExecutionIdPath,
    after: Annotated[
        int, Query(ge=0, le=s.INDEX_MAX, description="Only what comes after this journal index.")
    ] = 0,
    last_event_id: Annotated[
        int | None,
        Header(ge=0, le=s.INDEX_MAX, description="The same, as browsers say it; it wins."),
    ] = None,
) -> Response:
    """Follow an execution: every entry of its journal, as server-sent events.

    The id of an event is its journal index, its name the type of the entry, its data the entry
    in JSON. `delta` events (pieces of answers on their way) have no id: the entry that follows
    supersedes them. `lagged` says how many of them were dropped. `end` has the final status and
    ends the stream. A comment comes when nothing else does. The same path takes a WebSocket,
    whose messages are objects with `id`, `event` and `data`.
    """
    api, caller = api_of(request), caller_of(request)
    view = await view_of(request, execution_id)
    cursor = last_event_id if last_event_id is not None else after
    if _is_told(view, cursor):
        return Response(status_code=204)
    leave = api.slots.take(caller.principal)
    return EventStream(api, messages(caller.client, view.row.id, cursor), leave)


async def messages(client: Client, target: ExecutionId, after: int) -> AsyncIterator[Message]:
    """All that happens after an index, and at last the ``end``. Raises what keeps the
    coordinator from telling."""
    status: Status | None = None
    async with aclosing(client.follow(target, after, live=True)) as news:  # pyright: ignore
        async for item in news:
            match item:
                case Entry():
                    shown = to_json(item)
                    status = _ENDS.get(shown["type"]) or status
                    yield Message(id=item.index, event=shown["type"], data=shown)
                case Delta():
                    yield Message(id=None, event="delta", data=item)
                case Lagged(dropped=dropped):
                    yield Message(id=None, event="lagged", data={"dropped": dropped})
                case Quiet():
                    pass
    if status is None:
        status = (await client.view(target)).status
    yield Message(id=None, event="end", data={"status": status})


def _is_told(view: ExecutionView, cursor: int) -> bool:
    """Whether nothing is left to tell after ``cursor``. Raises a problem for one beyond."""
    if cursor > view.row.last_index:
        raise ProblemError(
            "invalid", f"after: the journal ends at {view.row.last_index}, not at {cursor}"
        )
    return cursor == view.row.last_index and view.status in ("completed", "failed", "cancelled")


# ------------------------------------------------------------------ any channel

Write = Callable[[Message], Awaitable[None]]


async def pump(
    api: Api, source: AsyncIterator[Message], write: Write, gone: Callable[[], Awaitable[None]]
) -> bool:
    """Write what ``source`` gives, and a heartbeat where it gives nothing, until it ends, the
    client is ``gone``, or it takes nothing for too long. Says whether it came to its end, so
    that the client can be told."""
    settings = api.settings
    written_s = time.monotonic()
    ended = False

    async def written(message: Message) -> None:
        nonlocal written_s
        async with asyncio.timeout(settings.stall_s):
            await write(message)
        written_s = time.monotonic()

    async def tell() -> None:
        nonlocal ended
        try:
            async for message in source:
                await written(message)
        except Unavailable:
            # The client comes back with its cursor.
            log.warning("a stream was closed: the coordinator is away")
        except OmiumError as error:
            await written(_problem(error))
        ended = True

    async def beat() -> None:
        while True:
            idle_s = time.monotonic() - written_s
            if idle_s >= settings.heartbeat_s:
                await written(HEARTBEAT)
                idle_s = 0.0
            await asyncio.sleep(settings.heartbeat_s - idle_s)

    tasks = {asyncio.create_task(work) for work in (tell(), beat(), _until(gone))}
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            match task.exception():
                case None | WebSocketDisconnect():
                    pass
                case TimeoutError():
                    log.info("a stream was closed: its client took nothing")
                case error:
                    log.error("a stream was closed", exc_info=error)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        close = getattr(source, "aclose", None)
        if close is not None:
            await close()
    return ended


async def _until(gone: Callable[[], Awaitable[None]]) -> None:
    await gone()


def _problem(error: Exception) -> Message:
    return Message(id=None, event="problem", data=problem_of(error).to_data(PATH))


# ------------------------------------------------------------------ server-sent events


class EventStream(Response):
    """The answer that never seems to end. ``leave`` is called when it does."""

    media_type = "text/event-stream"

    def __init__(self, api: Api, source: AsyncIterator[Message], leave: Callable[[], None]) -> None:
        super().__init__(
            headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
            media_type=self.media_type,
        )
        del self.headers["content-length"]
        self._api = api
        self._source = source
        self._leave = leave

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        async def body(data: bytes, *, more: bool = True) -> None:
            await send({"type": "http.response.body", "body": data, "more_body": more})

        async def gone() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass

        try:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            await body(b"retry: %d\n\n" % RETRY_MS)
            # One that takes nothing would not take the last piece either.
            if await pump(self._api, self._source, lambda m: body(sse(m)), gone):
                await body(b"", more=False)
        finally:
            self._leave()


def sse(message: Message) -> bytes:
    """A message as a server-sent event; a heartbeat is a comment."""
    if message is HEARTBEAT:
        return b": heartbeat\n\n"
    head = b"id: %d\n" % message.id if message.id is not None else b""
    data = msgspec.json.encode(message.data)
    return head + b"event: %s\ndata: %s\n\n" % (message.event.encode(), data)


# ------------------------------------------------------------------ WebSocket


@router.websocket("/events")
async def socket_events(socket: WebSocket, execution_id: str, after: str = "0") -> None:
    """The same over a WebSocket. The key comes in the header, or in the first message
    ``{"authorization": "Bearer …"}``. What goes wrong is told in a message ``problem``, and the
    close code is 4000 and the HTTP status."""
    await socket.accept()
    try:
        await _serve(socket, execution_id, after)
    except WebSocketDisconnect:
        return
    except Exception as error:  # noqa: BLE001 - told to the client, or logged with an id
        problem = problem_of(error)
        data = problem.to_data(socket.scope["path"])
        await _close(socket, Message(id=None, event="problem", data=data), problem.status_code)


async def _serve(socket: WebSocket, execution_id: str, after: str) -> None:
    api = api_of(socket)
    caller = await _caller(socket, api)
    if not after.isascii() or not after.isdecimal() or int(after[:20]) > s.INDEX_MAX:
        raise ProblemError("invalid", "query.after: expected a journal index")
    view = await caller.client.view(id_of(execution_id))
    cursor = int(after)
    source = messages(caller.client, view.row.id, cursor)
    if _is_told(view, cursor):
        source = _only(Message(id=None, event="end", data={"status": view.status}))
    leave = api.slots.take(caller.principal)
    try:
        if await pump(api, source, lambda m: _send(socket, m), lambda: _until_closed(socket)):
            await socket.close(1000)
    except RuntimeError:
        # Closed by the client in this very moment.
        return
    finally:
        leave()


async def _only(message: Message) -> AsyncIterator[Message]:
    yield message


async def _caller(socket: WebSocket, api: Api) -> Caller:
    header = socket.headers.get("authorization")
    if header is None:
        try:
            async with asyncio.timeout(AUTHORIZE_S):
                text = await socket.receive_text()
        except TimeoutError:
            raise unauthorized(f"no key came within {AUTHORIZE_S:g} s") from None
        header = _authorization(text)
    return await api.caller(header, "read")


def _authorization(text: str) -> str:
    try:
        if len(text) <= FIRST_MESSAGE_CHARS_MAX:
            return msgspec.json.decode(text, type=dict[str, str]).get("authorization", "")
    except (msgspec.DecodeError, UnicodeError):
        pass
    raise unauthorized('the first message is {"authorization": "Bearer omk_…"}')


async def _send(socket: WebSocket, message: Message) -> None:
    await socket.send_text(msgspec.json.encode(message).decode())


async def _until_closed(socket: WebSocket) -> None:
    while (await socket.receive())["type"] != "websocket.disconnect":
        pass


async def _close(socket: WebSocket, message: Message, status: int) -> None:
    try:
        await _send(socket, message)
        await socket.close(4000 + status)
    except (RuntimeError, WebSocketDisconnect):
        # Gone before it could be told.
        return
