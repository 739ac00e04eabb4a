"""Authenticated streams of small messages between the parts of a runtime.

A frame is a four-byte big-endian length and a MessagePack array ``[id, reply_to, body]``.
Both ends may ask and both may answer. Before anything else each end proves that it knows the
runtime's secret (HMAC-SHA-256 over both nonces); the secret itself never crosses.

This module knows nothing of what the messages mean.
"""

from __future__ import annotations

import asyncio
import hmac
import secrets
import struct
from collections.abc import Awaitable, Callable
from typing import Any, cast

import msgspec

from omium.errors import OmiumError, ProtocolError, Unavailable, rebuilt

FRAME_BYTES_MAX = 8 * 1024 * 1024
WRITE_BUFFER_BYTES_MAX = 4 * 1024 * 1024
HANDSHAKE_TIMEOUT_S = 10.0
REQUESTS_IN_FLIGHT_MAX = 4_096
PROTOCOL = b"omium/1"

_LENGTH = struct.Struct(">I")
_NONCE_BYTES = 32


class ErrorReply(msgspec.Struct, frozen=True, tag_field="m", tag="error"):
    """The answer to a request that raised: the error's kind and raw arguments."""

    kind: str
    args: list[Any]


class Codec:
    """Encodes and decodes frames whose body is one of ``messages``, a union of tagged structs."""

    def __init__(self, messages: Any, *, frame_bytes_max: int = FRAME_BYTES_MAX) -> None:
        self.frame_bytes_max = frame_bytes_max
        self._encoder = msgspec.msgpack.Encoder()
        self._decoder = msgspec.msgpack.Decoder(tuple[int, int, messages | ErrorReply])
        self._unread = msgspec.msgpack.Decoder(tuple[int, int, msgspec.Raw])

    def encode(self, identifier: int, reply_to: int, body: Any) -> bytes:
        data = self._encoder.encode((identifier, reply_to, body))
        if len(data) > self.frame_bytes_max:
            raise ProtocolError(
                f"{type(body).__name__} of {len(data)} bytes is over the frame's "
                f"limit of {self.frame_bytes_max}"
            )
        return _LENGTH.pack(len(data)) + data

    def decode(self, data: bytes) -> tuple[int, int, Any]:
        """A frame's id, the id that it answers, and its body. An answer that is none of this
        version's is an error for who asked, and for nobody else. Raises ``ProtocolError`` for
        any other frame that cannot be read."""
        try:
            return self._decoder.decode(data)
        except msgspec.DecodeError as error:
            raised = ProtocolError(f"a frame that no version allows: {error}")
            reply_to = self._asked_by(data)
            if not reply_to:
                raise raised from error
            return 0, reply_to, error_reply(raised)

    def _asked_by(self, data: bytes) -> int:
        try:
            return self._unread.decode(data)[1]
        except msgspec.DecodeError:
            return 0


Handler = Callable[["Connection", Any, Callable[[Any], None]], None]
"""Called with each request and the function that answers it, which may be called later."""


class Connection(asyncio.Protocol):
    """One authenticated stream. ``handler`` is called in the event loop and must not block."""

    def __init__(
        self,
        codec: Codec,
        secret: bytes,
        *,
        serving: bool,
        handler: Handler,
        on_ready: Callable[[Connection], None],
        on_closed: Callable[[Connection, Exception | None], None],
        on_made: Callable[[Connection], None] | None = None,
    ) -> None:
        self._codec = codec
        self._secret = secret
        self._serving = serving
        self._handler = handler
        self._on_ready = on_ready
        self._on_closed = on_closed
        self._on_made = on_made
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._nonce = secrets.token_bytes(_NONCE_BYTES)
        self._peer_nonce: bytes | None = None
        self._ready = False
        self._next_id = 0
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._writable = asyncio.Event()
        self._writable.set()
        self._timer: asyncio.TimerHandle | None = None
        self._error: Exception | None = None
        self._gathered: list[bytes] = []
        self._gathered_bytes = 0

    # ------------------------------------------------------------ asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Not checked with isinstance: uvloop, which Ray runs actors on, has a class of its own.
        self._transport = stream = cast("asyncio.Transport", transport)
        stream.set_write_buffer_limits(high=WRITE_BUFFER_BYTES_MAX)
        self._timer = asyncio.get_running_loop().call_later(
            HANDSHAKE_TIMEOUT_S, self._fail, Unavailable("the handshake took too long")
        )
        stream.write(PROTOCOL + self._nonce)
        if self._on_made is not None:
            self._on_made(self)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        try:
            if not self._ready and not self._shake_hands():
                return
            self._read_frames()
        except OmiumError as error:
            self._fail(error)

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._writable.set()
        error = self._error or exc
        waiting, self._waiting = self._waiting, {}
        for future in waiting.values():
            if not future.done():
                future.set_exception(Unavailable(f"the connection was lost: {error or 'closed'}"))
        self._transport = None
        self._on_closed(self, error)

    # ------------------------------------------------------------ handshake

    def _shake_hands(self) -> bool:
        greeting = len(PROTOCOL) + _NONCE_BYTES
        if self._peer_nonce is None:
            if len(self._buffer) < greeting:
                return False
            if not self._buffer.startswith(PROTOCOL):
                raise ProtocolError("the peer does not speak omium/1")
            self._peer_nonce = bytes(self._buffer[len(PROTOCOL) : greeting])
            del self._buffer[:greeting]
            self._write(self._proof(self._serving))
        if len(self._buffer) < 32:
            return False
        proof = bytes(self._buffer[:32])
        del self._buffer[:32]
        if not hmac.compare_digest(proof, self._proof(not self._serving)):
            raise ProtocolError("the peer does not know this runtime's secret")
        self._ready = True
        if self._timer is not None:
            self._timer.cancel()
        self._on_ready(self)
        return True

    def _proof(self, of_server: bool) -> bytes:
        mine, theirs = self._nonce, self._peer_nonce or b""
        pair = mine + theirs if self._serving else theirs + mine
        role = b"server" if of_server else b"client"
        return hmac.digest(self._secret, PROTOCOL + role + pair, "sha256")

    # ------------------------------------------------------------ frames

    def _read_frames(self) -> None:
        buffer = self._buffer
        position = 0
        while len(buffer) - position >= 4:
            (length,) = _LENGTH.unpack_from(buffer, position)
            if length > self._codec.frame_bytes_max:
                raise ProtocolError(
                    f"a frame of {length} bytes is over {self._codec.frame_bytes_max}"
                )
            if len(buffer) - position - 4 < length:
                break
            frame = bytes(memoryview(buffer)[position + 4 : position + 4 + length])
            position += 4 + length
            identifier, reply_to, body = self._codec.decode(frame)
            if reply_to:
                self._settle(reply_to, body)
            else:
                self._handler(self, body, lambda answer, i=identifier: self._answer(i, answer))
        del buffer[:position]

    def _settle(self, identifier: int, body: Any) -> None:
        future = self._waiting.pop(identifier, None)
        if future is None or future.done():
            return
        if isinstance(body, ErrorReply):
            future.set_exception(rebuilt(body.kind, body.args))
        else:
            future.set_result(body)

    def _answer(self, identifier: int, body: Any) -> None:
        if not identifier:
            return
        try:
            frame = self._codec.encode(0, identifier, body)
        except ProtocolError as error:
            # Too large to be said; who asked is told so instead of being left to wait.
            frame = self._codec.encode(0, identifier, error_reply(error))
        self._gather(frame)

    def _gather(self, frame: bytes) -> None:
        """Write with what else comes in this turn of the event loop: a system call for all of
        it, where a batch of commits answers many."""
        if not self._gathered:
            asyncio.get_running_loop().call_soon(self._flush)
        self._gathered.append(frame)
        self._gathered_bytes += len(frame)
        if self._gathered_bytes > WRITE_BUFFER_BYTES_MAX:
            self._flush()

    def _flush(self) -> None:
        if self._gathered:
            frames, self._gathered, self._gathered_bytes = self._gathered, [], 0
            self._write(b"".join(frames))

    def _write(self, data: bytes) -> None:
        # A closed connection drops what is said to it: whoever waits is told by `_on_closed`.
        if self._transport is not None:
            self._transport.write(data)

    def _fail(self, error: Exception) -> None:
        self._error = error
        if self._transport is not None:
            self._transport.abort()

    # ------------------------------------------------------------ for the owner

    @property
    def closed(self) -> bool:
        return self._transport is None

    def send(self, body: Any) -> None:
        """Send a message that wants no answer, at once."""
        frame = self._codec.encode(0, 0, body)
        self._flush()
        self._write(frame)

    @property
    def writable(self) -> bool:
        """Whether the peer has read enough of what was sent for more to be sent."""
        return self._transport is not None and self._writable.is_set()

    async def drained(self) -> None:
        """Wait until the peer has read enough of what was sent."""
        await self._writable.wait()

    def request(self, body: Any) -> asyncio.Future[Any]:
        """Send a request. The future raises ``Unavailable`` when the connection is lost, the
        peer's own error when it refused, and ``ProtocolError`` for an answer that cannot be read,
        which a retry does not change. Raises ``Unavailable`` when too many requests
        wait already, and ``ProtocolError`` for a body over the frame's limit."""
        if len(self._waiting) >= REQUESTS_IN_FLIGHT_MAX:
            raise Unavailable(f"{REQUESTS_IN_FLIGHT_MAX} requests are waiting for an answer")
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        if self._transport is None:
            future.set_exception(Unavailable("the connection is closed"))
            return future
        self._next_id += 1
        frame = self._codec.encode(self._next_id, 0, body)
        self._waiting[self._next_id] = future
        self._gather(frame)
        return future

    def close(self) -> None:
        """Close after what was written has been sent."""
        self._flush()
        if self._transport is not None:
            self._transport.close()


def error_reply(error: OmiumError) -> ErrorReply:
    return ErrorReply(kind=error.kind, args=list(error.args))


Accept = Callable[[Connection], None]


async def serve(
    host: str,
    port: int,
    codec: Codec,
    secret: bytes,
    *,
    handler: Handler,
    on_made: Accept,
    on_closed: Callable[[Connection, Exception | None], None],
    on_ready: Accept = lambda _: None,
) -> asyncio.Server:
    """Listen for connections. Port 0 lets the system choose.

    ``on_made`` is called with each one, ``on_ready`` once it has proved to know the secret:
    closing the server closes neither, so its owner has to.
    """
    return await asyncio.get_running_loop().create_server(
        lambda: Connection(
            codec,
            secret,
            serving=True,
            handler=handler,
            on_ready=on_ready,
            on_closed=on_closed,
            on_made=on_made,
        ),
        host,
        port,
        reuse_address=True,
        backlog=512,
    )


async def stop_listening(server: asyncio.Server) -> None:
    """Close a server, and lose track of none of the connections that it has just accepted.

    Before Python 3.12 asyncio drops a socket, without closing it, whose server is closed between
    its acceptance and the next turn of the loop.
    """
    loop = asyncio.get_running_loop()
    if isinstance(loop, asyncio.SelectorEventLoop):
        for listening in server.sockets:
            loop.remove_reader(listening.fileno())
        await asyncio.sleep(0)
    server.close()


Answer = Callable[[Any], None]


def answer_later(
    work: Callable[[], Awaitable[Any]], answer: Answer, tasks: set[asyncio.Task[None]]
) -> None:
    """Run ``work`` as a task kept in ``tasks`` and answer with its result or its error."""

    async def run() -> None:
        try:
            answer(await work())
        except OmiumError as error:
            answer(error_reply(error))

    task = asyncio.ensure_future(run())
    tasks.add(task)
    task.add_done_callback(tasks.discard)
