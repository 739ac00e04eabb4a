"""The HTTP API on a real port over a whole runtime in this process, and those who call it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from fastapi import FastAPI

from omium.actors.courier import WebhookSettings
from omium.serve.api import ApiSettings, Keys, Scope, create_app
from omium.serve.api.context import Api
from omium.testing.script import Rule
from omium.types import ExecutionId, Json, TenantId
from tests.actors.stage import MODEL, TOOLS, WAIT_S, Stage, agent, stage

PEPPER = b"p" * 32
ROOT = Path(__file__).parents[3]
HOST = "127.0.0.1"


@dataclass(kw_only=True)
class Served:
    """What a test acts on. ``http`` sends the admin key of the tenant ``default``."""

    stage: Stage
    app: FastAPI
    url: str
    http: httpx.AsyncClient
    key: str

    @property
    def api(self) -> Api:
        return self.app.state.api

    @property
    def keys(self) -> Keys:
        return self.api.keys

    async def key_of(self, tenant: str, *scopes: Scope) -> str:
        """A new key of a tenant."""
        made = await self.keys.create(TenantId(tenant), "tests", scopes or ("admin",))
        assert made.secret is not None
        return made.secret

    @asynccontextmanager
    async def caller(self, key: str | None) -> AsyncIterator[httpx.AsyncClient]:
        """Somebody else, with that key or none."""
        headers = {"authorization": f"Bearer {key}"} if key is not None else {}
        async with httpx.AsyncClient(base_url=self.url, headers=headers, timeout=WAIT_S) as http:
            yield http

    async def register(self, *agents: dict[str, Any], **fields: Any) -> dict[str, Any]:
        """Register a workflow of those agents, or of one that does what its inputs say."""
        answer = await self.http.post(
            "/v1/workflows", json={"definition": definition(*agents, **fields)}
        )
        assert answer.status_code in (200, 201), answer.text
        return answer.json()

    async def run(self, *actions: dict[str, Any], **fields: Any) -> ExecutionId:
        """Create an execution of the registered workflow ``tested`` that does ``actions``."""
        answer = await self.http.post("/v1/executions", json=submission(*actions, **fields))
        assert answer.status_code == 202, answer.text
        return ExecutionId(answer.json()["execution"])

    async def result(self, execution_id: str) -> Json:
        return await self.stage.result(ExecutionId(execution_id))


def definition(*agents: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """A definition of those agents with every tool of the tests."""
    members = list(agents) or [agent("doer")]
    return {"name": "tested", "version": "1", "tools": TOOLS, "agents": members, **fields}


def submission(*actions: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """What is posted to have the workflow ``tested`` do ``actions``."""
    return {"workflow": "tested", "inputs": {"do": list(actions)}, "model": MODEL, **fields}


@asynccontextmanager
async def served(
    directory: Path,
    rules: Sequence[Rule] = (),
    *,
    settings: dict[str, Any] | None = None,
    webhooks: WebhookSettings | None = None,
    **runtime: Any,
) -> AsyncIterator[Served]:
    """The API on a free port. ``settings`` are those that differ, ``runtime`` those of the stage
    behind it. Webhooks may reach this machine."""
    webhooks = webhooks or WebhookSettings(hosts=(HOST,))
    async with stage(directory, rules, webhooks=webhooks, **runtime) as behind:
        options: dict[str, Any] = {
            "pepper": PEPPER,
            # As if installed: else each version that is registered takes all of the checkout.
            "modules": ("tests.*",),
            "gateway_url": behind.runtime.gateway_url,
            "gateway_key": behind.runtime.api_key,
            "key_cache_s": 0.0,
            "upload_tenants": ("default",),
            "webhook_hosts": (HOST,),
            **(settings or {}),
        }
        app = create_app(behind.client, ApiSettings(**options))
        async with listening(app) as url:
            made = await app.state.api.keys.create(TenantId("default"), "tests", ("admin",))
            headers = {"authorization": f"Bearer {made.secret}"}
            async with httpx.AsyncClient(base_url=url, headers=headers, timeout=WAIT_S) as http:
                yield Served(stage=behind, app=app, url=url, http=http, key=made.secret)


@asynccontextmanager
async def listening(app: FastAPI) -> AsyncIterator[str]:
    """The application on a port of its own, until the end of the block."""
    config = uvicorn.Config(
        app,
        host=HOST,
        port=0,
        log_config=None,
        access_log=False,
        ws="websockets-sansio",
        timeout_graceful_shutdown=1,
    )
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())
    try:
        while not server.started:
            assert not serving.done(), "the server did not start"
            await asyncio.sleep(0.01)
        host, port = server.servers[0].sockets[0].getsockname()[:2]
        yield f"http://{host}:{port}"
    finally:
        server.should_exit = True
        await serving


@dataclass(frozen=True, kw_only=True)
class Sent:
    """A server-sent event as it came; a comment has the event ``:``."""

    id: int | None
    event: str
    data: Any


async def events(answer: httpx.Response) -> AsyncIterator[Sent]:
    """The server-sent events of an answer, comments too."""
    fields: dict[str, str] = {}
    async for line in answer.aiter_lines():
        if line.startswith(":"):
            yield Sent(id=None, event=":", data=line[1:].strip())
        elif line:
            name, _, value = line.partition(": ")
            fields[name] = value
        elif "event" in fields:
            number = int(fields["id"]) if "id" in fields else None
            yield Sent(id=number, event=fields["event"], data=json.loads(fields["data"]))
            fields = {}
        else:
            fields = {}
