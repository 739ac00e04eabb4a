"""Live streams: each event once and in order, whatever happens to server, client or line."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
import websockets

from omium.testing.script import Answer, Rule
from omium.types import TenantId
from tests.actors.gates import gate
from tests.serve.api.stage import WAIT_S, Sent, Served, events, served

DEFAULT = TenantId("default")


@asynccontextmanager
async def stream(s: Served, execution: str, **headers: str) -> AsyncIterator[AsyncIterator[Sent]]:
    """The events of an execution as they come."""
    url = f"/v1/executions/{execution}/events"
    async with s.http.stream("GET", url, headers=headers) as answer:
        assert answer.status_code == 200, await answer.aread()
        yield events(answer)


async def until(told: AsyncIterator[Sent], event: str) -> list[Sent]:
    """What is told up to the first of that event."""
    seen: list[Sent] = []
    async with asyncio.timeout(WAIT_S):
        async for one in told:
            seen.append(one)
            if one.event == event:
                return seen
    raise AssertionError(f"the stream ended without {event}: {[one.event for one in seen]}")


async def free(s: Served) -> None:
    """Wait until no stream is open any more."""
    async with asyncio.timeout(WAIT_S):
        while s.api.slots.open_of(DEFAULT):  # noqa: ASYNC110 - nobody announces it
            await asyncio.sleep(0.01)


def ids(told: list[Sent]) -> list[int]:
    return [one.id for one in told if one.id is not None]


async def test_a_stream_that_was_cut_goes_on_where_it_was(tmp_path: Path) -> None:
    async with served(tmp_path) as s:
        await s.register()
        with gate() as held:
            execution = await s.run({"checkpoint": "one"}, {"hold": held.name})
            async with stream(s, execution) as told:
                first = await until(told, "step.completed")
            held.open()
            async with stream(s, execution, **{"last-event-id": str(ids(first)[-1])}) as told:
                rest = await until(told, "end")
        both = ids(first) + ids(rest)
        assert both == list(range(1, len(both) + 1))
        again = await s.http.get(
            f"/v1/executions/{execution}/events", headers={"last-event-id": str(both[-1])}
        )
        assert again.status_code == 204
        beyond = await s.http.get(f"/v1/executions/{execution}/events?after={both[-1] + 1}")
        assert (beyond.status_code, beyond.json()["type"]) == (422, "urn:omium:problem:invalid")
        await free(s)


async def test_a_restart_of_the_coordinator_is_not_seen(tmp_path: Path) -> None:
    async with served(tmp_path) as s:
        await s.register()
        with gate() as held:
            execution = await s.run({"ask": "one"}, {"hold": held.name}, {"ask": "two"})
            async with stream(s, execution) as told:
                first = await until(told, "call.completed")
                await held.reached()
                await s.stage.runtime.stop_coordinator()
                await s.stage.runtime.start_coordinator()
                held.open()
                rest = await until(told, "end")
        both = ids(first) + ids(rest)
        assert both == list(range(1, len(both) + 1))
        assert rest[-1].data == {"status": "completed"}


@pytest.mark.parametrize("streamed", [True, False], ids=["streamed", "whole"])
async def test_pieces_of_answers_come_before_the_answer(tmp_path: Path, streamed: bool) -> None:
    rules = [Rule(answer=Answer(content="one two three", chunks=3, chunk_delay_s=0.1))]
    async with served(tmp_path, rules) as s:
        await s.register()
        with gate() as held:
            execution = await s.run({"hold": held.name}, {"ask": "x", "stream": streamed})
            async with stream(s, execution) as told:
                await until(told, "attempt.started")
                held.open()
                seen = await until(told, "end")
        pieces = [one for one in seen if one.event == "delta"]
        assert "".join(one.data["text"] for one in pieces) == "one two three"
        assert all(one.id is None and one.data["agent"] == "doer" for one in pieces)
        kinds = [one.event for one in seen]
        assert kinds.index("delta") < kinds.index("call.completed")


async def test_a_pause_is_waited_through_with_heartbeats(tmp_path: Path) -> None:
    async with served(tmp_path, settings={"heartbeat_s": 0.05}) as s:
        await s.register()
        with gate() as held:
            execution = await s.run({"hold": held.name})
            await held.reached()
            async with stream(s, execution) as told:
                await s.http.post(f"/v1/executions/{execution}/interrupt")
                await until(told, "execution.paused")
                assert len(await until(told, ":")) == 1
                held.open()
                await s.http.post(f"/v1/executions/{execution}/resume")
                assert (await until(told, "end"))[-1].data == {"status": "completed"}


async def test_a_client_that_leaves_frees_its_place(tmp_path: Path) -> None:
    async with served(tmp_path, settings={"streams_per_key_max": 1}) as s:
        await s.register()
        with gate() as held:
            execution = await s.run({"hold": held.name})
            async with stream(s, execution) as told:
                await until(told, "execution.created")
                full = await s.http.get(f"/v1/executions/{execution}/events")
                assert full.status_code == 429
                assert full.json()["limit"] == {"name": "streams_per_key_max", "max": 1}
                assert int(full.headers["retry-after"]) > 0
            await free(s)
            async with stream(s, execution) as told:
                held.open()
                await until(told, "end")


async def test_a_client_that_takes_nothing_is_let_go(tmp_path: Path) -> None:
    """Its place is free although it never closed, and others were not held up."""
    async with served(tmp_path, settings={"stall_s": 0.2}) as s:
        await s.register()
        execution = await s.run({"padding": "x" * 3_000_000})
        await s.result(execution)
        host, port = s.url.removeprefix("http://").split(":")
        # Little room between the two, so that the server notices.
        line = socket.socket()
        line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        line.connect((host, int(port)))
        reader, writer = await asyncio.open_connection(sock=line, limit=1_024)
        writer.write(
            f"GET /v1/executions/{execution}/events HTTP/1.1\r\nhost: x\r\n"
            f"authorization: Bearer {s.key}\r\n\r\n".encode()
        )
        await reader.readline()
        assert s.api.slots.open_of(DEFAULT) == 1
        await free(s)
        writer.close()


# ------------------------------------------------------------------ WebSocket


def socket_url(s: Served, execution: str, after: int = 0) -> str:
    return f"{s.url.replace('http', 'ws', 1)}/v1/executions/{execution}/events?after={after}"


async def messages(socket: websockets.ClientConnection) -> list[dict[str, Any]]:
    """All that comes until the end."""
    told: list[dict[str, Any]] = []
    async with asyncio.timeout(WAIT_S):
        with suppress(websockets.ConnectionClosedError):
            async for text in socket:
                told.append(json.loads(text))  # noqa: PERF401 - kept when the rest is cut off
    return told


async def test_a_socket_tells_the_same(tmp_path: Path) -> None:
    async with served(tmp_path) as s:
        await s.register()
        with gate() as held:
            execution = await s.run({"checkpoint": "one"}, {"hold": held.name})
            url = socket_url(s, execution)
            async with websockets.connect(
                url, additional_headers={"authorization": f"Bearer {s.key}"}
            ) as web:
                first = json.loads(await web.recv())
                assert (first["id"], first["event"]) == (1, "execution.created")
                held.open()
                told = [first, *await messages(web)]
                assert web.close_code == 1000
        assert told[-1] == {"id": None, "event": "end", "data": {"status": "completed"}}
        numbers = [one["id"] for one in told if one["id"] is not None]
        assert numbers == list(range(1, len(numbers) + 1))
        journal = (await s.http.get(f"/v1/executions/{execution}/journal")).json()["entries"]
        assert [one["data"] for one in told if one["id"] is not None] == journal
        # The key in the first message, and a cursor at the end.
        async with websockets.connect(socket_url(s, execution, numbers[-1])) as web:
            await web.send(json.dumps({"authorization": f"Bearer {s.key}"}))
            assert await messages(web) == [told[-1]]
        await free(s)


async def test_a_socket_says_what_is_wrong(tmp_path: Path) -> None:
    async with served(tmp_path) as s:
        await s.register()
        execution = await s.run()
        stranger = await s.key_of("stranger")
        bad = {"authorization": "Bearer nonsense"}
        for url, first, code in (
            (socket_url(s, execution), json.dumps(bad), 4401),
            (socket_url(s, execution), "?", 4401),
            (socket_url(s, execution), json.dumps({"authorization": f"Bearer {stranger}"}), 4404),
            (socket_url(s, "ex_0"), json.dumps({"authorization": f"Bearer {s.key}"}), 4404),
            (socket_url(s, execution, -1), json.dumps({"authorization": f"Bearer {s.key}"}), 4422),
        ):
            async with websockets.connect(url) as web:
                await web.send(first)
                (told,) = await messages(web)
                assert told["event"] == "problem" and told["data"]["status"] == code - 4000
                assert web.close_code == code
        await free(s)


async def test_a_socket_that_is_closed_frees_its_place(tmp_path: Path) -> None:
    async with served(tmp_path) as s:
        await s.register()
        with gate() as held:
            execution = await s.run({"hold": held.name})
            headers = {"authorization": f"Bearer {s.key}"}
            async with websockets.connect(
                socket_url(s, execution), additional_headers=headers
            ) as web:
                await web.recv()
                assert s.api.slots.open_of(DEFAULT) == 1
            await free(s)


async def test_a_stream_without_an_execution_is_a_problem(tmp_path: Path) -> None:
    async with served(tmp_path) as s:
        answer: httpx.Response = await s.http.get("/v1/executions/ex_0/events")
        assert (answer.status_code, answer.json()["type"]) == (404, "urn:omium:problem:not_found")
