"""How long a cancelled agent goes on: from the request until no worker works on it any more.

Real agents on a real Ray, each caught in a call of the model, in a tool on the event loop, and in a
tool that keeps a thread, which only the end of its process stops. CrewAI runs every tool in a
thread. Afterwards nothing may follow ``execution.cancelled`` in a journal.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.cancel_agents import BLOCKING_TOOL, SCRIPT, WAITING_TOOL
from benchmarks.machine import describe, percentile
from omium.actors.client import Client
from omium.config import load_settings
from omium.definitions import Workflow, workflow_from
from omium.execution.events import CallIntended, type_of
from omium.runtime.runtime import Runtime
from omium.testing.scripted import Rule, ScriptedProvider

FRAMEWORKS = ("langgraph", "crewai", "autogen")
CASES = {"model": "Answer.", "tool": f"Call {WAITING_TOOL}.", "thread": f"Call {BLOCKING_TOOL}."}
"""Where an agent is caught, and what the model is told for that."""

ROOT = str(Path(__file__).parent.parent)
SPARE = 2
WAIT_S = 120.0


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="benchmarks cancel", description=__doc__)
    parser.add_argument("--framework", choices=FRAMEWORKS, action="append", help="default: all")
    parser.add_argument("--times", type=int, default=20, help="cancellations of each kind")
    parser.add_argument("--kills", type=int, default=5, help="of those that cost a process")
    options = parser.parse_args(argv)
    figures: dict[str, Any] = {"benchmark": "cancel", **describe()}
    for framework in options.framework or FRAMEWORKS:
        with tempfile.TemporaryDirectory(prefix="omium-cancel-") as folder:
            taken = asyncio.run(_measure(Path(folder), framework, options.times, options.kills))
        for case, values in taken.items():
            figures[f"{framework}_{case}_ms"] = {
                "times": len(values),
                "p50": round(percentile(values, 0.5)),
                "p99": round(percentile(values, 0.99)),
            }
            print(f"{framework}, in the {case}: {figures[f'{framework}_{case}_ms']}", flush=True)
    print(json.dumps(figures))


async def _measure(folder: Path, framework: str, times: int, kills: int) -> dict[str, list[float]]:
    with ScriptedProvider([Rule.model_validate(rule) for rule in SCRIPT]) as provider:
        settings = load_settings(
            {
                "data_dir": folder / "data",
                "openai_base_url": provider.base_url,
                "openai_api_key": "scripted",
                "pool": {"spare": SPARE},
            }
        )
        taken: dict[str, list[float]] = {}
        async with Runtime(settings, warm={framework: SPARE}) as runtime:
            for case in CASES:
                if (framework, case) == ("crewai", "tool"):
                    continue
                taken[case] = [
                    await _cancelled(runtime.client, framework, case)
                    for _ in range(kills if case == "thread" else times)
                ]
        return taken


async def _cancelled(client: Client, framework: str, case: str) -> float:
    """Let one execution come to where it is to be caught, and cancel it. Milliseconds until it
    has stopped."""
    async with asyncio.timeout(WAIT_S):
        # A process that was ended is replaced first.
        while len((await client.runtime()).workers) < SPARE:  # noqa: ASYNC110 (elsewhere)
            await asyncio.sleep(0.05)
        execution_id = await client.submit(
            _workflow(framework), {"what": CASES[case]}, import_paths=(ROOT,)
        )
        kind = "llm" if case == "model" else "tool"
        async for entry in client.events(execution_id):
            if isinstance(entry.event, CallIntended) and entry.event.key.kind == kind:
                break
        # An intent is committed before the call is made.
        await asyncio.sleep(0.2)
        began_s = time.perf_counter()
        await client.cancel(execution_id)
        while any(worker.attempts for worker in (await client.runtime()).workers):
            pass
        stopped_ms = (time.perf_counter() - began_s) * 1_000
        last = (await client.view(execution_id)).row.last_index
        (entry,) = await client.entries(execution_id, after=last - 1, limit=1)
    if type_of(entry.event) != "execution.cancelled":
        raise AssertionError(f"{type_of(entry.event)} came after execution.cancelled")
    return stopped_ms


def _workflow(framework: str) -> Workflow:
    tools = [WAITING_TOOL, BLOCKING_TOOL]
    agent: dict[str, dict[str, Any]] = {
        "langgraph": {"entrypoint": "benchmarks.cancel_agents:graph"},
        "crewai": {
            "role": "Clerk",
            "goal": "Obey.",
            "backstory": "Patient.",
            "tools": tools,
            "tasks": [{"description": "{what}", "expected_output": "Anything."}],
        },
        "autogen": {
            "task": "{what}",
            "tools": tools,
            "component": {
                "provider": "autogen_agentchat.agents.AssistantAgent",
                "config": {"name": "clerk", "tools": tools},
            },
        },
    }
    return workflow_from(
        {
            "name": "cancel",
            "version": "1",
            "model": "openai/scripted",
            "inputs": {"type": "object", "properties": {"what": {"type": "string"}}},
            "tools": [
                {"name": name, "function": f"benchmarks.cancel_agents:{name}"} for name in tools
            ],
            "agents": [{"name": "clerk", "framework": framework, **agent[framework]}],
        }
    )
