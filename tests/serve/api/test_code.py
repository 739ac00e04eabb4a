"""Code over HTTP: a version of a workflow runs for ever on what it was registered with."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from omium.serve.api.context import UPLOADING_MAX
from omium.storage import code_bundle
from omium.storage.code_bundle import digest_of, pack
from tests.actors.stage import WAIT_S
from tests.serve.api.stage import HOST, Served, served
from tests.serve.api.test_control import kind
from tests.serve.api.test_isolation import ZIP, archive

MODULES = ("own_flow", "own_more")
FLOW: dict[str, Any] = {
    "name": "own",
    "version": "1",
    "agents": [{"name": "a", "framework": "python", "entrypoint": "own_flow:act"}],
}
ACT = "async def act(context):\n    return 'one'\n"


def flow(**fields: Any) -> dict[str, Any]:
    return {"definition": {**FLOW, **fields}}


def run(version: str) -> dict[str, Any]:
    return {"workflow": "own", "version": version}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The service's folder. All workers are in this process, so what they import is undone."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    folder = tmp_path / "flows"
    folder.mkdir()
    (folder / "own_flow.py").write_text(ACT)
    forget()
    yield folder
    forget()


def forget() -> None:
    """As another process would, which has imported nothing."""
    for name in MODULES:
        sys.modules.pop(name, None)
    sys.path[:] = [path for path in sys.path if "/code/" not in path]


async def result(s: Served, version: str) -> Any:
    forget()
    answer = await s.http.post("/v1/executions?wait=true", json=run(version))
    assert answer.status_code == 200, answer.text
    return answer.json()["output"]


async def test_a_version_runs_on_the_code_that_it_was_registered_with(
    tmp_path: Path, folder: Path
) -> None:
    async with served(tmp_path / "data", settings={"import_paths": (str(folder),)}) as s:
        one = await s.http.post("/v1/workflows", json=flow())
        assert one.status_code == 201, one.text
        assert one.json()["code"]["files"] == 1
        (folder / "own_flow.py").write_text(ACT.replace("one", "two"))
        assert await result(s, "1") == "one"
        two = await s.http.post("/v1/workflows", json=flow(version="2"))
        (folder / "own_flow.py").unlink()
        assert await result(s, "2") == "two"
        assert await result(s, "1") == "one"
        versions = (await s.http.get("/v1/workflows/own")).json()["versions"]
        assert [v["code"] for v in versions] == [
            one.json()["code"]["digest"],
            two.json()["code"]["digest"],
        ]
        journal = await s.http.get("/v1/executions?workflow=own")
        first = journal.json()["executions"][-1]["id"]
        entry = (await s.http.get(f"/v1/executions/{first}/journal?limit=1")).json()["entries"][0]
        assert entry["code"]["blob"]["digest"] == one.json()["code"]["digest"]
        # What is run there is the operator's: nobody reads it.
        sha256 = one.json()["code"]["digest"].removeprefix("sha256:")
        assert kind(await s.http.get(f"/v1/executions/{first}/blobs/{sha256}")) == (
            404,
            "not_found",
        )


async def test_another_code_of_a_version_is_refused_with_what_differs(
    tmp_path: Path, folder: Path
) -> None:
    (folder / "gone.py").write_text("")
    async with served(tmp_path / "data", settings={"import_paths": (str(folder),)}) as s:
        one = await s.http.post("/v1/workflows", json=flow())
        again = await s.http.post("/v1/workflows", json=flow())
        assert (one.status_code, again.status_code) == (201, 200)
        assert again.json() == one.json()
        (folder / "own_flow.py").write_text(ACT.replace("one", "two"))
        (folder / "own_more.py").write_text("")
        (folder / "gone.py").unlink()
        other = await s.http.post("/v1/workflows", json=flow(description="new"))
        assert kind(other) == (409, "conflict")
        assert other.json()["changes"] == {
            "definition": ["description"],
            "code": {"added": ["own_more.py"], "changed": ["own_flow.py"], "removed": ["gone.py"]},
            "left_out": 0,
        }
        detail = other.json()["detail"]
        assert "(description) and other code (added own_more.py; changed own_flow.py" in detail
        assert detail.endswith("give this one another version")
        assert (await s.http.get("/v1/workflows/own/versions/1")).json() == one.json()
        # Nor does it become one that has no code at all.
        (folder / "own_flow.py").unlink()
        none = await s.http.post("/v1/workflows", json=flow())
        assert kind(none) == (422, "definition")
        # The names that are told have a bound.
        (folder / "own_flow.py").write_text(ACT)
        (folder / "gone.py").write_text("")
        (folder / "own_more.py").unlink()
        for number in range(120):
            (folder / f"f{number:03}.txt").write_text("")
        many = (await s.http.post("/v1/workflows", json=flow())).json()
        assert many["changes"]["code"]["added"][::99] == ["f000.txt", "f099.txt"]
        assert many["changes"]["left_out"] == 20
        assert "f019.txt and 100 more" in many["detail"]


async def test_what_is_installed_is_not_pinned_and_not_looked_for(
    tmp_path: Path, folder: Path
) -> None:
    settings = {"import_paths": (str(folder),), "modules": ("json",)}
    body = flow(agents=[{"name": "a", "framework": "python", "entrypoint": "json:loads"}])
    async with served(tmp_path / "data", settings=settings) as s:
        made = await s.http.post("/v1/workflows", json=body)
        assert (made.status_code, made.json()["code"]) == (201, None)
        # A module of that name that comes into the folder later is not what was registered.
        (folder / "json.py").write_text("def loads(context): ...\n")
        created = await s.http.post("/v1/executions", json=run("1"))
        entries = await s.http.get(f"{created.headers['location']}/journal?limit=1")
        assert "import_paths" not in entries.json()["entries"][0]
        assert kind(await s.http.post("/v1/workflows", json=body)) == (409, "conflict")


async def test_what_an_older_omium_registered_runs_on_the_folders(
    tmp_path: Path, folder: Path
) -> None:
    async with served(tmp_path / "data", settings={"import_paths": (str(folder),)}) as s:
        made = (await s.http.post("/v1/workflows", json=flow())).json()
        record = await s.stage.client.record("workflow", "own@1")
        assert record is not None
        old = {"definition": record.body["definition"], "digest": record.body["digest"]}
        await s.stage.client.put_record("workflow", "own@1", old)
        again = await s.http.post("/v1/workflows", json=flow())
        assert (again.status_code, again.json()) == (200, {**made, "code": None, **stamp(again)})
        (folder / "own_flow.py").write_text(ACT.replace("one", "two"))
        assert await result(s, "1") == "two"


def stamp(answer: httpx.Response) -> dict[str, Any]:
    """What writing a record anew changes of it."""
    return {"registered_ms": answer.json()["registered_ms"]}


async def test_code_that_is_too_large_is_told_to_the_operator_only(
    tmp_path: Path,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(code_bundle, "FILES_MAX", 0)
    async with served(tmp_path / "data", settings={"import_paths": (str(folder),)}) as s:
        refused = await s.http.post("/v1/workflows", json=flow())
        assert kind(refused) == (422, "config")
        assert str(folder) not in refused.text
        assert str(folder) in caplog.text
        assert kind(await s.http.get("/v1/workflows/own")) == (404, "not_found")


async def test_the_data_directory_is_no_code(tmp_path: Path, folder: Path) -> None:
    data = folder / "state"
    settings = {"import_paths": (str(folder),), "not_code": (str(data),)}
    async with served(data, settings=settings) as s:
        assert (await s.http.post("/v1/workflows", json=flow())).json()["code"]["files"] == 1


async def test_a_fork_may_name_what_its_own_code_has(tmp_path: Path, folder: Path) -> None:
    async with served(tmp_path / "data", settings={"import_paths": (str(folder),)}) as s:
        (folder / "own_more.py").write_text("async def other(context):\n    return 'other'\n")
        await s.http.post("/v1/workflows", json=flow())
        created = await s.http.post("/v1/executions?wait=true", json=run("1"))
        path = f"/v1/executions/{created.json()['execution']}/fork"
        (folder / "own_more.py").unlink()
        (folder / "own_late.py").write_text("def late(context): ...\n")

        def onto(entrypoint: str) -> dict[str, Any]:
            return {"at": 1, "changes": {"agents.a.entrypoint": entrypoint}}

        late = await s.http.post(path, json=onto("own_late:late"))
        assert kind(late) == (422, "definition")
        assert "'own_late' where this service has its code" in late.json()["detail"]
        forget()
        forked = await s.http.post(path, json=onto("own_more:other"))
        assert forked.status_code == 202, forked.text
        assert await s.result(forked.json()["execution"]) == "other"


# ------------------------------------------------------------------ code that is brought


def bringing(*tenants: str, **fields: Any) -> dict[str, Any]:
    """Settings of a service that has no code of its own."""
    return {"import_paths": (), "upload_tenants": tenants or ("default",), **fields}


async def upload(caller: httpx.AsyncClient, content: bytes, **headers: str) -> httpx.Response:
    return await caller.post("/v1/code", content=content, headers={**ZIP, **headers})


async def test_a_tenant_runs_what_it_brings(tmp_path: Path, folder: Path) -> None:
    bundle = pack((folder,))
    async with served(tmp_path / "data", settings=bringing()) as s:
        one = await upload(s.http, bundle.data)
        two = await upload(s.http, bundle.data)
        assert (one.status_code, two.status_code) == (201, 200), one.text
        assert one.json() == two.json()
        digest = one.json()["digest"]
        # What was packed here is stored as it is.
        assert digest == digest_of(bundle.data)
        shown = await s.http.get(f"/v1/code/{digest.removeprefix('sha256:')}")
        assert shown.json() == one.json()
        assert (await s.http.get("/v1/code")).json() == {
            "code": [one.json()],
            "next_cursor": None,
        }
        # Without it there is no such code here.
        assert kind(await s.http.post("/v1/workflows", json=flow())) == (422, "definition")
        path = f"/v1/workflows?code={digest}"
        checked = await s.http.post(f"/v1/workflows/validate?code={digest}", json=flow())
        assert checked.json() == {"valid": True, "problems": []}
        made = await s.http.post(path, json=flow())
        assert (made.status_code, made.json()["code"]["uploaded"]) == (201, True), made.text
        assert (await s.http.post(path, json=flow())).status_code == 200
        assert await result(s, "1") == "one"
        (folder / "own_flow.py").write_text(ACT.replace("one", "two"))
        other = (await upload(s.http, pack((folder,)).data)).json()["digest"]
        refused = await s.http.post(f"/v1/workflows?code={other}", json=flow())
        assert refused.json()["changes"]["code"]["changed"] == ["own_flow.py"]
        text = (await s.http.get("/v1/workflows/own")).text
        assert str(folder) not in text


async def test_what_was_lost_is_there_again_when_it_is_brought_again(
    tmp_path: Path, folder: Path
) -> None:
    blobs, bundle = tmp_path / "blobs", pack((folder,)).data
    async with served(tmp_path / "data", settings=bringing(), blobs_url=str(blobs)) as s:
        digest = (await upload(s.http, bundle)).json()["digest"]
        made = await s.http.post(f"/v1/workflows?code={digest}", json=flow())
        assert made.status_code == 201, made.text
        # As docs/operations.md says how a bundle is removed.
        sha256 = digest.removeprefix("sha256:")
        (blobs / "default" / "blobs" / sha256[:2] / sha256[2:]).unlink()
        # Who asks whether it is to be uploaded is told so.
        assert kind(await s.http.get(f"/v1/code/{sha256}")) == (404, "not_found")
        assert (await upload(s.http, bundle)).status_code == 200
        assert (await s.http.get(f"/v1/code/{sha256}")).status_code == 200
        assert await result(s, "1") == "one"


async def test_what_is_named_must_be_in_what_is_brought(tmp_path: Path) -> None:
    own = archive(own_flow="from own_more import act\nimport own_more as more\n", own_more=ACT)
    settings = bringing(modules=("listed.*",))
    async with served(tmp_path / "data", settings=settings) as s:
        digest = (await upload(s.http, own)).json()["digest"]

        async def named(entrypoint: str) -> httpx.Response:
            agent = {"name": "a", "framework": "python", "entrypoint": entrypoint}
            return await s.http.post(
                f"/v1/workflows/validate?code={digest}", json=flow(agents=[agent])
            )

        for fine in ("own_flow:act", "own_flow:more.act", "own_more:act", "listed.tools:add"):
            assert (await named(fine)).json()["valid"], fine
        for wrong in ("own_flow:missing", "own_none:act", "os:system", "tests.actors.agents:add"):
            assert not (await named(wrong)).json()["valid"], wrong


async def test_nobody_names_the_code_of_another(tmp_path: Path, folder: Path) -> None:
    async with served(tmp_path / "data", settings=bringing("default", "other")) as s:
        bundle = pack((folder,)).data
        digest = (await upload(s.http, bundle)).json()["digest"]
        path = f"/v1/workflows?code={digest}"
        async with s.caller(await s.key_of("other")) as other:
            assert kind(await other.post(path, json=flow())) == (404, "not_found")
            assert (await other.get("/v1/code")).json()["code"] == []
            # The same bytes, brought by itself, are its own.
            assert (await upload(other, bundle)).status_code == 201
            assert (await other.post(path, json=flow())).status_code == 201
        async with s.caller(await s.key_of("third")) as third:
            for refused in (
                await upload(third, bundle),
                await third.post(path, json=flow()),
                await third.post(path.replace("?", "/validate?"), json=flow()),
            ):
                assert kind(refused) == (403, "forbidden")
                assert "'third' in service.upload_tenants" in refused.json()["detail"]
        async with s.caller(await s.key_of("default", "run")) as weak:
            assert kind(await upload(weak, bundle)) == (403, "forbidden")


async def test_what_is_sent_is_looked_at(tmp_path: Path) -> None:
    async with served(tmp_path / "data", settings=bringing(code_bytes_max=2_000)) as s:
        good = archive(own_flow=ACT)
        for body, headers, expected in (
            (b"x" * 2_001, {}, (413, "too_large")),
            (b"no archive", {}, (422, "input")),
            (b"", {}, (422, "input")),
            (good, {"content-type": "application/json"}, (415, "unsupported_media_type")),
            (good, {"content-digest": f"sha-256=:{'A' * 43}=:"}, (422, "invalid")),
            (good, {"content-digest": "md5=:AAAA:"}, (422, "invalid")),
        ):
            refused = await upload(s.http, body, **headers)
            assert kind(refused) == expected, refused.text
        large = await upload(s.http, b"x" * 2_001)
        assert large.json()["limit"] == {"name": "code_bytes_max", "max": 2_000}
        named = f"sha-256=:{base64.b64encode(hashlib.sha256(good).digest()).decode()}:"
        assert (await upload(s.http, good, **{"content-digest": named})).status_code == 201
        missing = await s.http.post(f"/v1/workflows?code=sha256:{'0' * 64}", json=flow())
        assert kind(missing) == (404, "not_found")
        assert kind(await s.http.post("/v1/workflows?code=x", json=flow())) == (422, "invalid")


async def test_a_tenant_has_so_much_code_and_no_more(tmp_path: Path) -> None:
    one, two, three = (archive(own_flow=f"{ACT}# {n}\n") for n in "123")
    limits = {"code_max": 2, "code_total_bytes_max": 1_024}
    async with served(tmp_path / "data", settings=bringing(**limits)) as s:
        assert (await upload(s.http, one)).status_code == 201
        assert (await upload(s.http, two)).status_code == 201
        refused = await upload(s.http, three)
        assert kind(refused) == (409, "limit_reached")
        assert refused.json()["limit"] == {"name": "code_max", "max": 2}
        # What is there is there.
        assert (await upload(s.http, one)).status_code == 200
    async with served(tmp_path / "more", settings=bringing(code_total_bytes_max=1_024)) as s:
        assert (await upload(s.http, one)).status_code == 201
        refused = await upload(s.http, archive(own_flow=ACT + "#" * 1_000))
        assert refused.json()["limit"] == {"name": "code_total_bytes_max", "max": 1_024}


async def test_a_body_that_does_not_come_holds_up_nobody(tmp_path: Path) -> None:
    async with served(tmp_path / "data", settings=bringing(upload_timeout_s=0.5)) as s:
        head = (
            f"POST /v1/code HTTP/1.1\r\nhost: {HOST}\r\nauthorization: Bearer {s.key}\r\n"
            "content-type: application/zip\r\ncontent-length: 100\r\n\r\nPK"
        )
        port = int(s.url.rpartition(":")[2])
        stuck = [await asyncio.open_connection(HOST, port) for _ in range(UPLOADING_MAX)]
        try:
            for _, writer in stuck:
                writer.write(head.encode())
            made = await upload(s.http, archive(own_flow=ACT))
            assert made.status_code == 201
            for reader, _ in stuck:
                async with asyncio.timeout(WAIT_S):
                    assert (await reader.readline()).startswith(b"HTTP/1.1 400 ")
        finally:
            for _, writer in stuck:
                writer.close()
