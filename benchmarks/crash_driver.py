"""The driver of one run of the crash benchmark: a process that may be killed at any moment.

Waits for a warm pool, then submits the workflow or resumes what was begun, and prints each
journal entry as a line of JSON as soon as it is told of it.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path
from typing import Any

from omium.actors.client import Client
from omium.config import load_settings
from omium.errors import Unavailable
from omium.execution.events import to_json
from omium.runtime.prepare import prepare
from omium.runtime.runtime import Runtime
from omium.storage.journal import Journal
from omium.storage.replica import FILE_NAME
from omium.types import ExecutionId

WARM_TIMEOUT_S = 120.0
WARM_POLL_S = 0.1


async def main(framework: str, number: int) -> None:
    settings = load_settings()
    path = Path(__file__).parent / f"crash_{framework}.yaml"
    prepared = prepare(path, {"number": number}, settings)
    spare = settings.pool.spare
    frameworks = sorted({agent.framework for agent in prepared.workflow.agents})
    # Of several frameworks one each: a machine has only so much memory.
    each = spare if len(frameworks) == 1 else 1
    async with Runtime(settings, warm=dict.fromkeys(frameworks, each)) as runtime:
        client = runtime.client
        await _warm(client, each * len(frameworks))
        execution_id = _newest(settings.data_dir)
        if execution_id is None:
            execution_id = await client.submit(
                prepared.workflow, prepared.inputs, import_paths=prepared.import_paths
            )
        elif (await client.view(execution_id)).status != "completed":
            # It may be: what a killed driver leaves behind goes on until Ray has noticed.
            await client.resume(execution_id)
        watch = asyncio.create_task(runtime.watch())
        follow = asyncio.create_task(_follow(client, execution_id))
        done, _ = await asyncio.wait({watch, follow}, return_when=asyncio.FIRST_COMPLETED)
        for task in (watch, follow):
            task.cancel()
        for task in done:
            task.result()


async def _warm(client: Client, count: int) -> None:
    """Wait until ``count`` workers have imported their framework."""
    deadline_s = time.monotonic() + WARM_TIMEOUT_S
    # The coordinator is another process: it can be asked, and not awaited.
    while len((await client.runtime()).workers) < count:
        if time.monotonic() > deadline_s:
            raise Unavailable(f"no {count} workers within {WARM_TIMEOUT_S:g} s")
        await asyncio.sleep(WARM_POLL_S)


async def _follow(client: Client, execution_id: ExecutionId) -> None:
    async for entry in client.events(execution_id):
        _print(to_json(entry))
    view = await client.view(execution_id)
    output = await client.output_of(view) if view.status == "completed" else None
    _print({"type": "result", "status": view.status, "output": output})


def _print(line: dict[str, Any]) -> None:
    print(json.dumps(line), flush=True)


def _newest(data_dir: Path) -> ExecutionId | None:
    if not (data_dir / FILE_NAME).exists():
        return None
    journal = Journal.open(data_dir / FILE_NAME)
    try:
        rows = journal.executions(limit=1)
        return rows[0].id if rows else None
    finally:
        journal.close()


if __name__ == "__main__":
    try:
        asyncio.run(main(sys.argv[1], int(sys.argv[2])))
    except Unavailable as error:
        print(f"interrupted: {error}", file=sys.stderr)
        sys.exit(1)
