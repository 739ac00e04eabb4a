"""Streams between the parts: the handshake, requests and answers, bounds, and reconnection."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, cast

import msgspec
import pytest

from omium.actors import messages as m
from omium.actors import transport
from omium.actors.client import Client, reading
from omium.actors.link import Link
from omium.actors.transport import Answer, Codec, Connection, error_reply, serve
from omium.clock import ManualClock
from omium.errors import DeadlineExceeded, NotFound, OmiumError, ProtocolError, Unavailable
from omium.execution.machine import Refusal
from omium.execution.records import Payload
from omium.types import ExecutionId

CODEC = Codec(m.Messages)
SECRET = b"s" * 32
HOST = "127.0.0.1"
ASK = m.GetExecution(execution_id=ExecutionId("ex_1"))
STOPPED = m.Entries(entries=(), stopped=True)


class Peer:
    """A server that answers by ``handler`` and remembers what happened to it."""

    def __init__(self, handler: Callable[[Connection, Any, Answer], None]) -> None:
        self.handler = handler
        self.asked: list[Any] = []
        self.ready: asyncio.Queue[Connection] = asyncio.Queue()
        self.closed: asyncio.Queue[Exception | None] = asyncio.Queue()
        self.open: set[Connection] = set()
        self.port = 0
        self._heard = asyncio.Event()
        self._server: asyncio.Server | None = None

    async def start(self, secret: bytes = SECRET) -> None:
        self._server = await serve(
            HOST,
            self.port,
            CODEC,
            secret,
            handler=self._handle,
            on_made=self.open.add,
            on_ready=self._on_ready,
            on_closed=self._on_closed,
        )
        self.port = self._server.sockets[0].getsockname()[1]

    def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        for connection in list(self.open):
            connection.close()

    def _on_ready(self, connection: Connection) -> None:
        self.ready.put_nowait(connection)

    def _on_closed(self, connection: Connection, error: Exception | None) -> None:
        self.open.discard(connection)
        self.closed.put_nowait(error)

    def _handle(self, connection: Connection, message: Any, answer: Answer) -> None:
        self.asked.append(message)
        heard, self._heard = self._heard, asyncio.Event()
        heard.set()
        self.handler(connection, message, answer)

    async def heard(self, times: int) -> None:
        """Wait until so much was asked."""
        while len(self.asked) < times:
            await self._heard.wait()


@asynccontextmanager
async def peer(
    handler: Callable[[Connection, Any, Answer], None], **options: Any
) -> AsyncIterator[Peer]:
    made = Peer(handler)
    await made.start(**options)
    try:
        yield made
    finally:
        made.stop()
        async with asyncio.timeout(5):
            while made.open:
                await made.closed.get()


@asynccontextmanager
async def link(
    p: Peer, secret: bytes = SECRET, handler: Callable[..., None] | None = None, **options: Any
) -> AsyncIterator[Link]:
    made = Link((HOST, p.port), CODEC, secret, handler=handler or refuse, **options)
    made.open()
    try:
        yield made
    finally:
        await made.close()


def done(_: Connection, __: Any, answer: Answer) -> None:
    answer(m.Done())


def refuse(_: Connection, message: Any, __: Answer) -> None:
    raise ProtocolError(f"nobody asked for {type(message).__name__}")


def silent(_: Connection, __: Any, ___: Answer) -> None:
    """Never answers."""


# ------------------------------------------------------------------ the handshake


async def test_a_wrong_secret_is_refused_on_both_sides() -> None:
    async with peer(done) as p, link(p, secret=b"x" * 32) as client:
        with pytest.raises(ProtocolError, match="does not know this runtime's secret"):
            await client.call(ASK, deadline_s=5)
        assert isinstance(client.refused, ProtocolError)
        async with asyncio.timeout(5):
            assert isinstance(await p.closed.get(), ProtocolError | ConnectionError)
    assert p.ready.empty()
    assert p.asked == []


async def test_a_peer_without_the_secret_gets_nothing_but_a_nonce_and_a_proof() -> None:
    async with peer(done) as p:
        reader, writer = await asyncio.open_connection(HOST, p.port)
        greeting = await reader.readexactly(len(transport.PROTOCOL) + 32)
        assert greeting.startswith(transport.PROTOCOL)
        # The server's own words sent back to it: a reflected proof must not do.
        writer.write(greeting)
        proof = await reader.readexactly(32)
        assert SECRET not in greeting + proof
        writer.write(proof + CODEC.encode(1, 0, ASK))
        assert await end_of(reader) == b""
        writer.close()
        async with asyncio.timeout(5):
            error = await p.closed.get()
    assert isinstance(error, ProtocolError)
    assert p.asked == []


@pytest.mark.parametrize(
    "garbage", [b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n" + b" " * 64, b"\0" * 100]
)
async def test_a_stranger_is_turned_away(garbage: bytes) -> None:
    async with peer(done) as p:
        reader, writer = await asyncio.open_connection(HOST, p.port)
        writer.write(garbage)
        await end_of(reader)
        writer.close()
        async with asyncio.timeout(5):
            error = await p.closed.get()
    assert isinstance(error, ProtocolError)
    assert "does not speak omium/1" in str(error)


async def test_a_silent_stranger_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "HANDSHAKE_TIMEOUT_S", 0.05)
    async with peer(done) as p:
        reader, writer = await asyncio.open_connection(HOST, p.port)
        await end_of(reader)
        writer.close()
        async with asyncio.timeout(5):
            error = await p.closed.get()
    assert "took too long" in str(error)


async def test_a_slow_handshake_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A peer that is too busy to shake hands has not turned anybody away."""
    p = Peer(done)
    mute = await asyncio.get_running_loop().create_server(asyncio.Protocol, HOST, 0)
    p.port = mute.sockets[0].getsockname()[1]
    monkeypatch.setattr(transport, "HANDSHAKE_TIMEOUT_S", 0.05)
    async with link(p) as client:
        with pytest.raises(Unavailable):
            await client.call(ASK, deadline_s=0.2)
        assert client.refused is None
        mute.close()
        monkeypatch.setattr(transport, "HANDSHAKE_TIMEOUT_S", 10)
        await p.start()
        assert await client.call(ASK, deadline_s=10) == m.Done()
    p.stop()


async def end_of(reader: asyncio.StreamReader) -> bytes:
    """What still comes until the peer hangs up."""
    async with asyncio.timeout(5):
        try:
            return await reader.read()
        except ConnectionError:
            return b""


# ------------------------------------------------------------------ requests and answers


async def test_both_ends_may_ask_and_answer() -> None:
    def ask_back(connection: Connection, message: Any, answer: Answer) -> None:
        back = connection.request(m.Heartbeat())
        back.add_done_callback(lambda told: answer(m.Appended(index=told.result().index + 1)))

    def on_client(_: Connection, message: Any, answer: Answer) -> None:
        assert isinstance(message, m.Heartbeat)
        answer(m.Appended(index=41))

    async with peer(ask_back) as p, link(p, handler=on_client) as client:
        assert await client.call(ASK, deadline_s=5) == m.Appended(index=42)


async def test_answers_find_their_requests_in_any_order() -> None:
    kept: list[tuple[int, Answer]] = []

    def later(_: Connection, message: m.ReadJournal, answer: Answer) -> None:
        kept.append((message.after, answer))
        if len(kept) == 50:
            for number, told in reversed(kept):
                told(m.Appended(index=number))

    async with peer(later) as p, link(p) as client:
        asked = [m.ReadJournal(execution_id=ExecutionId("ex"), after=n) for n in range(50)]
        answers = await asyncio.gather(*(client.call(one, deadline_s=5) for one in asked))
    assert [answer.index for answer in answers] == list(range(50))


async def test_an_error_comes_across_as_what_it_is() -> None:
    def fail(_: Connection, __: Any, answer: Answer) -> None:
        answer(error_reply(NotFound("execution", "ex_1", "look elsewhere")))

    async with peer(fail) as p, link(p) as client:
        with pytest.raises(NotFound, match="no execution 'ex_1'; look elsewhere") as raised:
            await client.call(ASK, deadline_s=5)
    assert raised.value.hint == "look elsewhere"


async def test_a_greeting_is_the_first_thing_said_on_every_connection() -> None:
    async with peer(done) as p, link(p, greeting=m.Heartbeat) as client:
        await client.call(ASK, deadline_s=5)
        (await p.ready.get()).close()
        await p.ready.get()
        await client.call(ASK, deadline_s=5)
    assert p.asked == [m.Heartbeat(), ASK, m.Heartbeat(), ASK]


# ------------------------------------------------------------------ losing the other end


async def test_a_link_reconnects_and_asks_again_what_was_not_answered() -> None:
    async with peer(silent) as p, link(p) as client:
        calls = [asyncio.create_task(client.call(ASK, deadline_s=20)) for _ in range(5)]
        async with asyncio.timeout(5):
            first = await p.ready.get()
            await p.heard(5)
        p.stop()
        async with asyncio.timeout(5):
            await p.closed.get()
        assert first.closed
        p.handler = done
        await p.start()
        assert await asyncio.gather(*calls) == [m.Done()] * 5
        assert client.lost_at is None
    assert len(p.asked) == 10


async def test_without_a_peer_a_call_ends_at_its_deadline() -> None:
    p = Peer(done)
    await p.start()
    p.stop()
    async with link(p) as client:
        with pytest.raises(Unavailable, match=r"no answer from the coordinator .* within 0.1 s"):
            await client.call(ASK, deadline_s=0.1)
        assert client.lost_at is not None


async def test_a_peer_that_does_not_answer_is_given_up_at_the_deadline() -> None:
    async with peer(silent) as p, link(p) as client:
        with pytest.raises(Unavailable, match=r"within 0.1 s"):
            await client.call(ASK, deadline_s=0.1)


class Flighty:
    """Hangs up ``times`` times, each time ``after_s`` seconds after it was asked; then answers."""

    def __init__(self, times: int, after_s: float, then: Any = STOPPED) -> None:
        self.left = times
        self._after_s = after_s
        self._then = then

    def __call__(self, connection: Connection, message: Any, answer: Answer) -> None:
        if self.left:
            self.left -= 1
            asyncio.get_running_loop().call_later(self._after_s, connection.close)
        else:
            answer(self._then)


async def test_who_is_patient_goes_on_as_long_as_there_is_somebody_to_ask(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("omium.actors.link.HELD_S", 0.3)
    async with peer(Flighty(times=3, after_s=0.4)) as p, link(p) as client:
        with pytest.raises(Unavailable, match=r"within 1 s"):
            await client.call(ASK, deadline_s=1)
        p.handler = again = Flighty(times=3, after_s=0.4)
        answer = await client.call(ASK, deadline_s=1, patient=True)
        assert (answer.stopped, again.left) == (True, 0)
        # Neither nobody nor one that is silent is waited for any longer.
        p.handler = silent
        with pytest.raises(Unavailable, match=r"within 0.3 s"):
            await client.call(ASK, deadline_s=0.3, patient=True)
        p.stop()
        with pytest.raises(Unavailable, match=r"within 0.3 s"):
            await client.call(ASK, deadline_s=0.3, patient=True)


async def test_who_is_patient_gives_up_one_that_drops_what_it_is_asked() -> None:
    drops = Flighty(times=100_000, after_s=0)
    async with peer(drops) as p, link(p, retry_s=0.02, retry_s_max=0.1) as client:
        for patient in (True, False):
            p.asked.clear()
            async with asyncio.timeout(10):
                with pytest.raises(Unavailable, match=r"within 1 s"):
                    await client.call(ASK, deadline_s=1, patient=patient)
            # The pauses between them grow: 0.02, 0.04, 0.08, and 0.1 s from there on.
            assert 2 <= len(p.asked) <= 13


async def test_a_connection_that_was_there_is_followed_by_the_next_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("omium.actors.link.HELD_S", 0.2)
    async with peer(Flighty(times=2, after_s=0.3)) as p, link(p, retry_s=60) as client:
        assert (await client.call(ASK, deadline_s=5)).stopped
        assert len(p.asked) == 3


async def test_of_several_the_next_is_asked_at_once_when_one_drops_the_request() -> None:
    async with peer(Flighty(times=100_000, after_s=0)) as first, peer(done) as second:
        client = Link(
            [(HOST, first.port), (HOST, second.port)], CODEC, SECRET, handler=refuse, retry_s=60
        )
        client.open()
        try:
            assert await client.call(ASK, deadline_s=5) == m.Done()
        finally:
            await client.close()
        assert (len(first.asked), len(second.asked)) == (1, 1)


async def test_a_result_is_waited_for_while_coordinators_come_and_go(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reading, "WAIT_DEADLINE_S", 1.0)
    monkeypatch.setattr("omium.actors.link.HELD_S", 0.3)
    flighty = Flighty(times=3, after_s=0.4)

    def handler(connection: Connection, message: Any, answer: Answer) -> None:
        if isinstance(message, m.ReadJournal):
            flighty(connection, message, answer)
        else:
            answer(error_reply(NotFound("execution", "ex_1", "it had ended")))

    async with peer(handler) as p:
        client = Client((HOST, p.port), SECRET, blobs=cast("Any", None), clock=ManualClock())
        client.open()
        try:
            with pytest.raises(DeadlineExceeded):
                await client.result(ExecutionId("ex_1"), timeout_s=0.2)
            with pytest.raises(NotFound, match="it had ended"):
                await client.result(ExecutionId("ex_1"))
            assert flighty.left == 0
            flighty.left = 3
            assert [entry async for entry in client.events(ExecutionId("ex_1"))] == []
            flighty.left = 3
            assert [news async for news in client.follow(ExecutionId("ex_1"))] == []
        finally:
            await client.close()


async def test_what_came_of_an_execution_is_waited_for_in_the_same_way(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reading, "WAIT_DEADLINE_S", 1.0)
    monkeypatch.setattr("omium.actors.link.HELD_S", 0.3)
    flighty = Flighty(times=3, after_s=0.4, then=error_reply(NotFound("execution", "ex_1", "gone")))
    views = flighty

    def handler(connection: Connection, message: Any, answer: Answer) -> None:
        if isinstance(message, m.ReadJournal):
            answer(STOPPED)
        else:
            views(connection, message, answer)

    async with peer(handler) as p:
        client = Client((HOST, p.port), SECRET, blobs=cast("Any", None), clock=ManualClock())
        client.open()
        try:
            async with asyncio.timeout(10):
                with pytest.raises(NotFound, match="gone"):
                    await client.result(ExecutionId("ex_1"))
                assert flighty.left == 0
                views = silent
                with pytest.raises(Unavailable, match="within 1 s"):
                    await client.result(ExecutionId("ex_1"))
                with pytest.raises(DeadlineExceeded):
                    await client.result(ExecutionId("ex_1"), timeout_s=0.2)
        finally:
            await client.close()


async def test_closing_a_link_ends_the_waiting_at_once() -> None:
    async with peer(silent) as p, link(p) as client:
        waiting = asyncio.create_task(client.call(ASK, deadline_s=60))
        async with asyncio.timeout(5):
            await p.heard(1)
            await client.close()
            with pytest.raises(Unavailable):
                await waiting
        with pytest.raises(Unavailable, match="closed"):
            await client.call(ASK, deadline_s=60)


# ------------------------------------------------------------------ bounds and damage


async def test_a_message_over_the_limit_is_not_sent_and_costs_nothing() -> None:
    big = m.Resume(
        execution_id=ExecutionId("ex"), answer=Payload(inline="x" * transport.FRAME_BYTES_MAX)
    )
    async with peer(done) as p, link(p) as client:
        await client.call(ASK, deadline_s=5)
        connection = client._connection
        assert connection is not None
        for _ in range(3):
            with pytest.raises(ProtocolError, match="over the frame's limit of 8388608"):
                await client.call(big, deadline_s=5)
        assert connection._waiting == {}
        assert await client.call(ASK, deadline_s=5) == m.Done()
        assert not connection.closed


async def test_an_answer_over_the_limit_is_an_error_and_no_silence() -> None:
    def much(_: Connection, __: Any, answer: Answer) -> None:
        answer(m.Refused(refusal=Refusal(code="conflict", message="x" * 9_000_000)))

    async with peer(much) as p, link(p) as client:
        with pytest.raises(ProtocolError, match="over the frame's limit"):
            await client.call(ASK, deadline_s=5)


@pytest.mark.parametrize(
    "frame",
    [
        struct.pack(">I", transport.FRAME_BYTES_MAX + 1),
        struct.pack(">I", 3) + b"\xc1\xc1\xc1",
        struct.pack(">I", 1) + b"\x80",
        struct.pack(">I", 0),
        struct.pack(">I", 4) + b"\x93\x01\x00\xa0",
    ],
    ids=["oversized", "invalid", "no array", "empty", "no message"],
)
async def test_a_frame_that_no_version_allows_ends_the_connection(frame: bytes) -> None:
    async with peer(done) as p, link(p) as client:
        await client.call(ASK, deadline_s=5)
        assert client._connection is not None
        client._connection._write(frame)
        async with asyncio.timeout(5):
            assert isinstance(await p.closed.get(), ProtocolError)
        # And the next one is none the worse for it.
        assert await client.call(ASK, deadline_s=5) == m.Done()


class OfLaterVersion(msgspec.Struct, tag_field="m", tag="of_a_later_version"):
    """What this version does not know."""


async def test_an_answer_that_cannot_be_read_is_an_error_for_who_asked() -> None:
    """As when a client is older than the coordinator: what it cannot read, it never will."""
    kept: list[Answer] = []

    def handler(_: Connection, message: Any, answer: Answer) -> None:
        if isinstance(message, m.ReadJournal):
            answer(OfLaterVersion())
        else:
            kept.append(answer)

    async with peer(handler) as p, link(p) as client:
        other = asyncio.create_task(client.call(ASK, deadline_s=5))
        async with asyncio.timeout(5):
            await p.heard(1)
        journal = m.ReadJournal(execution_id=ExecutionId("ex_1"), after=0)
        with pytest.raises(ProtocolError, match="a frame that no version allows"):
            await client.call(journal, deadline_s=1, patient=True)
        # Who asked something else over the same connection still waits for the answer.
        kept[0](m.Done())
        assert await other == m.Done()
        assert p.asked == [ASK, journal]


async def test_requests_under_way_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "REQUESTS_IN_FLIGHT_MAX", 3)
    held: list[Answer] = []

    def keep(_: Connection, __: Any, answer: Answer) -> None:
        held.append(answer)

    async with peer(keep) as p, link(p) as client:
        calls = [asyncio.create_task(client.call(ASK, deadline_s=5)) for _ in range(3)]
        async with asyncio.timeout(5):
            await p.heard(3)
        with pytest.raises(Unavailable, match="3 requests are waiting"):
            await client.call(ASK, deadline_s=5)
        for answer in held:
            answer(m.Done())
        assert await asyncio.gather(*calls) == [m.Done()] * 3
        assert not p.open or all(not connection.closed for connection in p.open)


async def test_frames_may_come_in_pieces_of_any_size() -> None:
    async with peer(done) as p, link(p) as client:
        await client.call(ASK, deadline_s=5)
        assert client._connection is not None
        frames = b"".join(CODEC.encode(0, 0, m.Heartbeat()) for _ in range(20))
        for position in range(0, len(frames), 7):
            client._connection._write(frames[position : position + 7])
            await asyncio.sleep(0)
        await client.call(ASK, deadline_s=5)
    assert p.asked == [ASK, *[m.Heartbeat()] * 20, ASK]


def test_every_error_survives_the_way_as_an_error() -> None:
    for error in (OmiumError("x"), NotFound("a", "b"), Unavailable("gone")):
        data = CODEC.encode(0, 7, error_reply(error))
        _, reply_to, body = CODEC.decode(data[4:])
        assert reply_to == 7
        assert body == error_reply(error)


class _Stream(asyncio.Transport):
    """Counts what is written to it."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written.append(bytes(data))

    def close(self) -> None:
        self.written.append(b"closed")


async def _connection() -> tuple[Connection, _Stream]:
    connection = Connection(
        CODEC,
        SECRET,
        serving=False,
        handler=lambda *_: None,
        on_ready=lambda _: None,
        on_closed=lambda *_: None,
    )
    stream = _Stream()
    connection.connection_made(stream)
    stream.written.clear()
    return connection, stream


async def test_requests_of_one_turn_are_one_write() -> None:
    connection, stream = await _connection()
    waiting = [connection.request(ASK) for _ in range(20)]
    assert stream.written == []
    await asyncio.sleep(0)
    assert len(stream.written) == 1
    connection.connection_lost(None)
    assert all(isinstance(future.exception(), Unavailable) for future in waiting)


async def test_what_is_sent_at_once_comes_after_what_was_gathered() -> None:
    connection, stream = await _connection()
    waiting = connection.request(ASK)
    connection.send(ASK)
    assert len(stream.written) == 2
    connection.close()
    await asyncio.sleep(0)
    assert stream.written[2:] == [b"closed"]
    connection.connection_lost(None)
    assert isinstance(waiting.exception(), Unavailable)


async def test_a_connection_that_is_closed_sends_what_was_gathered_first() -> None:
    connection, stream = await _connection()
    waiting = connection.request(ASK)
    connection.close()
    assert len(stream.written) == 2
    assert stream.written[1] == b"closed"
    connection.connection_lost(None)
    assert isinstance(waiting.exception(), Unavailable)


async def test_what_is_gathered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "WRITE_BUFFER_BYTES_MAX", 100)
    connection, stream = await _connection()
    waiting = [connection.request(ASK) for _ in range(20)]
    assert len(stream.written) > 1
    connection.connection_lost(None)
    assert all(isinstance(future.exception(), Unavailable) for future in waiting)
