"""Agents that the tests of a whole runtime run on Ray."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import openai
import ray

from omium import AgentContext, ask_async, effect_key

STEPS = 3


async def diligent(context: AgentContext) -> dict[str, Any]:
    """Three steps; in each the model is asked and the tool is called once."""
    done: Any = context.state or []
    async with openai.AsyncOpenAI(
        base_url=context.model.base_url, api_key=context.model.api_key
    ) as client:
        while len(done) < STEPS:
            answer = await client.chat.completions.create(
                model=context.model.model,
                messages=[{"role": "user", "content": f"question {len(done)}"}],
            )
            noted = await context.call_tool(
                "note", path=context.inputs["log"], text=answer.choices[0].message.content or ""
            )
            done = [*done, noted]
            await context.checkpoint(done)
    return {"done": done}


def note(path: str, text: str) -> str:
    """Write down that it ran, in one append."""
    log = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(log, f"{effect_key()} {text}\n".encode())
    finally:
        os.close(log)
    return text


async def patient(context: AgentContext) -> None:
    """Never ends by itself."""
    await context.checkpoint("begun")
    await asyncio.Event().wait()


async def gated(context: AgentContext) -> dict[str, Any]:
    """A step for each number up to ``inputs.steps``; it ends once the file of its number is in
    the directory ``inputs.gates``."""
    done: Any = context.state or 0
    steps: Any = context.inputs["steps"]
    while done < steps:
        gate = Path(str(context.inputs["gates"])) / str(done)
        while not await asyncio.to_thread(gate.exists):  # noqa: ASYNC110 (by another process)
            await asyncio.sleep(0.05)
        done += 1
        await context.checkpoint(done)
    return {"done": done}


async def asks_where(context: AgentContext) -> dict[str, Any]:
    """Asks a person, and tells on which node it was then, and is now."""
    here = ray.util.get_node_ip_address()
    asked_on = context.state
    if asked_on is None:
        asked_on = here
        await context.checkpoint(here)
    answer = await ask_async("Which way?")
    return {"asked_on": asked_on, "answer": answer, "answered_on": here}
