"""What may be done to an execution over HTTP, once and by those who may."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import httpx

from tests.actors.gates import gate
from tests.actors.stage import agent
from tests.serve.api.stage import served, submission


def kind(answer: httpx.Response) -> tuple[int, str]:
    """The status and the kind of a problem."""
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    return answer.status_code, answer.json()["type"].removeprefix("urn:omium:problem:")


def rfc3339(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, tz=UTC).isoformat(timespec="milliseconds")


async def test_interrupt_signal_resume_cancel(tmp_path: Path) -> None:
    async with served(tmp_path) as s:
        await s.register()
        with gate() as held:
            url = f"/v1/executions/{await s.run({'hold': held.name})}"
            await held.reached()
            paused = await s.http.post(f"{url}/interrupt", json={"detail": "lunch"})
            assert paused.json()["status"] == "paused"
            assert paused.json()["pause"] == {"reason": "requested", "call": 0}
            assert paused.json()["detail"] == "lunch"
            result = await s.http.get(f"{url}/result")
            assert kind(result) == (409, "execution_paused")
            signal = {"name": "approved", "payload": {"by": "Ann"}}
            assert (await s.http.post(f"{url}/signal", json=signal)).status_code == 200
            resumed = await s.http.post(f"{url}/resume")
            assert resumed.json()["status"] in ("queued", "running")
            for _ in range(2):
                assert (await s.http.post(f"{url}/cancel")).json()["status"] == "cancelled"
            assert kind(await s.http.post(f"{url}/resume")) == (409, "conflict")
            assert kind(await s.http.get(f"{url}/result")) == (409, "execution_cancelled")
        entries = (await s.http.get(f"{url}/journal")).json()["entries"]
        (told,) = (e for e in entries if e["type"] == "execution.signalled")
        assert told["payload"] == {"inline": {"by": "Ann"}}
        key_id = s.key[4:12]
        assert told["by"] == f"key {key_id}"


async def test_a_named_request_is_carried_out_once_whatever_it_changed(tmp_path: Path) -> None:
    async with served(tmp_path) as s:
        await s.register()
        url = f"/v1/executions/{await s.run({'fail': 'no'})}"
        await s.http.get(f"{url}/result", params={"wait": True})
        key = {"idempotency-key": "again"}
        assert (await s.http.post(f"{url}/retry", headers=key)).status_code == 200
        await s.http.get(f"{url}/result", params={"wait": True})
        await s.http.post(f"{url}/cancel")
        # It is not failed any more, or again; the answer is that of the request which was made.
        assert (await s.http.post(f"{url}/retry", headers=key)).status_code == 200
        entries = (await s.http.get(f"{url}/journal")).json()["entries"]
        assert [e["type"] for e in entries].count("execution.resumed") == 1
        assert kind(await s.http.post(f"{url}/cancel", headers=key)) == (
            409,
            "idempotency_conflict",
        )


async def test_only_what_failed_is_retried(tmp_path: Path) -> None:
    async with served(tmp_path) as s:
        await s.register()
        execution = await s.run()
        await s.result(execution)
        assert kind(await s.http.post(f"/v1/executions/{execution}/retry")) == (409, "conflict")


async def test_a_decision_about_an_unknown_call(tmp_path: Path) -> None:
    async with served(tmp_path) as s:
        await s.register()
        with gate() as held:
            pay = {"tool": "pay", "with": {"till": held.name, "amount": 5}}
            execution = await s.run(pay)
            await held.reached()
            s.stage.kill()
            await s.stage.until(execution, "execution.paused")
            url = f"/v1/executions/{execution}"
            view = (await s.http.get(url)).json()
            assert view["pause"]["reason"] == "outcome_unknown" and view["pause"]["call"] > 0
            assert kind(await s.http.post(f"{url}/resume")) == (409, "conflict")
            wrong = await s.http.post(f"{url}/resume", json={"decision": "answer"})
            assert kind(wrong) == (422, "invalid")
            decided = {"decision": "answer", "answer": 5}
            assert (await s.http.post(f"{url}/resume", json=decided)).status_code == 200
            result = await s.http.get(f"{url}/result", params={"wait": True})
            assert result.json()["output"] == {"heard": [5]}


async def test_votes_about_a_handoff_are_shown(tmp_path: Path) -> None:
    validator = "tests.actors.validating:even"
    async with served(tmp_path) as s:
        await s.register(
            {"name": "a", "framework": "python", "entrypoint": "tests.actors.handing:give"},
            {"name": "b", "framework": "python", "entrypoint": "tests.actors.handing:give"},
            handoffs=[{"from": "a", "to": "b", "validators": [validator]}],
        )
        execution = await s.run(inputs={"values": [{"rate": 3}]})
        await s.stage.until(execution, "execution.paused")
        (handoff,) = (await s.http.get(f"/v1/executions/{execution}")).json()["handoffs"]
    why = "an even number was asked for"
    assert handoff["votes"] == [{"validator": validator, "ballot": "against", "reason": why}]
    (reason,) = handoff["reasons"]
    assert (reason["code"], reason["validator"], reason["message"]) == ("vote", validator, why)


async def test_a_question_is_shown_and_answered(tmp_path: Path) -> None:
    async with served(tmp_path) as s:
        await s.register(
            {
                "name": "doer",
                "framework": "python",
                "entrypoint": "tests.actors.people:asks_politely",
            },
            {
                "name": "other",
                "framework": "python",
                "entrypoint": "tests.actors.people:asks_for_a_rate",
            },
            handoffs=[],
        )
        execution = await s.run()
        await s.stage.until(execution, "execution.paused")
        url = f"/v1/executions/{execution}"
        view = (await s.http.get(url)).json()
        free, asked = sorted(view["questions"], key=lambda one: one["agent"])
        assert view["pause"]["reason"] == "question"
        assert (asked["text"], asked["schema"]["required"]) == ("Which rate?", ["rate"])
        (row,) = (await s.http.get("/v1/executions")).json()["executions"]
        assert "Which rate?" in row["detail"]
        before = view["last_index"]
        assert kind(await s.http.post(f"{url}/resume")) == (409, "conflict")
        wrong = await s.http.post(
            f"{url}/resume", json={"answer": {"rate": 99}, "call": asked["call"]}
        )
        assert kind(wrong) == (422, "answer")
        (mistake,) = wrong.json()["errors"]
        assert mistake["field"] == "answer.rate"
        assert wrong.json()["call"] == asked["call"]
        unasked = await s.http.post(f"{url}/resume", json={"answer": 1, "call": 1})
        assert kind(unasked) == (409, "conflict")
        assert (await s.http.get(url)).json()["last_index"] == before
        key = {"idempotency-key": "answer"}
        for _ in range(2):
            told = await s.http.post(
                f"{url}/resume", json={"answer": {"rate": 9}, "call": asked["call"]}, headers=key
            )
            assert told.status_code == 200, told.text
        await s.stage.until(execution, "execution.paused", 2)
        denied = {"decision": "deny", "reason": "busy", "call": free["call"]}
        assert (await s.http.post(f"{url}/resume", json=denied)).status_code == 200
        output = (await s.http.get(f"{url}/result", params={"wait": True})).json()["output"]
        assert output["other"] == {"rate": 9}
        assert output["doer"].endswith(": busy")
        async with s.http.stream("GET", f"{url}/events") as events:
            stream = (await events.aread()).decode()
        assert '"question":{"kind":"question"' in stream.replace(" ", "") or "Which rate?" in stream


async def test_a_fork_goes_its_own_way(tmp_path: Path) -> None:
    async with served(tmp_path) as s:
        await s.register()
        origin = await s.run({"checkpoint": "one"}, {"ask": "two"})
        await s.result(origin)
        url = f"/v1/executions/{origin}"
        index = (await s.http.get(f"{url}/checkpoints")).json()["checkpoints"][0]["index"]
        body = {"at": index, "changes": {"inputs.do": [{"checkpoint": "one"}, {"ask": "new"}]}}
        key = {"idempotency-key": "fork"}
        forked = await s.http.post(f"{url}/fork", json=body, headers=key)
        assert forked.status_code == 202, forked.text
        again = await s.http.post(f"{url}/fork", json=body, headers=key)
        assert again.json()["execution"] == forked.json()["execution"] != origin
        result = await s.http.get(f"{forked.headers['location']}/result?wait=true")
        assert result.json()["output"] == {"heard": ["echo: new"]}
        beyond = await s.http.post(f"{url}/fork", json={"at": 999})
        assert kind(beyond) == (422, "input")


async def test_a_fork_names_no_code_that_its_origin_did_not(tmp_path: Path) -> None:
    async with served(tmp_path) as s:
        await s.register()
        origin = await s.run({"checkpoint": "one"}, {"ask": "two"})
        await s.result(origin)
        url = f"/v1/executions/{origin}/fork"
        bad = agent("doer", "os:system")
        for changes in (
            {"agents.doer.entrypoint": "os:system"},
            {"agents.0.entrypoint": "os:system"},
            {"agents.doer": bad},
            {"agents": [bad]},
            {"agents.doer.entrypoint": "tests.actors.agents:sys.exit"},
        ):
            refused = await s.http.post(url, json={"at": 2, "changes": changes})
            assert kind(refused) == (422, "definition"), changes
            assert refused.json()["errors"][0]["field"] == "agents.doer.entrypoint"
        fine = {"agents.doer.entrypoint": "tests.actors.agents:script_blocking"}
        assert (await s.http.post(url, json={"at": 2, "changes": fine})).status_code == 202


async def test_a_list_is_filtered_and_paged(tmp_path: Path) -> None:
    async with served(tmp_path) as s:
        await s.register()
        labelled = [await s.run(labels={"n": str(n), "team": "a/b c"}) for n in range(3)]
        other = await s.run({"fail": "no"})
        for one in labelled:
            await s.result(one)
        await s.http.get(f"/v1/executions/{other}/result?wait=true")

        async def ids(**params: object) -> list[str]:
            answer = await s.http.get("/v1/executions", params=params)  # pyright: ignore
            assert answer.status_code == 200, answer.text
            return [row["id"] for row in answer.json()["executions"]]

        assert await ids() == [other, *reversed(labelled)]
        assert await ids(status=["failed", "paused"]) == [other]
        assert await ids(label=["team:a/b c", "n:1"]) == [labelled[1]]
        assert await ids(workflow="other") == []
        created_ms = (await s.http.get(f"/v1/executions/{labelled[1]}")).json()["created_ms"]
        # Included at its beginning, not at its end.
        assert labelled[1] in await ids(created_from=rfc3339(created_ms))
        assert labelled[1] not in await ids(created_from=rfc3339(created_ms + 1))
        assert labelled[1] in await ids(created_to=rfc3339(created_ms + 1))
        assert labelled[1] not in await ids(created_to=rfc3339(created_ms))
        first = (await s.http.get("/v1/executions?limit=3")).json()
        new = await s.run()
        rest = (await s.http.get(f"/v1/executions?limit=3&cursor={first['next_cursor']}")).json()
        assert [row["id"] for row in rest["executions"]] == [labelled[0]]
        assert rest["next_cursor"] is None
        assert new not in [row["id"] for row in rest["executions"]]


async def test_checkpoints_and_what_changed_between_them(tmp_path: Path) -> None:
    settings = {"diff_bytes_max": 1_024}
    async with served(tmp_path, settings=settings) as s:
        await s.register()
        actions = [{"ask": "a"}, {"checkpoint": "one"}, {"ask": "b" * 2_000}, {"checkpoint": "two"}]
        execution = await s.run({"checkpoint": "zero"}, *actions)
        await s.result(execution)
        url = f"/v1/executions/{execution}/checkpoints"
        page = (await s.http.get(url, params={"limit": 2})).json()
        rest = (await s.http.get(url, params={"after": page["next_after"]})).json()
        found = [*page["checkpoints"], *rest["checkpoints"]]
        assert [one["name"] for one in found] == ["zero", "one", "two"]
        assert rest["next_after"] is None
        zero, one, two = (one["index"] for one in found)
        state = (await s.http.get(f"{url}/{one}")).json()["state"]
        assert state == {"at": 3, "heard": ["echo: a"]}
        diff = (await s.http.get(f"{url}/{zero}/diff/{one}")).json()
        assert (diff["from"], diff["to"]) == (zero, one)
        patch = {(p["op"], p["path"], str(p["value"])) for p in diff["patch"]}
        assert patch == {("replace", "/at", "3"), ("add", "/heard/0", "echo: a")}
        large = await s.http.get(f"{url}/{one}/diff/{two}")
        assert kind(large) == (413, "too_large")
        assert large.json()["limit"] == {"name": "diff_bytes_max", "max": 1_024}
        assert kind(await s.http.get(f"{url}/1")) == (404, "not_found")


async def test_a_large_value_comes_by_reference(tmp_path: Path) -> None:
    async with served(tmp_path) as s:
        await s.register()
        large = "x" * 40_000
        execution = await s.run({"checkpoint": "one"}, {"ask": large})
        await s.result(execution)
        url = f"/v1/executions/{execution}"
        output = (await s.http.get(url)).json()["agents"][0]["output"]
        digest = output["blob"]["digest"].removeprefix("sha256:")
        value = await s.http.get(f"{url}/blobs/{digest}")
        assert value.json() == {"heard": [f"echo: {large}"]}
        same = {"if-none-match": value.headers["etag"]}
        assert (await s.http.get(f"{url}/blobs/{digest}", headers=same)).status_code == 304
        # Another execution of the same tenant does not refer to it.
        other = await s.run()
        await s.result(other)
        for wrong in (f"/v1/executions/{other}/blobs/{digest}", f"{url}/blobs/{'0' * 64}"):
            assert kind(await s.http.get(wrong)) == (404, "not_found")
        assert kind(await s.http.get(f"{url}/blobs/{digest}?index=1")) == (404, "not_found")
        created = await s.http.post("/v1/executions", json=submission())
        assert created.status_code == 202
