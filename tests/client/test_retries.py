"""Requests that fail for a passing reason: made again, with the effect of one."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from omium.client import AsyncClient
from omium.errors import DeadlineExceeded, InputError, ModelUnreachable, PlatformError, Unavailable
from omium.ports import free_ports
from tests.client.stage import Cuttable, LosesAnswers
from tests.client.test_aio import doing
from tests.serve.api.stage import definition, served

PENDING = {"execution": "ex_1", "status": "queued"}


class Answers:
    """A service that answers as a test says, one answer after another."""

    def __init__(self, *answers: httpx.Response) -> None:
        self._answers = list(answers)
        self.asked: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        return self._answers.pop(0)

    def client(self, retry_s: float = 10.0) -> AsyncClient:
        return AsyncClient(
            "http://service", "omk_x", retry_s=retry_s, transport=httpx.MockTransport(self)
        )


def problem(status: int, kind: str, detail: str = "away", **more: Any) -> httpx.Response:
    body = {"type": f"urn:omium:problem:{kind}", "status": status, "detail": detail, **more}
    headers = {"content-type": "application/problem+json"}
    return httpx.Response(status, content=json.dumps(body).encode(), headers=headers)


async def test_a_busy_service_is_asked_again_by_the_same_name() -> None:
    service = Answers(
        problem(503, "unavailable"),
        httpx.Response(503, text="proxy"),
        # What the proxy says in the moment after its start.
        httpx.Response(404, text="<html>"),
        httpx.Response(202, json=PENDING),
    )
    async with service.client() as client:
        assert (await client.run("tested")).id == "ex_1"
    names = {request.headers["idempotency-key"] for request in service.asked}
    assert (len(service.asked), len(names)) == (4, 1)
    assert {request.headers["authorization"] for request in service.asked} == {"Bearer omk_x"}


async def test_it_waits_for_as_long_as_it_is_told_to() -> None:
    busy = problem(429, "too_many_streams")
    busy.headers["retry-after"] = "1"
    service = Answers(busy, httpx.Response(202, json=PENDING))
    loop = asyncio.get_running_loop()
    async with service.client() as client:
        began_s = loop.time()
        await client.run("tested")
        assert loop.time() - began_s >= 1.0


async def test_what_does_not_pass_is_told_at_once() -> None:
    for answer, error in (
        (problem(422, "invalid", errors=[{"field": "body.at", "message": "no"}]), InputError),
        (problem(500, "internal", error_id="1"), PlatformError),
        (httpx.Response(202, text="<html>"), Unavailable),
    ):
        service = Answers(answer)
        async with service.client(600) as client:
            with pytest.raises(error) as caught:
                await client.run("tested")
        assert type(caught.value) is error
        assert len(service.asked) == 1


async def test_one_that_stays_away_is_given_up() -> None:
    address = f"http://127.0.0.1:{free_ports(1)[0]}"
    async with AsyncClient(address, "omk_x", retry_s=0.3) as client:
        with pytest.raises(Unavailable, match=f"no answer from {address}"):
            await client.run("tested")
    service = Answers(*[problem(502, "model_unreachable", "gone") for _ in range(50)])
    async with service.client(retry_s=0.3) as client:
        with pytest.raises(ModelUnreachable, match="gone"):
            await client.run("tested")
    assert len(service.asked) > 1


async def test_a_result_is_waited_for_while_the_service_comes_and_goes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("omium.client.transport.HELD_S", 0.3)
    held_s = 0.4
    breaks = 3

    async def service(request: httpx.Request) -> httpx.Response:
        nonlocal breaks
        await asyncio.sleep(held_s)
        breaks -= 1
        if breaks >= 0:
            raise httpx.ReadError("cut", request=request)
        return httpx.Response(200, json={**PENDING, "status": "completed", "output": 7})

    transport = httpx.MockTransport(service)
    async with AsyncClient("http://service", "omk_x", retry_s=0.3, transport=transport) as client:
        run = client.execution("ex_1")
        assert await run.result() == 7
        # Other requests are given up after that time, however it is spent.
        breaks = 3
        with pytest.raises(Unavailable, match="cut"):
            await run.status()
        assert breaks == 2
        # What drops each request at once is no service.
        held_s, breaks = 0.0, 1_000
        with pytest.raises(Unavailable, match="cut"):
            await run.result()


def slow(seconds: float, what: httpx.Response | type[httpx.TransportError]) -> httpx.MockTransport:
    """Fails in one way after so long, each time."""

    async def handler(request: httpx.Request) -> httpx.Response:
        await asyncio.sleep(seconds)
        if isinstance(what, httpx.Response):
            return httpx.Response(what.status_code, headers=what.headers, content=what.content)
        raise what("gone", request=request)

    return httpx.MockTransport(handler)


@pytest.mark.parametrize(
    "what",
    [
        httpx.ConnectError,
        httpx.ConnectTimeout,
        httpx.ProxyError,
        httpx.ReadTimeout,
        httpx.Response(502, text="no upstream"),
        httpx.Response(503),
        httpx.Response(504, text="the upstream timed out"),
        httpx.Response(404, text="<html>"),
    ],
    ids=lambda what: what.__name__ if isinstance(what, type) else str(what.status_code),
)
async def test_what_is_slow_to_fail_is_no_service(
    what: httpx.Response | type[httpx.TransportError], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("omium.client.transport.HELD_S", 0.05)
    transport = slow(0.1, what)
    async with (
        AsyncClient("http://service", "omk_x", retry_s=0.3, transport=transport) as client,
        asyncio.timeout(5),
    ):
        with pytest.raises(Unavailable):
            await client.execution("ex_1").result()


async def test_a_problem_of_the_services_own_shows_that_it_is_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("omium.client.transport.HELD_S", 0.05)
    transport = slow(0.1, problem(503, "unavailable", "no coordinator"))
    async with AsyncClient("http://service", "omk_x", retry_s=0.3, transport=transport) as client:
        with pytest.raises(DeadlineExceeded):
            await client.execution("ex_1").result(timeout_s=1.5)


async def test_the_time_that_it_takes_to_connect_is_not_the_services(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("omium.client.transport.HELD_S", 0.05)

    async def drops(request: httpx.Request) -> httpx.Response:
        await asyncio.sleep(0.1)
        await request.extensions["trace"]("http11.send_request_headers.started", {})
        raise httpx.ReadError("cut", request=request)

    transport = httpx.MockTransport(drops)
    async with (
        AsyncClient("http://service", "omk_x", retry_s=0.3, transport=transport) as client,
        asyncio.timeout(5),
    ):
        with pytest.raises(Unavailable, match="cut"):
            await client.execution("ex_1").result()


async def test_a_request_is_seen_to_be_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the HTTP library calls that moment is its own affair: this fails when it changes."""
    seen: list[str] = []

    class Watched(httpx.AsyncHTTPTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            trace = request.extensions["trace"]

            async def watched(event: str, info: Any) -> None:
                seen.append(event)
                await trace(event, info)

            request.extensions["trace"] = watched
            return await super().handle_async_request(request)

    async def drops(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.close()

    server = await asyncio.start_server(drops, "127.0.0.1", 0)
    address = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with AsyncClient(address, "omk_x", retry_s=0, transport=Watched()) as client:
        with pytest.raises(Unavailable):
            await client.execution("ex_1").status()
    server.close()
    assert "http11.send_request_headers.started" in seen


async def test_a_service_that_comes_late_is_waited_for(tmp_path: Path) -> None:
    async with served(tmp_path) as s:
        port = free_ports(1)[0]
        way = Cuttable(s.url)
        async with AsyncClient(f"http://127.0.0.1:{port}", s.key, retry_s=20) as client:
            asking = asyncio.create_task(client.register(definition()))
            await asyncio.sleep(0.3)
            assert not asking.done()
            await way.open(port)
            try:
                assert (await asking).name == "tested"
            finally:
                await way.close()


async def test_a_lost_answer_does_not_run_it_twice(tmp_path: Path) -> None:
    async with served(tmp_path) as s:
        await s.register()
        line = LosesAnswers(2)
        async with AsyncClient(s.url, s.key, retry_s=20, transport=line) as client:
            run = await client.run("tested", **doing({"checkpoint": "one"}))
            posts = [one for one in line.sent if one.method == "POST"]
            assert len(posts) == 3
            assert await run.result() == {"heard": []}
            assert [one.id async for one in client.executions()] == [run.id]
            fork = await run.fork(3)
            await fork.signal("hello") if (await fork.status()) != "completed" else None
            await fork.result()
            assert len([one async for one in client.executions()]) == 2
