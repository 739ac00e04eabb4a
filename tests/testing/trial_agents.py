"""Agents that workflows are tried with."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from typing import Any

from openai import AsyncOpenAI

from omium.errors import ToolError
from omium.frameworks.people import ask_async, signals_async, wait_signal_async
from omium.frameworks.plain import AgentContext, BlockingContext


async def answer(context: AgentContext) -> dict[str, Any]:
    """Asks the model, through a client that finds its address by itself, then a tool."""
    async with AsyncOpenAI() as client:
        said = await client.chat.completions.create(
            model="gpt-4o-mini",
            messages=[{"role": "user", "content": f"On {context.inputs['topic']}"}],
        )
    text = said.choices[0].message.content
    await context.checkpoint(text, name="asked")
    return {"text": text, "length": await context.call_tool("measure", text=text)}


def blocking(context: BlockingContext) -> Any:
    return context.call_tool("measure", text=context.inputs["topic"])


async def sleepy(_: AgentContext) -> None:
    await asyncio.sleep(3_600)


async def broken(_: AgentContext) -> None:
    raise ValueError("it does not work")


def measure(text: str) -> int:
    """The length of a text."""
    if not text:
        raise ValueError("nothing to measure")
    return len(text)


async def inquire(what: str) -> Any:
    """A tool that asks a person, and waits for a signal."""
    said = await ask_async(what)
    return {"said": said, "go": (await wait_signal_async("go")).payload}


async def inquires(context: AgentContext) -> Any:
    return await context.call_tool("inquire", what=context.inputs["what"])


async def asks_around(context: AgentContext) -> Any:
    """Asks a person, waits for a signal, and runs a tool that somebody has to approve."""
    name = await ask_async("Who are you?", schema={"type": "string"})
    went = await wait_signal_async("go")
    try:
        length = await context.call_tool("measure", text=name)
    except ToolError as error:
        length = str(error)
    return {"name": name, "go": went.payload, "length": length}


AGE: dict[str, Any] = {}
"""The schema of an answer, which a test sets."""


async def asks_an_age(_: AgentContext) -> Any:
    return await ask_async("How old are you?", schema=AGE)


async def gives(context: AgentContext) -> Any:
    """Hands over the one of ``inputs.rates`` that is for this round, or the last of them."""
    rates: Any = context.inputs["rates"]
    return {"rate": rates[min(context.assignment.round, len(rates)) - 1]}


async def takes(context: AgentContext) -> Any:
    return context.outputs["gives"]


LAST = "tea"
"""The signals that ``polls`` takes last, by name; a test changes it."""


async def polls(context: AgentContext) -> Any:
    """Takes signals, waits for one, and takes those that have come, time and again."""
    taken: Any = context.state
    if taken is None:
        taken = [[asdict(one) for one in await signals_async()]]
        for _ in range(2):
            await ask_async("Go on?")
            taken.append([asdict(one) for one in await signals_async()])
        await context.checkpoint(taken, name="first")
    await ask_async("Go on?")
    taken.append([asdict(one) for one in await signals_async(LAST)])
    taken.append(asdict(await wait_signal_async("go")))
    return taken


POLLED_IN = ["second"]
"""The steps in which ``polls_in_steps`` takes signals; a test changes it."""


async def polls_in_steps(context: AgentContext) -> Any:
    """Asks, and takes the signals that have come in either of two steps."""
    taken: Any = context.state
    if taken is None:
        await ask_async("Go on?")
        taken = await _polled("first")
        await context.checkpoint(taken, name="first")
    return taken + await _polled("second")


async def _polled(step: str) -> list[Any]:
    return [[one.name for one in await signals_async()]] if step in POLLED_IN else []
