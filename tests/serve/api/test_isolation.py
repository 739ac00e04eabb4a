"""Nobody gets in without a key, and nobody sees another tenant's things.

Made from the OpenAPI document: a route that is new is tested by being there, and one with a
parameter that nobody has thought of fails.
"""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import pytest

from omium.serve.api import ApiSettings, create_app
from omium.serve.api.route import NO_SCOPE, SCOPE_FIELD
from tests.serve.api.stage import PEPPER, Served, served, submission

LARGE = "x" * 40_000
ZIP = {"content-type": "application/zip"}


def archive(**files: str) -> bytes:
    """A ZIP archive of modules in folder 0."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as made:
        for name, text in files.items():
            made.writestr(f"0/{name}.py", text)
    return buffer.getvalue()


CODE = archive(mine="def act(context): ...\n")
SECRET = ("execution_id", "sha256", "key_id", "webhook_id", "delivery_id", "code_sha256")


def document() -> dict[str, Any]:
    """The OpenAPI document."""

    def nobody() -> Any:
        raise AssertionError("the application is not started")

    return create_app(nobody, ApiSettings(pepper=PEPPER)).openapi()


def operations() -> list[Any]:
    """Every operation of the document."""
    return [
        pytest.param(method.upper(), path, operation, id=f"{method.upper()} {path}")
        for path, methods in DOCUMENT["paths"].items()
        for method, operation in methods.items()
    ]


DOCUMENT = document()
PROBLEM = DOCUMENT["components"]["schemas"]["Problem"]
OPERATIONS = operations()


def fits(answer: httpx.Response, operation: dict[str, Any]) -> None:
    """Check that an answer is what the document says of it."""
    content = operation["responses"][str(answer.status_code)]["content"]
    (schema,) = (content[t]["schema"] for t in content if t in answer.headers["content-type"])
    if "json" in answer.headers["content-type"]:
        whole = {**schema, "components": DOCUMENT["components"]}
        jsonschema.Draft202012Validator(whole).validate(answer.json())


async def things(s: Served) -> dict[str, str]:
    """One of each thing that a path may name, of the tenant ``default``."""
    await s.register()
    execution = await s.run({"checkpoint": "one"}, {"checkpoint": LARGE}, {"ask": LARGE})
    await s.result(execution)
    journal = (await s.http.get(f"/v1/executions/{execution}/journal")).json()["entries"]
    steps = [e["index"] for e in journal if e["type"] == "step.completed"]
    blobs = [
        value["blob"]["digest"].removeprefix("sha256:")
        for e in journal
        for value in e.values()
        if isinstance(value, dict) and "blob" in value
    ]
    made = await s.http.post("/v1/keys", json={"name": "mine", "scopes": ["read"]})
    hook = (await s.http.post("/v1/webhooks", json={"url": "http://127.0.0.1:1/"})).json()["id"]
    sent = (await s.http.post(f"/v1/webhooks/{hook}/test")).json()
    code = await s.http.post("/v1/code", content=CODE, headers=ZIP)
    return {
        "execution_id": execution,
        "name": "tested",
        "version": "1",
        "index": str(steps[0]),
        "other": str(steps[-1]),
        "sha256": blobs[0],
        "key_id": made.json()["id"],
        "webhook_id": hook,
        "delivery_id": sent["id"],
        "code_sha256": code.json()["digest"].removeprefix("sha256:"),
    }


BODIES: dict[str, Any] = {
    "/v1/executions": submission({"ask": "mine"}),
    "/v1/executions/{execution_id}/signal": {"name": "go", "payload": 1},
    "/v1/executions/{execution_id}/fork": {"at": 2},
}


async def test_another_tenant_sees_nothing(tmp_path: Path) -> None:
    async with served(tmp_path) as s:
        mine = await things(s)
        before = (await s.http.get(f"/v1/executions/{mine['execution_id']}")).json()
        async with s.caller(await s.key_of("stranger")) as stranger:
            for operation in OPERATIONS:
                method, path, document = operation.values
                url = path.format(**mine)
                answer = await stranger.request(method, url, json=BODIES.get(path))
                if "{" in path or (method == "POST" and path in BODIES):
                    assert answer.status_code == 404, f"{method} {url}: {answer.text}"
                    assert answer.json()["type"] == "urn:omium:problem:not_found"
                for name in SECRET:
                    shown = answer.text.replace(url, "")
                    if answer.status_code < 400:
                        assert mine[name] not in shown, f"{method} {url} tells of {name}"
                if method == "GET" and document[SCOPE_FIELD] == "read" and "{" not in path:
                    assert answer.status_code == 200
                    assert "tested" not in answer.text
        # And the owner finds all of it, as it was.
        for operation in OPERATIONS:
            method, path, document = operation.values
            if method == "GET" and not path.endswith("/events"):
                answer = await s.http.get(path.format(**mine))
                assert answer.status_code == 200, f"{path}: {answer.text}"
                fits(answer, document)
        assert (await s.http.get(f"/v1/executions/{mine['execution_id']}")).json() == before


async def test_nothing_is_open_without_a_key(tmp_path: Path) -> None:
    async with served(tmp_path) as s:
        mine = await things(s)
        revoked = await s.key_of("default")
        await s.http.delete(f"/v1/keys/{revoked[4:12]}")
        wrong = s.key[:-1] + ("A" if s.key[-1] != "A" else "B")
        for key in (None, "nonsense", revoked, wrong, "omk_aaaaaaaa_" + "a" * 43):
            async with s.caller(key) as nobody:
                for operation in OPERATIONS:
                    method, path, document = operation.values
                    answer = await nobody.request(method, path.format(**mine), content=b"?")
                    if document[SCOPE_FIELD] == NO_SCOPE:
                        assert answer.status_code == 200, f"{method} {path}"
                        continue
                    assert answer.status_code == 401, f"{method} {path}: {answer.text}"
                    assert answer.headers["www-authenticate"].startswith("Bearer")
                    assert answer.headers["content-type"] == "application/problem+json"


async def test_a_scope_opens_what_it_says(tmp_path: Path) -> None:
    ranks = {NO_SCOPE: 0, "read": 1, "run": 2, "admin": 3}
    async with served(tmp_path) as s:
        mine = await things(s)
        for scope in ("read", "run"):
            async with s.caller(await s.key_of("stranger", scope)) as caller:
                for operation in OPERATIONS:
                    method, path, document = operation.values
                    answer = await caller.request(method, path.format(**mine))
                    if ranks[document[SCOPE_FIELD]] <= ranks[scope]:
                        assert answer.status_code != 403, f"{method} {path}"
                        continue
                    assert answer.status_code == 403, f"{method} {path}"
                    assert document[SCOPE_FIELD] == answer.json()["scope"]
                    assert document[SCOPE_FIELD] in answer.json()["detail"]


@pytest.mark.parametrize("method, path, operation", OPERATIONS)
def test_an_operation_is_documented(method: str, path: str, operation: dict[str, Any]) -> None:
    assert operation["summary"] and operation["description"], path
    assert bool(operation["security"]) == (operation[SCOPE_FIELD] != NO_SCOPE)
    for status, answer in operation["responses"].items():
        if int(status) >= 400:
            (media_type,) = answer["content"]
            assert media_type == "application/problem+json"
            name = answer["content"][media_type]["schema"]["$ref"].rpartition("/")[2]
            schema = DOCUMENT["components"]["schemas"][name]
            assert set(schema["properties"]) >= set(PROBLEM["properties"])
    for parameter in operation.get("parameters", ()):
        assert parameter["description"], parameter["name"]
    body = operation.get("requestBody", {}).get("content", {}).get("application/json")
    assert body is None or body["schema"]
    json.dumps(operation)
