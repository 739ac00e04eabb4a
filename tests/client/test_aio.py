"""The client against the real API: what it asks for, what it is told, and what it raises."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from omium.client import AsyncClient, PinnedCode
from omium.client.webhooks import verify
from omium.errors import (
    AnswerError,
    Conflict,
    DeadlineExceeded,
    DefinitionError,
    ExecutionCancelled,
    ExecutionFailed,
    ExecutionPaused,
    InputError,
    NotFound,
    PermissionRefused,
    RequestConflict,
)
from omium.storage.code_bundle import pack
from tests.actors.gates import gate
from tests.actors.stage import MODEL, WAIT_S, agent
from tests.serve.api.stage import Served, definition, served
from tests.webhooks.receiver import receiving, status


@asynccontextmanager
async def client_of(directory: Path) -> AsyncIterator[tuple[AsyncClient, Served]]:
    async with served(directory) as s, AsyncClient(s.url, s.key, retry_s=5) as client:
        yield client, s


def doing(*actions: dict[str, Any]) -> dict[str, Any]:
    """Arguments of ``run`` that do those actions."""
    return {"inputs": {"do": list(actions)}, "model": MODEL}


async def test_code_is_brought_once(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "brought_here.py").write_text("async def act(context): ...\n")
    agent = {"name": "a", "framework": "python", "entrypoint": "brought_here:act"}
    own = {"name": "own", "version": "1", "agents": [agent]}
    async with client_of(tmp_path / "data") as (client, s):
        code = await client.upload_code(folder)
        assert code.files == 1
        assert await client.upload_code(str(folder)) == code
        assert await client.upload_code(pack([folder])) == code
        made = await client.register(own, code=code)
        assert made.code == PinnedCode(**structs.asdict(code), uploaded=True)
        file = tmp_path / "workflow.json"
        file.write_text(json.dumps(own))
        assert (await client.register(file, code=code)).code == made.code
        (version,) = (await client.workflow("own")).versions
        assert version.code == code.digest
        with pytest.raises(InputError, match="cannot be read"):
            await client.upload_code(folder / "none")
        async with AsyncClient(s.url, await s.key_of("other"), retry_s=0) as other:
            with pytest.raises(PermissionRefused, match="upload_tenants"):
                await other.upload_code(folder)


async def test_workflows_are_registered_and_found(tmp_path: Path) -> None:
    async with client_of(tmp_path / "data") as (client, _):
        first = await client.register(definition())
        assert (first.name, first.version) == ("tested", "1")
        file = tmp_path / "workflow.json"
        file.write_text(json.dumps(definition(version="2")))
        second = await client.register(file)
        assert second.version == "2"
        assert (await client.register(str(file))).digest == second.digest
        with pytest.raises(Conflict, match="another definition"):
            await client.register(definition(description="changed"))
        assert [(w.name, w.latest, w.versions) async for w in client.workflows()] == [
            ("tested", "2", 2)
        ]
        latest = await client.workflow("tested")
        assert (latest.version, [v.version for v in latest.versions]) == ("2", ["1", "2"])
        assert (await client.workflow("tested", "1")).digest == first.digest
        with pytest.raises(NotFound):
            await client.workflow("../keys")
        with pytest.raises(NotFound):
            await client.workflow("tested", "3")


async def test_mistakes_of_a_file_come_with_their_lines(tmp_path: Path) -> None:
    file = tmp_path / "workflow.yaml"
    file.write_text(
        "name: tested\nversion: '1'\nagents:\n  - name: doer\n    framework: python\n"
        "    entrypoint: tests.actors.agents:script\n    retrys: 1\n    timeout_s: soon\n"
    )
    async with client_of(tmp_path / "data") as (client, _):
        with pytest.raises(DefinitionError) as caught:
            await client.register(file)
        assert caught.value.source == str(file)
        lines = sorted(text.partition(": ")[0] for text in caught.value.problems)
        assert lines == ["line 7", "line 8"]
        assert any("retrys" in text for text in caught.value.problems)
        with pytest.raises(InputError, match=r"cannot read .*nothing\.yaml"):
            await client.register(tmp_path / "nothing.yaml")
        with pytest.raises(DefinitionError, match="os:system"):
            await client.register(definition(agent("doer", "os:system")))


async def test_a_request_by_name_has_the_effect_of_one(tmp_path: Path) -> None:
    async with client_of(tmp_path) as (client, _):
        await client.register(definition())
        asked = doing({"ask": "one"})
        one = await client.run("tested", **asked, idempotency_key="k", labels={"team": "red"})
        two = await client.run("tested", **asked, idempotency_key="k", labels={"team": "red"})
        other = await client.run("tested", **doing())
        assert one.id == two.id != other.id
        with pytest.raises(RequestConflict, match="'k'"):
            await client.run("tested", **doing(), idempotency_key="k")
        assert await one.result() == {"heard": ["echo: one"]}
        found = [e async for e in client.executions(labels={"team": "red"})]
        assert [(e.id, e.status, e.labels) for e in found] == [
            (one.id, "completed", {"team": "red"})
        ]
        await other.result()
        assert [e.id async for e in client.executions(statuses=["completed"])] == [
            other.id,
            one.id,
        ]


async def test_each_end_raises_its_own(tmp_path: Path) -> None:
    async with client_of(tmp_path) as (client, _):
        await client.register(definition())
        with gate() as held:
            failing = await client.run("tested", **doing({"fail": "no luck"}))
            waiting = await client.run("tested", **doing({"hold": held.name}))
            paused = await client.run("tested", **doing({"hold": held.name}))
            with pytest.raises(ExecutionFailed, match="no luck") as failed:
                await failing.result(timeout_s=20)
            assert (failed.value.failure_kind, failed.value.execution_id) == ("agent", failing.id)
            with pytest.raises(DeadlineExceeded, match=waiting.id):
                await waiting.result(timeout_s=0.2)
            await held.reached(2)
            assert (await waiting.cancel()).status == "cancelled"
            with pytest.raises(ExecutionCancelled):
                await waiting.result(timeout_s=20)
            shown = await paused.interrupt("lunch")
            assert (shown.status, shown.pause and shown.pause.reason) == ("paused", "requested")
            with pytest.raises(ExecutionPaused, match="lunch"):
                await paused.result(timeout_s=20)
            await paused.signal("hello", {"from": "me"})
            await paused.resume()
        assert await paused.result(timeout_s=20) == {"heard": []}
        with pytest.raises(Conflict):
            await paused.signal("late")
        with pytest.raises(Conflict, match="only what failed"):
            await paused.retry()
        with pytest.raises(Conflict):
            await paused.cancel()


async def test_people_answer_approve_and_deny(tmp_path: Path) -> None:
    people = "tests.actors.people"
    tools: list[Any] = [
        {"name": "note", "function": f"{people}:note"},
        {"name": "pay", "function": f"{people}:pay", "approval": "required"},
    ]
    members = [
        {"name": f"agent{number}", "framework": "python", "entrypoint": f"{people}:{entry}"}
        | {"tools": ["note", "pay"]}
        for number, entry in enumerate(("asks", "pays"), start=1)
    ]
    flow = {**definition(*members), "tools": tools}
    async with client_of(tmp_path) as (client, _):
        await client.register(flow)
        with gate() as till:
            till.open()
            run = await client.run("tested", {"till": till.name})
            with pytest.raises(ExecutionPaused, match="Which rate"):
                await run.result(timeout_s=20)
            (asked,) = await run.questions()
            assert (asked.kind, asked.text, asked.agent) == ("question", "Which rate?", "agent1")
            with pytest.raises(AnswerError) as refused:
                await run.answer({"rate": "x"})
            assert refused.value.call == asked.call
            assert "rate: found" in refused.value.problems[0]
            with pytest.raises(Conflict, match="waits for an answer"):
                await run.resume()
            await run.answer({"rate": 5}, call=asked.call)
            with pytest.raises(ExecutionPaused, match="run tool 'pay'"):
                await run.result(timeout_s=20)
            (asked,) = await run.questions()
            assert asked.arguments == {"inline": {"till": till.name, "amount": 7}}
            await run.deny("too much")
            said: Any = await run.result(timeout_s=20)
            assert said[0].startswith("tool 'pay': denied by key ")
            assert said[0].endswith(": too much")
            again = await client.run("tested", {"till": till.name})
            with pytest.raises(ExecutionPaused):
                await again.result(timeout_s=20)
            await again.answer({"rate": 5})
            with pytest.raises(ExecutionPaused):
                await again.result(timeout_s=20)
            await again.approve()
            assert await again.result(timeout_s=20) == [7]


async def test_an_execution_is_looked_into_and_forked(tmp_path: Path) -> None:
    async with client_of(tmp_path) as (client, s):
        await client.register(definition())
        run = await client.run("tested", **doing({"ask": "one"}, {"checkpoint": "half"}))
        await run.result(timeout_s=20)
        view = await run.view()
        assert (view.status, view.agents[0].name, view.result) == ("completed", "doer", ("doer",))
        (point,) = [one async for one in run.checkpoints()]
        assert (point.agent, point.name) == ("doer", "half")
        assert await run.state(point.index) == {"at": 2, "heard": ["echo: one"]}
        with pytest.raises(NotFound):
            await run.state(1)
        entries = [entry async for entry in run.journal()]
        assert [entry["index"] for entry in entries] == [*range(1, view.last_index + 1)]
        fork = await run.fork(point.index, {"inputs.do": [{"checkpoint": ""}, {"checkpoint": ""}]})
        assert await fork.result(timeout_s=20) == {"heard": ["echo: one"]}
        assert s.stage.provider.received == 1
        large = await client.run("tested", **doing({"ask": "x" * 50_000}))
        await large.result(timeout_s=20)
        (digest,) = {
            entry["request"]["blob"]["digest"]
            async for entry in large.journal()
            if entry["type"] == "call.intended"
        }
        assert "x" * 50_000 in json.dumps(await large.blob(digest))
        with pytest.raises(NotFound):
            await large.blob("sha256:" + "0" * 64)


async def test_wrong_inputs_and_unknown_things(tmp_path: Path) -> None:
    async with client_of(tmp_path) as (client, _):
        schema = {"type": "object", "properties": {"years": {"type": "integer"}}}
        await client.register(definition(inputs=schema))
        with pytest.raises(InputError, match=r"years.*found 'two'"):
            await client.run("tested", {"years": "two"}, model=MODEL)
        with pytest.raises(InputError, match="labels"):
            await client.run("tested", labels={"a b": "c"})
        with pytest.raises(NotFound, match="no workflow 'other'"):
            await client.run("other")
        with pytest.raises(NotFound, match="no execution 'ex_none'"):
            await client.execution("ex_none").result()
        with pytest.raises(NotFound):
            await client.execution("../keys").view()
        with pytest.raises(NotFound):
            [event async for event in client.execution("ex_none").events()]


async def test_keys_are_made_listed_and_revoked(tmp_path: Path) -> None:
    async with client_of(tmp_path) as (client, s):
        made = await client.create_key("reader", ["read"])
        assert made.secret is not None and made.secret not in repr(made)
        async with AsyncClient(s.url, made.secret, retry_s=1) as reader:
            assert [one async for one in reader.executions()] == []
            with pytest.raises(PermissionRefused, match="'admin'"):
                await reader.create_key("more", ["admin"])
            assert (await client.revoke_key(made.id)).revoked_ms is not None
            with pytest.raises(PermissionRefused, match="not valid"):
                await reader.execution("ex_1").view()
        listed = [key async for key in client.keys()]  # noqa: SIM118
        keys = {key.name: key for key in listed}
        assert keys["reader"].revoked_ms is not None
        assert keys["reader"].secret is None
        with pytest.raises(NotFound):
            await client.revoke_key("nosuch")


async def test_a_wrong_key_is_refused_at_once(tmp_path: Path) -> None:
    async with served(tmp_path) as s:
        for key in ("omk_wrong", "omk_" + "a" * 8 + "_" + "b" * 43):
            # For so long that a retry would time the test out.
            async with AsyncClient(s.url, key, retry_s=600) as client:
                with pytest.raises(PermissionRefused):
                    await client.register(definition())
                with pytest.raises(PermissionRefused):
                    [one async for one in client.execution("ex_1").events()]


async def test_waiting_ends_with_the_one_who_waits(tmp_path: Path) -> None:
    async with client_of(tmp_path) as (client, _):
        await client.register(definition())
        with gate() as held:
            run = await client.run("tested", **doing({"hold": held.name}))
            waiting = asyncio.create_task(run.result())
            await held.reached()
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
        assert await run.result(timeout_s=20) == {"heard": []}


async def test_webhooks_are_made_tried_and_deleted(tmp_path: Path) -> None:
    async with receiving(status(500), status(204)) as receiver, client_of(tmp_path) as (client, _):
        made = await client.create_webhook(receiver.url, ["execution.failed"], description="mine")
        assert made.secret is not None and made.secret not in repr(made)
        every = await client.create_webhook(receiver.url)
        assert len(every.events) == 4
        listed = [hook async for hook in client.webhooks()]
        assert {hook.id for hook in listed} == {made.id, every.id}
        shown = await client.webhook(made.id)
        assert (shown.events, shown.description) == (("execution.failed",), "mine")
        assert shown.secret is None
        trial = await client.test_webhook(made.id)
        (failed,) = await receiver.got(1)
        assert verify(failed.body, failed.headers, made.secret) == trial.id
        async with asyncio.timeout(WAIT_S):
            while not (log := [one async for one in client.deliveries(made.id)])[0].attempts:
                pass
        assert [(one.id, one.state, one.status) for one in log] == [(trial.id, "pending", 500)]
        rotated = await client.rotate_webhook(made.id)
        assert rotated.secret not in (None, made.secret)
        assert (await client.redeliver(made.id, trial.id)).state == "pending"
        _, message = await receiver.got(2)
        assert verify(message.body, message.headers, rotated.secret or "") == trial.id
        assert (await client.delete_webhook(made.id)).id == made.id
        for refused in (client.webhook(made.id), client.test_webhook("../keys")):
            with pytest.raises(NotFound):
                await refused
        with pytest.raises(NotFound):
            [one async for one in client.deliveries(made.id)]
        with pytest.raises(InputError, match="url"):
            await client.create_webhook("http://example.com/")
        with pytest.raises(InputError, match="events"):
            await client.create_webhook(receiver.url, ["execution.rumoured"])


async def test_lists_are_read_page_by_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("omium.client.aio.PAGE", 2)
    async with client_of(tmp_path) as (client, _):
        await client.register(definition())
        runs = [await client.run("tested", **doing()) for _ in range(5)]
        ids = [run.id for run in reversed(runs)]
        assert [one.id async for one in client.executions()] == ids
        assert [one.id async for one in client.executions(id_prefix=ids[2])] == [ids[2]]
        assert [one.id async for one in client.executions(id_prefix="ex_", workflow="no")] == []
