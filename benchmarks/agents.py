"""Agents that the benchmarks run."""

from __future__ import annotations

import asyncio
import os
import time
from typing import Any

import openai

from omium import AgentContext, effect_key

STEPS = 10
STATE_BYTES = 1_024
LARGE_STATE_WORDS = 10_000


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


async def notes(context: AgentContext) -> list[str]:
    """As many questions as ``inputs.steps`` that nobody else asks. Each answer is noted by the
    tool ``note``; after each comes a checkpoint that is too large for the journal."""
    model, inputs = context.model, context.inputs
    state: Any = context.state or {"noted": []}
    noted: list[Any] = list(state["noted"])
    async with openai.AsyncOpenAI(base_url=model.base_url, api_key=model.api_key) as client:
        while len(noted) < int(str(inputs["steps"])):
            text = f"{inputs['number']}/{len(noted)}"
            whole = await client.chat.completions.create(
                model=model.model, messages=[{"role": "user", "content": text}]
            )
            answer = whole.choices[0].message.content or ""
            noted.append(
                await context.call_tool("note", path=inputs["log"], text=f"{text} {answer}")
            )
            await context.checkpoint({"noted": noted, "padding": f"{text} " * LARGE_STATE_WORDS})
    return noted


def note(path: str, text: str) -> str:
    """Write down that it ran, in one append."""
    log = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(log, f"{effect_key()} {text}\n".encode())
    finally:
        os.close(log)
    return text


async def last_question(context: AgentContext) -> dict[str, Any]:
    """One question that nobody else asks; returns its answer beside what was handed over."""
    model = context.model
    async with openai.AsyncOpenAI(base_url=model.base_url, api_key=model.api_key) as client:
        whole = await client.chat.completions.create(
            model=model.model,
            messages=[{"role": "user", "content": f"{context.inputs['number']}/last"}],
        )
    return {"answer": whole.choices[0].message.content, "given": context.outputs}


async def ticking(context: AgentContext) -> dict[str, int]:
    """A checkpoint five times a second, for as many seconds as were asked for."""
    state: Any = context.state or {"ticks": 0}
    ticks: int = state["ticks"]
    while ticks < int(str(context.inputs["seconds"])) * 5:
        ticks += 1
        await context.checkpoint({"ticks": ticks})
        await asyncio.sleep(0.2)
    return {"ticks": ticks}
