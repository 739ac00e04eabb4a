"""Agents of the ``python`` framework for the laws, and the subject that they make."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import openai

# Imported before it is needed: that takes seconds, in which an event loop stands still.
import openai.resources.chat.completions

from omium.errors import ToolError
from omium.frameworks.plain import AgentContext, PlainAdapter
from omium.testing.adapter_laws import Subject

HERE = "tests.frameworks.laws.plain"


async def ask(context: AgentContext, text: str, *, stream: bool = False) -> str:
    model = context.model
    messages: Any = [{"role": "user", "content": text}]
    async with openai.AsyncOpenAI(
        base_url=model.base_url, api_key=model.api_key, max_retries=0
    ) as client:
        if not stream:
            whole = await client.chat.completions.create(model=model.model, messages=messages)
            return whole.choices[0].message.content or ""
        chunks = await client.chat.completions.create(
            model=model.model, messages=messages, stream=True
        )
        return "".join([chunk.choices[0].delta.content or "" async for chunk in chunks])


async def steps(context: AgentContext, *, stream: bool = False) -> str:
    said: Any = context.state or []
    for word in ("one", "two", "three")[len(said) :]:
        text = f"Say {word} about {context.inputs['topic']} after {said}."
        said = [*said, await ask(context, text, stream=stream)]
        await context.checkpoint(said, word)
    return said[-1]


async def streaming(context: AgentContext) -> str:
    return await steps(context, stream=True)


async def loop(context: AgentContext) -> str:
    said: Any = context.state or []
    while len(said) < 3:
        said = [*said, await ask(context, "Again?")]
        await context.checkpoint(said)
    return said[-1]


async def with_tool(context: AgentContext) -> str:
    ledger = context.inputs["ledger"]
    await ask(context, f"Shall I use {ledger}?")
    (tool,) = context.assignment.agent.tools
    try:
        came = await context.call_tool(tool, ledger=ledger)
    except ToolError as error:
        came = str(error)
    return await ask(context, f"It said {came}.")


def subject(adapter: Callable[[], PlainAdapter] = PlainAdapter) -> Subject:
    return Subject(
        framework="python",
        adapter=adapter,
        steps={"entrypoint": f"{HERE}:steps"},
        loop={"entrypoint": f"{HERE}:loop"},
        tool=lambda name: {"entrypoint": f"{HERE}:with_tool", "tools": [name]},
        streaming={"entrypoint": f"{HERE}:streaming"},
    )
