"""Workflows over HTTP: versions that never change, and code that may be named."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from omium.errors import ConfigError, NotFound
from omium.serve.api.code import refusal_of
from tests.actors.stage import agent
from tests.serve.api.stage import ROOT, definition, served, submission
from tests.serve.api.test_control import kind

YAML = {"content-type": "application/yaml"}


async def test_a_version_never_changes(tmp_path: Path) -> None:
    async with served(tmp_path) as s:
        body = {"definition": definition()}
        one = await s.http.post("/v1/workflows", json=body)
        two = await s.http.post("/v1/workflows", json=body)
        assert (one.status_code, two.status_code) == (201, 200)
        assert one.json() == two.json()
        assert (await s.http.get(one.headers["location"])).json() == one.json()
        changed = await s.http.post(
            "/v1/workflows", json={"definition": definition(description="new")}
        )
        assert kind(changed) == (409, "conflict")
        assert one.json()["digest"] in changed.json()["detail"]


async def test_the_latest_is_what_was_registered_last(tmp_path: Path) -> None:
    async with served(tmp_path) as s:
        for version in ("2", "10", "v/1 é".replace(" ", "")):
            made = await s.register(version=version)
            assert made["version"] == version
            latest = (await s.http.get("/v1/workflows/tested")).json()
            assert latest["version"] == version
        await s.register(version="2")
        latest = (await s.http.get("/v1/workflows/tested")).json()
        assert [v["version"] for v in latest["versions"]] == ["2", "10", "v/1é"]
        assert latest["version"] == "v/1é"
        odd = await s.http.get("/v1/workflows/tested/versions/v%2F1%C3%A9")
        assert odd.json()["version"] == "v/1é"
        created = await s.http.post("/v1/executions", json=submission())
        view = (await s.http.get(created.headers["location"])).json()
        assert view["version"] == "v/1é"
        created = await s.http.post("/v1/executions", json=submission(version="2"))
        view = (await s.http.get(created.headers["location"])).json()
        assert view["version"] == "2"
        for wrong in (submission(version="3"), submission(workflow="none")):
            assert kind(await s.http.post("/v1/executions", json=wrong)) == (404, "not_found")


async def test_many_register_at_once(tmp_path: Path) -> None:
    async with served(tmp_path) as s:
        await asyncio.gather(*(s.register(version=str(n)) for n in range(8)))
        found = (await s.http.get("/v1/workflows/tested")).json()
        assert sorted(v["version"] for v in found["versions"]) == [str(n) for n in range(8)]
        assert found["versions"] == sorted(
            found["versions"], key=lambda v: (v["registered_ms"], v["version"])
        )


async def test_workflows_are_listed_by_name(tmp_path: Path) -> None:
    async with served(tmp_path) as s:
        for name in ("b", "c", "a"):
            await s.register(name=name, description=f"about {name}")
        first = (await s.http.get("/v1/workflows?limit=2")).json()
        rest = (await s.http.get(f"/v1/workflows?cursor={first['next_cursor']}")).json()
        assert [w["name"] for w in first["workflows"] + rest["workflows"]] == ["a", "b", "c"]
        assert first["workflows"][0]["description"] == "about a"
        assert rest["next_cursor"] is None


async def test_mistakes_carry_their_lines(tmp_path: Path) -> None:
    text = "name: Bad\nversion: '1'\nagents:\n- name: one\n  framework: nothing\n"
    async with served(tmp_path) as s:
        refused = await s.http.post("/v1/workflows", content=text, headers=YAML)
        assert kind(refused) == (422, "definition")
        checked = (await s.http.post("/v1/workflows/validate", content=text, headers=YAML)).json()
        assert checked == {"valid": False, "problems": refused.json()["errors"]}
        places = {(e["field"], e["line"]) for e in checked["problems"]}
        assert {("name", 1), ("agents[0].framework", 5)} <= places
        assert all(not e["message"].startswith("line") for e in checked["problems"])
        broken = await s.http.post("/v1/workflows", content="a: [", headers=YAML)
        assert broken.json()["errors"][0]["line"] >= 1
        binary = await s.http.post("/v1/workflows", content=b"a: \xff", headers=YAML)
        assert kind(binary) == (422, "definition")
        other = await s.http.post("/v1/workflows", content="x", headers={"content-type": "text/a"})
        assert kind(other) == (415, "unsupported_media_type")
        assert kind(await s.http.get("/v1/workflows/Bad")) == (404, "not_found")


async def test_inputs_are_checked_field_by_field(tmp_path: Path) -> None:
    schema: dict[str, Any] = {
        "type": "object",
        "properties": {"n": {"type": "integer"}, "do": {"type": "array"}},
        "required": ["n"],
    }
    async with served(tmp_path) as s:
        await s.register(inputs=schema)
        refused = await s.http.post("/v1/executions", json=submission(inputs={"n": "x", "m": 1}))
        assert kind(refused) == (422, "input")
        assert {e["field"] for e in refused.json()["errors"]} == {"inputs.n", "inputs.m"}
        assert (await s.http.get("/v1/executions")).json()["executions"] == []


async def test_a_repeated_request_stands_though_the_workflow_has_changed(tmp_path: Path) -> None:
    async with served(tmp_path) as s:
        await s.register()
        key = {"idempotency-key": "one"}
        one = await s.http.post("/v1/executions", json=submission(), headers=key)
        needed = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
        await s.register(version="2", inputs=needed)
        two = await s.http.post("/v1/executions", json=submission(), headers=key)
        assert two.status_code == 202, two.text
        assert two.json()["execution"] == one.json()["execution"]
        assert kind(await s.http.post("/v1/executions", json=submission())) == (422, "input")


async def test_what_the_service_lacks_is_told(tmp_path: Path) -> None:
    def check(_: Any, model: str | None) -> None:
        if model == "scripted/gone":
            raise ConfigError("the file of that model is not here")
        if model == "scripted/none":
            raise NotFound("provider", "none")

    async with served(tmp_path, settings={"check": check}) as s:
        await s.register()
        gone = await s.http.post("/v1/executions", json=submission(model="scripted/gone"))
        assert kind(gone) == (422, "config")
        none = await s.http.post("/v1/executions", json=submission(model="scripted/none"))
        assert kind(none) == (422, "input")


# ------------------------------------------------------------------ code


async def test_a_definition_names_only_code_that_it_may(tmp_path: Path) -> None:
    async with served(tmp_path) as s:
        bad = definition(
            agent("one", "os:system"),
            tools=[{"name": "t", "function": "subprocess:run"}],
        )
        bad["agents"][0]["tools"] = ["t"]
        refused = await s.http.post("/v1/workflows", json={"definition": bad})
        assert kind(refused) == (422, "definition")
        assert {e["field"] for e in refused.json()["errors"]} == {
            "agents[0].entrypoint",
            "tools[0].function",
        }
        checked = await s.http.post("/v1/workflows/validate", json={"definition": bad})
        assert checked.json()["problems"] == refused.json()["errors"]


@pytest.mark.parametrize(
    "function",
    [
        "os:system",
        "posix:system",
        "builtins:eval",
        "importlib:import_module",
        "omium.serve.api.code:refusal_of",
        "code.tools:add.__globals__",
        "code.tools:sys.exit",
        "code.tools:run",
        "code.tools:Kit.sys",
        "code.tools:Kit.missing",
        "code.tools:Kit.add.__func__",
        "code.tools:missing",
        "code.more:add",
        "code:tools.add",
        "broken:add",
        "listed:os.system",
        "listed.below:f",
    ],
)
def test_code_that_may_not_be_named(function: str, folder: Path) -> None:
    assert refusal_of(function, (str(folder),), ("listed", "whole.*")) is not None


@pytest.mark.parametrize(
    "function",
    [
        "code.tools:add",
        "code.tools:wait",
        "code.tools:alias",
        "code.tools:Kit",
        "code.tools:Kit.add",
        "code:greet",
        "listed:anything",
        "whole:f",
        "whole.below.it:f",
    ],
)
def test_code_that_may_be_named(function: str, folder: Path) -> None:
    assert refusal_of(function, (str(folder),), ("listed", "whole.*")) is None


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with code."""
    package = tmp_path / "code"
    package.mkdir()
    (package / "__init__.py").write_text("from code import tools\ndef greet(): ...\n")
    (package / "tools.py").write_text(
        "import sys\nfrom subprocess import run\n"
        "def add(a, b): ...\nasync def wait(): ...\nalias = add\n"
        "class Kit:\n    import sys\n    def add(self): ...\n"
    )
    (tmp_path / "broken.py").write_text("def add(:\n")
    return tmp_path


def test_nothing_is_imported_to_find_out(tmp_path: Path) -> None:
    (tmp_path / "loud.py").write_text("raise SystemExit('imported')\ndef f(): ...\n")
    assert refusal_of("loud:f", (str(tmp_path),), ()) is None


def test_the_tests_name_code_of_their_own() -> None:
    assert refusal_of("tests.actors.agents:script", (str(ROOT),), ()) is None
