"""The driver of one life in the benchmark of pauses: a process that is killed while nobody works.

``begin`` lets one agent of each framework come to its question to a person, says so, and stays.
``resume`` finds them in the data directory, answers, and says how long each took to go on.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.paused_agents import ANSWERS
from omium.actors.client import Client
from omium.config import load_settings
from omium.definitions import Workflow, workflow_from
from omium.errors import ExecutionPaused
from omium.execution.events import AgentCompleted, CallIntended
from omium.runtime.runtime import Runtime
from omium.types import ExecutionId

ROOT = str(Path(__file__).parent.parent)
LIFE_S = 240.0
_ENTRYPOINTS = {"python": "clerk", "langgraph": "graph", "crewai": "crew", "autogen": "team"}


async def begin(frameworks: Sequence[str]) -> None:
    async with Runtime(load_settings()) as runtime:
        client = runtime.client
        begun = [
            await client.submit(_workflow(framework), {}, import_paths=(ROOT,))
            for framework in frameworks
        ]
        # Their workers come up side by side.
        await asyncio.gather(*(_ended(client, paused) for paused in begun))
        while any(worker.attempts for worker in (await client.runtime()).workers):
            pass
        _print({"type": "paused"})
        await asyncio.Event().wait()


async def resume(frameworks: Sequence[str]) -> None:
    async with Runtime(load_settings(), warm=dict.fromkeys(frameworks, 1)) as runtime:
        client = runtime.client
        while len((await client.runtime()).workers) < len(frameworks):  # noqa: ASYNC110 (elsewhere)
            await asyncio.sleep(0.1)
        for row in await client.executions(limit=len(frameworks)):
            _print(await _resumed(client, row.id, row.workflow))


async def _resumed(client: Client, execution_id: ExecutionId, framework: str) -> dict[str, Any]:
    """Answer the person's question. An agent goes on when it asks the model again, or is done."""
    view = await client.view(execution_id)
    began_s = time.perf_counter()
    await client.resume(execution_id, decision="answer", answer=ANSWERS[framework])
    async for entry in client.events(execution_id, view.row.last_index):
        if isinstance(entry.event, CallIntended | AgentCompleted):
            break
    taken_ms = (time.perf_counter() - began_s) * 1_000
    await _ended(client, execution_id)
    done = (await client.view(execution_id)).status
    return {"type": "resumed", "framework": framework, "ms": round(taken_ms), "status": done}


async def _ended(client: Client, execution_id: ExecutionId) -> None:
    """Wait until an execution has completed or is paused."""
    try:
        await client.result(execution_id, timeout_s=LIFE_S)
    except ExecutionPaused:
        return


def _workflow(framework: str) -> Workflow:
    entrypoint = f"benchmarks.paused_agents:{_ENTRYPOINTS[framework]}"
    agent = {"name": "clerk", "framework": framework, "entrypoint": entrypoint}
    task = {"task": "Draft it."} if framework == "autogen" else {}
    return workflow_from(
        {
            "name": framework,
            "version": "1",
            "model": "openai/scripted",
            "agents": [{**agent, **task}],
        }
    )


def _print(line: dict[str, Any]) -> None:
    print(json.dumps(line), flush=True)


if __name__ == "__main__":
    lives = {"begin": begin, "resume": resume}
    asyncio.run(lives[sys.argv[1]](sys.argv[2:]))
