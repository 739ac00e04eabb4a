"""Executions over HTTP: created once, listed, looked at, and their results."""

from __future__ import annotations

from pathlib import Path

import httpx

from tests.actors.gates import gate
from tests.serve.api.stage import events, served, submission


async def test_an_execution_is_created_watched_and_finished(tmp_path: Path) -> None:
    async with served(tmp_path) as s:
        assert (await s.register())["version"] == "1"
        created = await s.http.post("/v1/executions", json=submission({"ask": "hi"}))
        assert created.status_code == 202, created.text
        location = created.headers["location"]
        async with s.http.stream("GET", f"{location}/events") as answer:
            assert answer.headers["content-type"].startswith("text/event-stream")
            told = [event async for event in events(answer)]
        assert told[-1].event == "end" and told[-1].data == {"status": "completed"}
        entries = [event for event in told if event.id is not None]
        assert [event.id for event in entries] == list(range(1, len(entries) + 1))
        result = await s.http.get(f"{location}/result")
        assert (result.status_code, result.json()["output"]) == (200, {"heard": ["echo: hi"]})
        view = (await s.http.get(location)).json()
        assert (view["status"], view["agents"][0]["status"]) == ("completed", "completed")


async def test_the_same_key_creates_once(tmp_path: Path) -> None:
    async with served(tmp_path) as s:
        await s.register()
        key = {"idempotency-key": "order 1"}
        one = await s.http.post("/v1/executions", json=submission(), headers=key)
        await s.http.get(f"{one.headers['location']}/result", params={"wait": True})
        two = await s.http.post("/v1/executions", json=submission(), headers=key)
        assert one.json()["execution"] == two.json()["execution"]
        assert (one.json()["status"], two.json()["status"]) == ("queued", "completed")
        other = await s.http.post("/v1/executions", json=submission({"ask": "x"}), headers=key)
        assert (other.status_code, other.json()["type"]) == (
            409,
            "urn:omium:problem:idempotency_conflict",
        )


async def test_wait(tmp_path: Path) -> None:
    async with served(tmp_path) as s:
        await s.register()
        done = await s.http.post("/v1/executions?wait=true", json=submission({"ask": "hi"}))
        assert (done.status_code, done.json()["output"]) == (200, {"heard": ["echo: hi"]})
        failed = await s.http.post("/v1/executions?wait=true", json=submission({"fail": "no"}))
        assert failed.status_code == 409, failed.text
        assert failed.json()["failure"]["kind"] == "agent"
        with gate() as held:
            late = await s.http.post(
                "/v1/executions?wait=true&timeout_s=0.05", json=submission({"hold": held.name})
            )
            assert late.status_code == 202
            waiting = late.headers["location"]
        result = await s.http.get(waiting, params={"wait": True})
        assert result.status_code == 200


async def test_executions_are_found_by_the_beginning_of_their_ids(tmp_path: Path) -> None:
    async with served(tmp_path) as s:
        await s.register()
        one, two = [await s.run(), await s.run()]

        async def found(http: httpx.AsyncClient, prefix: str) -> list[str]:
            answer = await http.get("/v1/executions", params={"id_prefix": prefix})
            assert answer.status_code == 200, answer.text
            return [row["id"] for row in answer.json()["executions"]]

        assert await found(s.http, one) == [one]
        assert await found(s.http, "ex_") == [two, one]
        assert await found(s.http, "%") == []
        async with s.caller(await s.key_of("other", "read")) as other:
            assert await found(other, "ex_") == []
        long = await s.http.get("/v1/executions", params={"id_prefix": "e" * 64})
        assert long.status_code == 422
