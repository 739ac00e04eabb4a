"""A runtime and a scripted provider, set up for a test, and the questions that tests ask them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omium.actors.client import Client
from omium.definitions import Workflow, workflow_from
from omium.execution.events import Entry, type_of
from omium.llm.providers import Provider
from omium.testing.runtime import InProcessRuntime
from omium.testing.scripted import Rule, Script, ScriptedProvider
from omium.types import ExecutionId, Json, WorkerId

WAIT_S = 20.0
MODEL = "scripted/scripted"

TOOLS: list[dict[str, Any]] = [
    {"name": "add", "function": "tests.actors.agents:add", "idempotent": True},
    {"name": "pay", "function": "tests.actors.agents:pay"},
    {"name": "pay_blocking", "function": "tests.actors.agents:pay_blocking"},
    {"name": "put", "function": "tests.actors.agents:pay", "idempotent": True},
    {"name": "put_blocking", "function": "tests.actors.agents:pay_blocking", "idempotent": True},
    {"name": "broken", "function": "tests.actors.agents:broken"},
    {"name": "unfit", "function": "tests.actors.agents:unfit"},
]


def agent(name: str, entrypoint: str = "script", **fields: Any) -> dict[str, Any]:
    """An agent of a definition; ``entrypoint`` is a function of ``tests.actors.agents``."""
    full = entrypoint if ":" in entrypoint else f"tests.actors.agents:{entrypoint}"
    tools = [tool["name"] for tool in TOOLS]
    return {"name": name, "framework": "python", "entrypoint": full, "tools": tools, **fields}


def workflow(*agents: dict[str, Any], **fields: Any) -> Workflow:
    """A workflow of those agents with every tool there is."""
    return workflow_from(
        {"name": "tested", "version": "1", "tools": TOOLS, "agents": list(agents), **fields}
    )


@dataclass(kw_only=True)
class Stage:
    """What a test acts on."""

    runtime: InProcessRuntime
    provider: ScriptedProvider

    @property
    def client(self) -> Client:
        return self.runtime.client

    async def submit(
        self, flow: Workflow, inputs: dict[str, Any] | None = None, **options: Any
    ) -> ExecutionId:
        return await self.client.submit(flow, inputs or {}, model=MODEL, **options)

    async def do(self, *actions: dict[str, Any], **fields: Any) -> ExecutionId:
        """Submit one agent that does ``actions``; see ``tests.actors.agents``."""
        return await self.submit(workflow(agent("doer", **fields)), {"do": list(actions)})

    async def result(self, execution_id: ExecutionId) -> Json:
        return await self.client.result(execution_id, timeout_s=WAIT_S)

    async def until(self, execution_id: ExecutionId, kind: str, times: int = 1) -> Entry:
        """Wait for the event of that type, or for the ``times``-th of them."""
        seen: list[str] = []
        async with asyncio.timeout(WAIT_S):
            async for entry in self.client.events(execution_id):
                seen.append(type_of(entry.event))
                if seen.count(kind) == times:
                    return entry
        raise AssertionError(f"{execution_id} stopped without {kind}: {seen}")

    async def journal(self, execution_id: ExecutionId) -> list[Entry]:
        """The whole journal of an execution that has stopped."""
        async with asyncio.timeout(WAIT_S):
            return [entry async for entry in self.client.events(execution_id)]

    async def types(self, execution_id: ExecutionId) -> list[str]:
        return [type_of(entry.event) for entry in await self.journal(execution_id)]

    async def asked(self, times: int) -> None:
        """Wait until so many requests have reached the provider."""
        await asyncio.to_thread(self.provider.wait, received=times, timeout_s=WAIT_S)

    async def ticked(self, late_s: float = 0.0) -> None:
        """Let the coordinator look at the clock, and do what follows from that."""
        self.runtime.tick(late_s)
        await self.client.runtime()

    async def idle(self) -> None:
        """Wait until no worker works on anything."""
        async with asyncio.timeout(WAIT_S):
            while any(worker.attempts for worker in (await self.client.runtime()).workers):
                pass

    def kill(self) -> WorkerId:
        """Kill the one worker there is."""
        (worker,) = self.runtime.spawner.workers
        self.runtime.spawner.end(worker)
        return worker


@asynccontextmanager
async def stage(
    directory: Path,
    rules: Sequence[Rule] = (),
    *,
    script: Script | None = None,
    kind: Callable[..., InProcessRuntime] = InProcessRuntime,
    **options: Any,
) -> AsyncIterator[Stage]:
    """A started runtime in ``directory`` whose one provider answers by ``rules``, or echoes.
    ``kind`` makes it of ``options``."""
    provider = ScriptedProvider(rules, script=script)
    named = Provider(name="scripted", base_url=provider.start())
    options.setdefault("providers", {"scripted": named})
    runtime = kind(directory, **options)
    try:
        await runtime.__aenter__()
        yield Stage(runtime=runtime, provider=provider)
    finally:
        # Side by side: each takes its time to let go of its port.
        await asyncio.gather(runtime.__aexit__(None, None, None), asyncio.to_thread(provider.stop))
