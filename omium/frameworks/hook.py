"""The hook on ``httpx``: how LLM calls of any client find their way into the journal.

A client that a user built himself cannot be seen from outside, so a thin wrapper around
``httpx.Client.send`` and its async twin adds the scope to each request that goes to the
gateway. It also waits out a gateway that is being restarted, and turns the gateway's word
that an attempt is over into control flow. Requests to anywhere else are not touched.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import httpx
import msgspec

from omium.errors import Asked, AttemptCancelled, AttemptFenced
from omium.execution.calls import canonical_chat_request, digest_of
from omium.frameworks.certificates import share_certificates
from omium.frameworks.effect import tool_call
from omium.frameworks.scope import (
    CONTROL_HEADER,
    ERROR_HEADER,
    SCOPE_HEADER,
    Counters,
    Place,
    Scope,
    encode_scope,
)
from omium.llm.wire import SseDecoder
from omium.types import AgentName, ExecutionId, TenantId

GATEWAY_WAIT_S = 60.0
_RETRY_S, _RETRY_S_MAX = 0.05, 1.0

# The gateway vanished before it answered. Sending again is safe: it looks in the journal.
_GATEWAY_LOST = (
    httpx.ConnectError,
    httpx.ReadError,
    httpx.WriteError,
    httpx.RemoteProtocolError,
    httpx.ConnectTimeout,
)


@dataclass(kw_only=True)
class CallSite:
    """What the hook knows of one attempt.

    ``model_error`` is the last failure that the gateway reported, as (kind, arguments);
    ``stopped`` is raised by the next call of any kind, ``asked`` by the next that would begin.
    ``locate`` finds the place of a call
    that no context was set for.
    """

    tenant: TenantId
    execution_id: ExecutionId
    agent: AgentName
    epoch: int
    gateway_url: str
    api_key: str
    counters: Counters = field(default_factory=Counters)
    place: Place = field(default_factory=lambda: Place(""))
    locate: Callable[[], Place | None] | None = None
    model_error: tuple[str, list[Any]] | None = None
    gateway_lost: bool = False
    stopped: AttemptFenced | AttemptCancelled | None = None
    asked: Asked | None = None

    def check(self) -> None:
        """Raise what stops this attempt, if anything does."""
        if self.stopped is not None:
            raise self.stopped

    def check_beginning(self) -> None:
        """Raise what keeps this attempt from beginning anything, if something does.

        What a tool at work begins is a part of that tool, which is waited for: stopped half-way,
        nobody would know how it ended.
        """
        self.check()
        if self.asked is not None and not tool_call():
            raise self.asked

    def here(self) -> Place:
        """The place of the calling code: its own context's, else what ``locate`` finds, else the
        attempt's latest.

        The latest serves frameworks that call from threads of their own, without a context.
        """
        ambient = _place.get()
        if ambient is None or ambient[0] is not self:
            return self.place
        found = ambient[1]
        if found is None and self.locate is not None:
            found = self.locate()
        return found or self.place

    @contextmanager
    def at(self, place: Place) -> Iterator[None]:
        """Calls made inside belong to ``place``."""
        self.place = place
        token = _place.set((self, place))
        try:
            yield
        finally:
            _place.reset(token)


_place: ContextVar[tuple[CallSite, Place | None] | None] = ContextVar("omium_place", default=None)
_sites: dict[str, CallSite] = {}


@contextmanager
def watched(site: CallSite) -> Iterator[None]:
    """Let the hook know of an attempt for as long as it runs. Tasks and threads that are
    started inside belong to it."""
    _install()
    _sites[site.api_key] = site
    token = _place.set((site, None))
    try:
        yield
    finally:
        _place.reset(token)
        del _sites[site.api_key]


def _site_of(request: httpx.Request) -> CallSite | None:
    """The attempt that a request belongs to, if it goes to that attempt's gateway.

    Told by the key that the attempt's endpoint was given, else by context, else because
    there is only one attempt in this process.
    """
    if not _sites:
        return None
    site = _sites.get(request.headers.get("authorization", "").removeprefix("Bearer "))
    if site is None:
        ambient = _place.get()
        site = ambient[0] if ambient is not None else None
    if site is None and len(_sites) == 1:
        site = next(iter(_sites.values()))
    if site is None or not str(request.url).startswith(f"{site.gateway_url}/"):
        return None
    return site


def _mark(site: CallSite, request: httpx.Request) -> None:
    """Put the scope on a request. ``request`` must have been read."""
    site.check_beginning()
    request.headers["authorization"] = f"Bearer {site.api_key}"
    if request.method != "POST" or SCOPE_HEADER in request.headers:
        return
    try:
        body = msgspec.json.decode(request.content, type=dict[str, Any])
    except msgspec.DecodeError:
        return  # no chat completion: the gateway will say what it makes of it
    place = site.here()
    call = ("llm", place.scope, str(body.get("model", "")), digest_of(canonical_chat_request(body)))
    numbers = None
    if request.headers.get("x-stainless-retry-count", "0") != "0":
        numbers = site.counters.latest(*call)
    ordinal, occurrence = numbers or site.counters.next(*call)
    request.headers[SCOPE_HEADER] = encode_scope(
        Scope(
            tenant=site.tenant,
            execution_id=site.execution_id,
            agent=site.agent,
            epoch=site.epoch,
            step=place.step,
            scope=place.scope,
            ordinal=ordinal,
            occurrence=occurrence,
        )
    )


def _heed(site: CallSite, response: httpx.Response) -> None:
    """Take note of what the gateway says beside its answer."""
    if CONTROL_HEADER in response.headers:
        site.stopped = site.stopped or AttemptFenced(response.headers[CONTROL_HEADER])
    if ERROR_HEADER in response.headers:
        kind, arguments = msgspec.json.decode(
            response.headers[ERROR_HEADER], type=tuple[str, list[Any]]
        )
        site.model_error = (kind, arguments)
        return
    # Whatever went wrong earlier, the agent has got over it.
    site.model_error, site.gateway_lost = None, False
    stream = response.stream
    if isinstance(stream, httpx.AsyncByteStream) and not response.is_closed:
        response.stream = _AsyncStream(stream, _Watch(site, response))
    elif isinstance(stream, httpx.SyncByteStream) and not response.is_closed:
        response.stream = _BlockingStream(stream, _Watch(site, response))


class _Watch:
    """Takes note of how a streamed answer ends, when it does not end well."""

    def __init__(self, site: CallSite, response: httpx.Response) -> None:
        self._site = site
        kind = response.headers.get("content-type", "")
        self._decoder = SseDecoder() if kind.startswith("text/event-stream") else None

    @contextmanager
    def lost(self) -> Iterator[None]:
        try:
            yield
        except _GATEWAY_LOST:
            self._site.gateway_lost = True
            raise

    def see(self, block: bytes) -> None:
        for event in self._decoder.feed(block) if self._decoder is not None else ():
            # Errors begin so, as the gateway writes them; all else is not looked into.
            if event.startswith(b'{"error":'):
                told = msgspec.json.decode(event, type=_StreamError).omium
                self._site.model_error = told or self._site.model_error


class _StreamError(msgspec.Struct):
    omium: tuple[str, list[Any]] | None = None


class _BlockingStream(httpx.SyncByteStream):
    def __init__(self, stream: httpx.SyncByteStream, watch: _Watch) -> None:
        self._stream, self._watch = stream, watch

    def __iter__(self) -> Iterator[bytes]:
        with self._watch.lost():
            for block in self._stream:
                self._watch.see(block)
                yield block

    def close(self) -> None:
        self._stream.close()


class _AsyncStream(httpx.AsyncByteStream):
    def __init__(self, stream: httpx.AsyncByteStream, watch: _Watch) -> None:
        self._stream, self._watch = stream, watch

    async def __aiter__(self) -> AsyncIterator[bytes]:
        with self._watch.lost():
            async for block in self._stream:
                self._watch.see(block)
                yield block

    async def aclose(self) -> None:
        await self._stream.aclose()


class _Patience:
    """How long to go on trying to reach a gateway, and how often."""

    def __init__(self, site: CallSite) -> None:
        self._site = site
        self._deadline_s = time.monotonic() + GATEWAY_WAIT_S
        self._pause_s = _RETRY_S

    def pause_s(self, error: httpx.TransportError) -> float:
        """Seconds to wait before the next try. Raises ``error`` when time is up."""
        self._site.check()
        if time.monotonic() > self._deadline_s:
            self._site.gateway_lost = True
            raise error
        self._pause_s = min(self._pause_s * 2, _RETRY_S_MAX)
        return self._pause_s


_install_lock = threading.Lock()
_installed = False


def _install() -> None:
    global _installed
    with _install_lock:
        if _installed:
            return
        _installed = True
        _wrap_blocking()
        _wrap_async()
        share_certificates()


def _wrap_blocking() -> None:
    original = httpx.Client.send

    def send(self: httpx.Client, request: httpx.Request, **options: Any) -> httpx.Response:
        site = _site_of(request)
        if site is None:
            return original(self, request, **options)
        request.read()
        _mark(site, request)
        patience = _Patience(site)
        while True:
            try:
                response = original(self, request, **options)
                break
            except _GATEWAY_LOST as error:
                time.sleep(patience.pause_s(error))
        _heed(site, response)
        if site.stopped is not None:
            response.close()
            raise site.stopped
        return response

    httpx.Client.send = send


def _wrap_async() -> None:
    original = httpx.AsyncClient.send

    async def send(
        self: httpx.AsyncClient, request: httpx.Request, **options: Any
    ) -> httpx.Response:
        site = _site_of(request)
        if site is None:
            return await original(self, request, **options)
        await request.aread()
        _mark(site, request)
        patience = _Patience(site)
        while True:
            try:
                response = await original(self, request, **options)
                break
            except _GATEWAY_LOST as error:
                await asyncio.sleep(patience.pause_s(error))
        _heed(site, response)
        if site.stopped is not None:
            await response.aclose()
            raise site.stopped
        return response

    httpx.AsyncClient.send = send
