"""Agents that workflows are tried with."""

from __future__ import annotations

import asyncio
from typing import Any

from openai import AsyncOpenAI

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
