"""Errors over HTTP: problems of a stable type, with limits named and nothing leaked."""

from __future__ import annotations

import asyncio
import json
import logging
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import APIRouter, Request, Response

from omium.errors import ConfigError, CorruptRecord, OmiumError, StorageFull, Unavailable
from omium.serve.api import ApiSettings, create_app
from omium.serve.api.problems import KINDS, problem_of
from omium.serve.api.route import ApiRoute, needs
from tests.serve.api.stage import PEPPER, served, submission
from tests.serve.api.test_control import kind

JSON = {"content-type": "application/json"}


async def test_what_cannot_be_read_is_told(tmp_path: Path) -> None:
    async with served(tmp_path, settings={"body_bytes_max": 10_000}) as s:
        await s.register()
        for body in (
            b"{",
            b"nothing",
            b'{"workflow": NaN}',
            b'{"workflow": "\\ud800"}',
            b'{"workflow": "\xff"}',
            b"[" * 9_000,
        ):
            answer = await s.http.post("/v1/executions", content=body, headers=JSON)
            assert kind(answer) == (400, "malformed"), body
        long = await s.http.post("/v1/executions", json=submission(inputs={"n": 2**63}))
        assert kind(long) == (422, "invalid")
        fits = await s.http.post(
            "/v1/executions", json=submission(inputs={"do": [], "n": 2**63 - 1})
        )
        assert fits.status_code == 202
        typeless = await s.http.post("/v1/executions", content=b"{}")
        assert kind(typeless) == (415, "unsupported_media_type")
        wrong = await s.http.post("/v1/executions", json={"workflow": 1, "extra": 2})
        assert kind(wrong) == (422, "invalid")
        assert {e["field"] for e in wrong.json()["errors"]} == {"body.workflow", "body.extra"}


async def test_a_body_is_bounded_with_and_without_its_length(tmp_path: Path) -> None:
    async def pieces() -> Any:
        for _ in range(20):
            yield b" " * 1_000

    async with served(tmp_path, settings={"body_bytes_max": 10_000}) as s:
        contents: tuple[Any, ...] = (b" " * 10_001, pieces())
        for content in contents:
            answer = await s.http.post("/v1/executions", content=content, headers=JSON)
            assert kind(answer) == (413, "too_large")
            assert answer.json()["limit"] == {"name": "body_bytes_max", "max": 10_000}


async def test_bounds_are_named(tmp_path: Path) -> None:
    async with served(tmp_path) as s:
        await s.register()
        labels = {str(n): "x" for n in range(17)}
        for body, field in (
            (submission(labels=labels), "body.labels"),
            (submission(labels={"x": "y" * 201}), "body.labels.x"),
        ):
            answer = await s.http.post("/v1/executions", json=body)
            assert kind(answer) == (422, "invalid")
            assert answer.json()["errors"][0]["field"] == field
        for query, field in (
            ("limit=201", "query.limit"),
            ("limit=0", "query.limit"),
            ("created_to=2026-01-01T00:00:00", "query.created_to"),
            ("label=x", "query.label.0"),
            ("status=odd", "query.status.0"),
            ("cursor=" + "x" * 201, "query.cursor"),
        ):
            answer = await s.http.get(f"/v1/executions?{query}")
            assert kind(answer) == (422, "invalid"), query
            assert answer.json()["errors"][0]["field"] == field
        for key in ("", "x" * 256, "é"):
            headers = httpx.Headers({"idempotency-key": key}, encoding="utf-8")
            answer = await s.http.post("/v1/executions", json=submission(), headers=headers)
            assert kind(answer) == (422, "invalid"), key


async def test_paths_and_methods_of_the_framework_are_problems_too(tmp_path: Path) -> None:
    async with served(tmp_path) as s:
        nowhere = await s.http.get("/v2/nothing")
        assert kind(nowhere) == (404, "not_found")
        assert nowhere.json()["instance"] == "/v2/nothing"
        refused = await s.http.put("/v1/executions")
        assert kind(refused) == (405, "method_not_allowed")
        assert refused.headers["allow"] == "GET, POST"
        refused = await s.http.put("/v1/workflows/validate")
        assert refused.headers["allow"] == "POST"


async def test_an_internal_error_is_in_the_log_and_nowhere_else(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with served(tmp_path) as s:
        router = APIRouter(route_class=ApiRoute)

        @router.get("/v1/broken", openapi_extra=needs("read"))
        async def broken(_: Request) -> Response:
            raise RuntimeError("the password is 1234")

        s.app.include_router(router)
        with caplog.at_level(logging.ERROR):
            answer = await s.http.get("/v1/broken")
        assert kind(answer) == (500, "internal")
        assert "1234" not in answer.text and "RuntimeError" not in answer.text
        (record,) = [r for r in caplog.records if answer.json()["error_id"] in r.getMessage()]
        assert record.exc_info is not None and "1234" in str(record.exc_info[1])


async def test_a_coordinator_that_is_away_is_waited_for_or_told(tmp_path: Path) -> None:
    async with served(tmp_path, settings={"ready_timeout_s": 0.1}) as s:
        assert (await s.http.get("/readyz")).status_code == 200
        await s.stage.runtime.stop_coordinator()
        away = await s.http.get("/readyz")
        assert kind(away) == (503, "unavailable")
        assert away.headers["retry-after"] == "1"
        assert (await s.http.get("/healthz")).status_code == 200
        await s.stage.runtime.start_coordinator()
        assert (await s.http.get("/v1/executions")).status_code == 200


async def test_figures_are_those_of_the_tenant(tmp_path: Path) -> None:
    async with served(tmp_path, settings={"replica": "r1"}) as s:
        await s.register()
        for _ in range(2):
            await s.result(await s.run())
        async with s.caller(await s.key_of("stranger")) as stranger:
            await stranger.get("/v1/executions/ex_0")
            theirs = (await stranger.get("/metrics")).text
        mine = (await s.http.get("/metrics")).text
        counted = 'omium_http_requests_total{method="%s",replica="r1",route="%s",status="%s"} 1.0'
        assert counted % ("POST", "/v1/workflows", 201) in mine
        assert counted % ("GET", "/v1/executions/{execution_id}", 404) in theirs
        assert "/v1/workflows" not in theirs
        assert 'omium_executions{status="completed"} 2.0' in mine
        assert 'omium_executions{status="completed"} 0.0' in theirs
        assert counted % ("GET", "/v1/executions/{execution_id}", 404) not in mine


@pytest.mark.parametrize("name", list(KINDS))
def test_a_kind_has_a_status_and_a_title(name: str) -> None:
    assert 400 <= KINDS[name].status < 600 and KINDS[name].title


@pytest.mark.parametrize(
    "error, status",
    [
        (Unavailable("x"), 503),
        (StorageFull("x"), 507),
        (CorruptRecord("/secret/place", "x"), 500),
        (OmiumError("x"), 500),
        (KeyError("x"), 500),
    ],
)
def test_errors_of_the_tree_have_statuses(error: Exception, status: int) -> None:
    told = problem_of(error)
    assert told.status_code == status
    assert "/secret" not in json.dumps(told.to_data("/"))


@pytest.mark.parametrize(
    "wrong", [{"body_bytes_max": 1}, {"key_cache_s": 2.0}, {"keys_max": 0}, {"pepper": b"short"}]
)
def test_settings_out_of_bounds_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        ApiSettings(**{"pepper": PEPPER, **wrong})


async def test_a_client_that_the_application_makes_is_its_own(tmp_path: Path) -> None:
    async with served(tmp_path) as s:
        made: list[Any] = []

        def make() -> Any:
            made.append(s.stage.client.for_tenant(s.stage.client.tenant))
            made[0].open = lambda: made.append("opened")

            async def close() -> None:
                made.append("closed")

            made[0].close = close
            return made[0]

        app = create_app(make, ApiSettings(pepper=PEPPER))
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://x") as http:
            starting = await http.get("/healthz")
            assert kind(starting) == (503, "unavailable")
            async with app.router.lifespan_context(app):
                assert (await http.get("/readyz")).status_code == 200
        assert made[1:] == ["opened", "closed"]


def test_a_route_that_names_no_scope_cannot_be_built() -> None:
    router = APIRouter(route_class=ApiRoute)
    with pytest.raises(AssertionError, match="scope"):
        router.add_api_route("/open", lambda: None)


async def test_a_body_that_is_cut_off_is_nobodys_failure(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with served(tmp_path) as s:
        answered = httpx.URL(s.url)
        gateway = httpx.URL(s.stage.runtime.gateway_url)
        for url, path, key in (
            (answered, "/v1/workflows", s.key),
            (answered, "/v1/chat/completions", s.key),
            (gateway, "/v1/chat/completions", s.stage.runtime.api_key),
        ):
            _, writer = await asyncio.open_connection(url.host, url.port)
            head = f"POST {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\n"
            json_of_20 = "content-type: application/json\r\ncontent-length: 20\r\n\r\n{"
            writer.write((head + json_of_20).encode())
            await writer.drain()
            writer.close()
            await writer.wait_closed()
    # All that was under way has ended, and none of it as an error.
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []
