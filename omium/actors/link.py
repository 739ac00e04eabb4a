"""The lasting client side of a stream: it connects, and connects again.

Where there are several addresses, it goes from one to the next until somebody listens: of a
group of coordinators only the one that leads does. It knows nothing of what the messages mean.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias, cast

from omium.actors.transport import Codec, Connection, Handler
from omium.errors import NotLeading, OmiumError, ProtocolError, Unavailable

Address: TypeAlias = tuple[str, int]
"""A host and a port."""

CONNECT_TIMEOUT_S = 5.0
"""For one address: who is cut off answers nothing at all."""

SEVERAL_RETRY_S_MAX = 0.1
"""The longest pause where there are several addresses."""

HELD_S = 1.0
"""A peer that has held a request, or a connection, for so long was there. One that is about to
end, or that is no peer, drops it sooner."""


class Link:
    """See the module's docstring. It sends every unanswered request anew, so requests must be
    idempotent.
    """

    def __init__(
        self,
        addresses: Address | Sequence[Address],
        codec: Codec,
        secret: bytes,
        *,
        handler: Handler,
        greeting: Callable[[], Any] | None = None,
        retry_s: float = 0.05,
        retry_s_max: float = 1.0,
        on_refused: Callable[[], None] = lambda: None,
    ) -> None:
        """``addresses`` are tried in turn, with a pause after each round, from ``retry_s`` to
        ``retry_s_max``, and where there are several to ``SEVERAL_RETRY_S_MAX`` at most. A
        connection that was lost after ``HELD_S`` seconds or more is followed by the next at once.
        ``on_refused`` is called whenever nobody listens at one of them. ``greeting`` is sent first
        on every new connection."""
        self._addresses = addresses_of(addresses)
        self._on_refused = on_refused
        self._codec = codec
        self._secret = secret
        self._handler = handler
        self._greeting = greeting
        self._retry_s = retry_s
        # Who is refused everywhere waits for an election, which takes no longer than this.
        several = len(self._addresses) > 1
        self._retry_s_max = min(retry_s_max, SEVERAL_RETRY_S_MAX) if several else retry_s_max
        self._connection: Connection | None = None
        self._connected = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._closed = False
        self.refused: OmiumError | None = None
        """Why the peer turned us away for good, such as a wrong secret."""
        self.lost_at: float | None = asyncio.get_running_loop().time()
        """Loop time since when there has been no connection; None while there is one."""

    def open(self) -> None:
        """Start connecting in the background."""
        self._task = asyncio.create_task(self._keep_connected(), name="omium-link")

    async def close(self) -> None:
        """Stop connecting. Who waits for an answer gets ``Unavailable``."""
        self._closed = True
        self._connected.set()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self._connection is not None:
            self._connection.close()
            self._connection = None
            # The socket is let go of in the loop's next turn.
            await asyncio.sleep(0)

    async def call(
        self, body: Any, *, deadline_s: float = 60.0, again: Any = None, patient: bool = False
    ) -> Any:
        """Ask until answered; from the second time with ``again``, where that is given.

        Raises ``Unavailable`` after ``deadline_s`` seconds without an answer or once the link is
        closed, the peer's own error when it refused, and ``ProtocolError`` for an answer that
        cannot be read. Who is ``patient`` gives each peer so long anew, and gets ``Unavailable``
        from one that is silent, or when for so long there was none that held the request for
        ``HELD_S`` seconds."""
        loop = asyncio.get_running_loop()
        # For who is patient: until when there has to be one that holds the request.
        until_s = loop.time() + deadline_s
        try:
            async with asyncio.timeout_at(until_s) as limit:
                while True:
                    await self._connected.wait()
                    if self.refused is not None:
                        raise self.refused
                    if self._closed:
                        raise Unavailable("the link is closed")
                    connection = self._connection
                    if connection is None:
                        continue
                    await connection.drained()
                    asked_s = loop.time()
                    if patient:
                        limit.reschedule(asked_s + deadline_s)
                    try:
                        return await connection.request(body)
                    except NotLeading:
                        # Deposed while it was asked, and about to hang up: ask the next leader.
                        connection.close()
                    except Unavailable:
                        if not connection.closed:
                            raise
                    if patient:
                        lost_s = loop.time()
                        if lost_s - asked_s >= HELD_S:
                            until_s = lost_s + deadline_s
                        if lost_s >= until_s:
                            raise TimeoutError
                        limit.reschedule(until_s)
                    if self._connection is connection:
                        self._connected.clear()
                    body = again if again is not None else body
        except TimeoutError as error:
            raise Unavailable(
                f"no answer from the coordinator at {self._where} within {deadline_s:g} s"
            ) from error

    def send(self, body: Any) -> None:
        """Send a message that may be lost."""
        if self._connection is not None:
            self._connection.send(body)

    @property
    def writable(self) -> bool:
        """Whether what is sent now can be on its way soon."""
        return self._connection is not None and self._connection.writable

    @property
    def _where(self) -> str:
        return ", ".join(f"{host}:{port}" for host, port in self._addresses)

    async def _keep_connected(self) -> None:
        loop = asyncio.get_running_loop()
        failed_pause_s = dropped_pause_s = self._retry_s
        for number in itertools.count():
            address = self._addresses[number % len(self._addresses)]
            last_of_round = (number + 1) % len(self._addresses) == 0
            try:
                connection, lost = await self._connect(address)
            except ProtocolError as error:
                self.refused = error
                self._connected.set()
                return
            except (OSError, Unavailable) as error:
                if isinstance(error, ConnectionRefusedError):
                    self._on_refused()
                if last_of_round:
                    failed_pause_s = await self._pause(failed_pause_s)
                continue
            failed_pause_s = self._retry_s
            self._connection = connection
            self.lost_at = None
            made_s = loop.time()
            if self._greeting is not None:
                connection.send(self._greeting())
            self._connected.set()
            await lost
            self._connection = None
            self._connected.clear()
            self.lost_at = loop.time()
            if self.lost_at - made_s >= HELD_S:
                dropped_pause_s = self._retry_s
            elif last_of_round:
                dropped_pause_s = await self._pause(dropped_pause_s)

    async def _pause(self, pause_s: float) -> float:
        """Sleep, and return for how long to sleep the next time."""
        await asyncio.sleep(pause_s)
        return min(pause_s * 2, self._retry_s_max)

    async def _connect(self, address: Address) -> tuple[Connection, asyncio.Future[None]]:
        """A connection that is ready, and what is done when it is lost. Raises ``OSError`` and
        ``Unavailable``, and ``ProtocolError`` where the peer turns us away."""
        loop = asyncio.get_running_loop()
        ready: asyncio.Future[Connection] = loop.create_future()
        lost: asyncio.Future[None] = loop.create_future()
        # Nobody asks it why where connecting was cut short.
        ready.add_done_callback(lambda done: done.cancelled() or done.exception())

        def on_closed(_: Connection, error: Exception | None) -> None:
            if not ready.done():
                ready.set_exception(error or Unavailable("closed in the handshake"))
            if not lost.done():
                lost.set_result(None)

        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            _, opened = await loop.create_connection(
                lambda: Connection(
                    self._codec,
                    self._secret,
                    serving=False,
                    handler=self._handler,
                    on_ready=ready.set_result,
                    on_closed=on_closed,
                ),
                *address,
            )
        try:
            return await ready, lost
        except asyncio.CancelledError:
            opened.close()
            raise


def addresses_of(addresses: Address | Sequence[Address]) -> Sequence[Address]:
    """One address, or several, as several."""
    first = addresses[0]
    return (cast("Address", addresses),) if isinstance(first, str) else cast("Any", addresses)
