"""Agents that the benchmarks run."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import openai

from omium import AgentContext

STEPS = 10
STATE_BYTES = 1_024


async def ten_steps(context: AgentContext) -> dict[str, Any]:
    """Ten steps that do nothing but checkpoint 1 KB each; returns what each took, in ms."""
    padding = "x" * STATE_BYTES
    taken: list[float] = []
    for number in range(STEPS):
        started = time.perf_counter()
        await context.checkpoint({"number": number, "padding": padding})
        taken.append((time.perf_counter() - started) * 1000)
    return {"step_ms": taken}


async def one_step(context: AgentContext) -> str | None:
    """One question to the model, and one checkpoint."""
    model = context.model
    async with openai.AsyncOpenAI(base_url=model.base_url, api_key=model.api_key) as client:
        whole = await client.chat.completions.create(
            model=model.model, messages=[{"role": "user", "content": "go on"}]
        )
    answer = whole.choices[0].message.content
    await context.checkpoint({"answer": answer})
    return answer


async def three_questions(context: AgentContext) -> list[str | None]:
    """Three questions that nobody else asks, with a checkpoint after each."""
    model = context.model
    state: Any = context.state
    answers: list[Any] = list(state or ())
    async with openai.AsyncOpenAI(base_url=model.base_url, api_key=model.api_key) as client:
        while len(answers) < 3:
            text = f"{context.inputs['number']}/{len(answers)}"
            whole = await client.chat.completions.create(
                model=model.model, messages=[{"role": "user", "content": text}]
            )
            answers.append(whole.choices[0].message.content)
            await context.checkpoint(answers)
    return answers


async def ticking(context: AgentContext) -> dict[str, int]:
    """A checkpoint five times a second, for as many seconds as were asked for."""
    state: Any = context.state or {"ticks": 0}
    ticks: int = state["ticks"]
    while ticks < int(str(context.inputs["seconds"])) * 5:
        ticks += 1
        await context.checkpoint({"ticks": ticks})
        await asyncio.sleep(0.2)
    return {"ticks": ticks}
