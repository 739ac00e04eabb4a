"""Sending one message: the name is resolved, every address checked, one of them connected to.

Owns the sockets. Follows no redirect, asks no proxy, keeps no connection and reads no answer
beyond its headers, which are all that counts.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeAlias

import httpx

from omium.errors import InputError
from omium.webhooks.decisions import Answer
from omium.webhooks.targets import ADDRESSES_MAX, Allowed, Target, reachable, target

TIMEOUT_S = 10.0
RESOLVERS = 8
USER_AGENT = "Omium-Webhooks/1"

Resolve: TypeAlias = Callable[[str, int], Awaitable[Sequence[str]]]
"""The addresses of a host, as text. Raises ``OSError``."""


class Post:
    """Sends messages to whoever ``allow`` and the public internet hold. ``close`` it."""

    def __init__(
        self,
        allow: Allowed,
        *,
        timeout_s: float = TIMEOUT_S,
        resolve: Resolve | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """``tls`` says whose certificates are believed; the public authorities' if nothing."""
        self._allow = allow
        self._timeout_s = timeout_s
        self._tls = tls
        self._resolve = resolve or self._ask_system
        self._http: asyncio.Future[httpx.AsyncClient] | None = None
        # Its own, since the system's resolver may keep a thread for longer than anybody waits.
        self._threads: ThreadPoolExecutor | None = None

    async def send(self, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """POST ``body`` and say how that went; nothing that a receiver does is raised."""
        started_s = time.perf_counter()
        status: int | None = None
        error, retry_after_s = "", 0.0
        try:
            async with asyncio.timeout(self._timeout_s):
                status, retry_after_s = await self._post(target(url, self._allow), headers, body)
        except TimeoutError:
            error = f"no answer within {self._timeout_s:g} s"
        except InputError as refused:
            error = str(refused)
        except OSError as failure:
            error = f"its name cannot be resolved: {failure.strerror or failure}"
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as failure:
            error = f"{type(failure).__name__}: {failure}"
        else:
            error = _told(status)
        took_ms = round((time.perf_counter() - started_s) * 1_000)
        return Answer(status=status, error=error, took_ms=took_ms, retry_after_s=retry_after_s)

    async def _post(
        self, aim: Target, headers: Mapping[str, str], body: bytes
    ) -> tuple[int, float]:
        http = await self._client()
        addresses = reachable(aim, await self._resolve(aim.host, aim.port), self._allow)
        failure: httpx.TransportError | None = None
        for address in addresses:
            request = _request(http, aim, address, headers, body)
            try:
                response = await http.send(request, stream=True)
            except (httpx.ConnectError, httpx.ConnectTimeout) as error:
                # Nothing was sent. A host may be out of reach by one protocol and not the other.
                failure = error
                continue
            try:
                return response.status_code, _seconds(response.headers.get("retry-after", ""))
            finally:
                await response.aclose()
        assert failure is not None, "a name without addresses is not reachable"
        raise failure

    async def close(self) -> None:
        if self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)
        http, self._http = self._http, None
        if http is not None:
            http.cancel()
            if http.done() and not http.cancelled() and http.exception() is None:
                await http.result().aclose()

    async def _client(self) -> httpx.AsyncClient:
        """Made when it is first needed, and in a thread: reading certificates takes its time."""
        if self._http is None:
            self._http = asyncio.ensure_future(asyncio.to_thread(self._made))
        try:
            return await asyncio.shield(self._http)
        except Exception:
            self._http = None
            raise

    def _made(self) -> httpx.AsyncClient:
        # A connection that is kept is found again by its address, whosever certificate was
        # shown there: so none is kept.
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)
        timeout = httpx.Timeout(self._timeout_s, connect=self._timeout_s / ADDRESSES_MAX)
        return httpx.AsyncClient(
            verify=self._tls if self._tls is not None else True,
            timeout=timeout,
            trust_env=False,
            follow_redirects=False,
            limits=limits,
        )

    async def _ask_system(self, host: str, port: int) -> Sequence[str]:
        if self._threads is None:
            self._threads = ThreadPoolExecutor(RESOLVERS, thread_name_prefix="omium-resolver")
        found = await asyncio.get_running_loop().run_in_executor(
            self._threads, lambda: socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        )
        return [str(address[0]) for *_, address in found]


def _request(
    http: httpx.AsyncClient, aim: Target, address: str, headers: Mapping[str, str], body: bytes
) -> httpx.Request:
    place = f"[{address}]" if ":" in address else address
    return http.build_request(
        "POST",
        f"{aim.scheme}://{place}:{aim.port}{aim.path}",
        content=body,
        headers={
            **headers,
            "host": aim.authority,
            "content-type": "application/json",
            "user-agent": USER_AGENT,
            "connection": "close",
        },
        # The certificate must be the host's, though its address is what is connected to.
        extensions={"sni_hostname": aim.host.rstrip(".")},
    )


def _told(status: int) -> str:
    if 200 <= status < 300:
        return ""
    if 300 <= status < 400:
        return f"answered {status}: redirects are not followed"
    return f"answered {status}"


def _seconds(retry_after: str) -> float:
    """``Retry-After`` in seconds; a date says nothing to a clock that may be another one."""
    given = retry_after.strip()
    return float(given) if given.isascii() and given.isdecimal() and len(given) < 10 else 0.0
