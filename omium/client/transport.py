"""Requests to one service over HTTP: the key, the retries, the errors.

A request is made again after a lost connection, 429 and 5xx of the passing kind, with growing
pauses and jitter: GETs always, and POSTs that carry an idempotency key, which all of ours do.
"""

from __future__ import annotations

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

from omium.client.problems import error_of, is_passing
from omium.errors import OmiumError, Unavailable

_T = TypeVar("_T")

CONNECT_TIMEOUT_S = 5.0
PAUSE_S, PAUSE_S_MAX = 0.1, 2.0


class _Passing(Exception):
    """A failure that may pass; ``pause_s`` is what the service asked for, if it did."""

    def __init__(self, error: OmiumError, pause_s: float | None = None) -> None:
        super().__init__(error)
        self.error = error
        self.pause_s = pause_s


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
    ) -> _T:
        """The answer, decoded as ``kind``. Raises the error that the service tells of, or
        ``Unavailable`` when it stays away."""
        sent = dict(headers or {})
        if content is None and body is not None:
            content = msgspec.json.encode(body)
            sent["content-type"] = "application/json"
        kept = {name: value for name, value in (params or {}).items() if value is not None}

        async def once() -> httpx.Response:
            try:
                answer = await self._http.request(
                    method,
                    path,
                    params=kept,
                    content=content,
                    headers=sent,
                    timeout=httpx.Timeout(timeout_s, connect=CONNECT_TIMEOUT_S),
                )
            except httpx.TransportError as error:
                raise _Passing(self._away(error)) from error
            if answer.is_success:
                return answer
            raised = error_of(answer.status_code, answer.content)
            if is_passing(answer.status_code, answer.content):
                raise _Passing(raised, _retry_after(answer))
            raise raised

        answer = await self.retried(once)
        if answer.status_code == 204:
            return msgspec.convert(None, kind)
        try:
            return msgspec.json.decode(answer.content, type=kind)
        except msgspec.DecodeError as error:
            raise Unavailable(f"{self.address} answered what is none of Omium's: {error}") from None

    async def retried(self, once: Any) -> Any:
        """What ``once`` gives, tried again while its failure may pass."""
        try:
            async for attempt in AsyncRetrying(
                retry=retry_if_exception_type(_Passing),
                stop=stop_after_delay(self._retry_s),
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
