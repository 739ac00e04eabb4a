"""Requests to one service over HTTP: the key, the retries, the errors.

A request is made again after a lost connection, 429 and 5xx of the passing kind, with growing
pauses and jitter: GETs always, and POSTs that carry an idempotency key, which all of ours do.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import httpx
import msgspec
from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception_type,
    stop_after_delay,
    wait_exponential,
    wait_random,
)

from omium.client.problems import error_of, is_omiums, is_passing
from omium.errors import OmiumError, Unavailable

_T = TypeVar("_T")

CONNECT_TIMEOUT_S = 5.0
PAUSE_S, PAUSE_S_MAX = 0.1, 2.0
HELD_S = 1.0
"""A service that has held a request for so long was there. One that drops it is quicker; and what
fails to connect, or answers in a service's place, is none, however long it takes."""

# What ends a connection that was made. Not: a time-out, which is silence.
_LOST = (httpx.ReadError, httpx.WriteError, httpx.CloseError, httpx.RemoteProtocolError)


class _Passing(Exception):
    """A failure that may pass. ``pause_s`` is what the service asked for, if it did. ``held_s`` is
    how long it held the request, and 0 where nothing tells that it was a service that did."""

    def __init__(
        self, error: OmiumError, pause_s: float | None = None, *, held_s: float = 0.0
    ) -> None:
        super().__init__(error)
        self.error = error
        self.pause_s = pause_s
        self.held_s = held_s


class _Away:
    """Says when one who waits gives up: ``retry_s`` seconds after the first failure, or after the
    last by which the service was there."""

    def __init__(self, retry_s: float) -> None:
        self._retry_s = retry_s
        self._since_s: float | None = None

    def __call__(self, state: RetryCallState) -> bool:
        error = state.outcome.exception() if state.outcome is not None else None
        passed_s = state.seconds_since_start or 0.0
        was_there = isinstance(error, _Passing) and error.held_s >= HELD_S
        if self._since_s is None or was_there:
            self._since_s = passed_s
        return passed_s - self._since_s >= self._retry_s


class Transport:
    """One service. ``retry_s`` is for how long, in seconds, a request is tried again."""

    def __init__(
        self,
        address: str,
        api_key: str | None,
        *,
        retry_s: float,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self.address = address.rstrip("/")
        self._retry_s = retry_s
        headers = {"authorization": f"Bearer {api_key}"} if api_key else {}
        self._http = httpx.AsyncClient(
            base_url=self.address,
            headers=headers,
            timeout=httpx.Timeout(None, connect=CONNECT_TIMEOUT_S),
            # A long list of readers is the service's to bound, not the pool's.
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=64),
            transport=transport,
        )

    async def close(self) -> None:
        await self._http.aclose()

    async def ask(
        self,
        kind: type[_T],
        method: str,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        body: Any = None,
        content: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        timeout_s: float = 60.0,
        patient: bool = False,
    ) -> _T:
        """The answer, decoded as ``kind``. Raises the error that the service tells of, or
        ``Unavailable`` when it stays away. For one who is ``patient`` that is counted from when it
        was last there, and not from when it was first asked: from when it gave an answer of
        Omium's, or lost a connection, after ``HELD_S`` seconds or more with the request."""
        sent = dict(headers or {})
        if content is None and body is not None:
            content = msgspec.json.encode(body)
            sent["content-type"] = "application/json"
        kept = {name: value for name, value in (params or {}).items() if value is not None}

        loop = asyncio.get_running_loop()

        async def once() -> httpx.Response:
            held_from_s = loop.time()

            async def trace(event: str, _: Any) -> None:
                # To connect takes time too, for which nobody has held anything.
                nonlocal held_from_s
                if event.endswith(".send_request_headers.started"):
                    held_from_s = loop.time()

            try:
                answer = await self._http.request(
                    method,
                    path,
                    params=kept,
                    content=content,
                    headers=sent,
                    timeout=httpx.Timeout(timeout_s, connect=CONNECT_TIMEOUT_S),
                    extensions={"trace": trace},
                )
            except httpx.TransportError as error:
                held_s = loop.time() - held_from_s if isinstance(error, _LOST) else 0.0
                raise _Passing(self._away(error), held_s=held_s) from error
            if answer.is_success:
                return answer
            raised = error_of(answer.status_code, answer.content)
            if is_passing(answer.status_code, answer.content):
                held_s = loop.time() - held_from_s if is_omiums(answer.content) else 0.0
                raise _Passing(raised, _retry_after(answer), held_s=held_s)
            raise raised

        answer = await self.retried(once, patient=patient)
        if answer.status_code == 204:
            return msgspec.convert(None, kind)
        try:
            return msgspec.json.decode(answer.content, type=kind)
        except msgspec.DecodeError as error:
            raise Unavailable(f"{self.address} answered what is none of Omium's: {error}") from None

    async def retried(self, once: Any, *, patient: bool = False) -> Any:
        """What ``once`` gives, tried again while its failure may pass."""
        try:
            async for attempt in AsyncRetrying(
                retry=retry_if_exception_type(_Passing),
                stop=_Away(self._retry_s) if patient else stop_after_delay(self._retry_s),
                wait=_pause,
                reraise=True,
            ):
                with attempt:
                    return await once()
        except _Passing as passing:
            raise passing.error from passing.__cause__
        raise AssertionError("the attempts end with an answer or an error")

    @asynccontextmanager
    async def stream(
        self, path: str, *, params: Mapping[str, Any], headers: Mapping[str, str], silence_s: float
    ) -> AsyncIterator[httpx.Response]:
        """An answer that keeps coming. Raises ``_Passing`` errors as ``Unavailable``."""
        timeout = httpx.Timeout(silence_s, connect=CONNECT_TIMEOUT_S)
        async with self._http.stream(
            "GET", path, params=dict(params), headers=dict(headers), timeout=timeout
        ) as answer:
            if not answer.is_success:
                body = await answer.aread()
                raise error_of(answer.status_code, body)
            yield answer

    def _away(self, error: httpx.TransportError) -> Unavailable:
        reason = str(error) or type(error).__name__
        return Unavailable(f"no answer from {self.address}: {reason}")


def _pause(state: RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome is not None else None
    if isinstance(error, _Passing) and error.pause_s is not None:
        return error.pause_s
    return _GROWING(state)


_GROWING = wait_exponential(multiplier=PAUSE_S, max=PAUSE_S_MAX) + wait_random(0, PAUSE_S)


def _retry_after(answer: httpx.Response) -> float | None:
    text = answer.headers.get("retry-after", "")
    return min(float(text), 30.0) if text.isdecimal() else None
