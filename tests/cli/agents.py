"""Agents of the ``python`` framework that the command line is tried on."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import openai

from omium.errors import Declined, ToolError
from omium.frameworks.people import ask_async
from omium.frameworks.plain import AgentContext


async def count(context: AgentContext) -> dict[str, Any]:
    """Counts to ``inputs.to`` with a checkpoint after each number."""
    reached: Any = context.state or 0
    while reached < context.inputs["to"]:  # pyright: ignore[reportOperatorIssue]
        reached += 1
        await context.checkpoint(reached, name=f"number {reached}")
    return {"reached": reached}


async def boom(_: AgentContext) -> None:
    """Fails."""
    raise ValueError("it does\nnot work")


async def gated(context: AgentContext) -> str:
    """Waits until the file that ``inputs.gate`` names is there."""
    await _pass(context.inputs["gate"])
    return "open"


async def work(context: AgentContext) -> Any:
    """Asks the model, calls a tool, and then waits at a gate: until a file is there."""
    done: Any = context.state
    if done is None:
        client = openai.AsyncOpenAI(
            base_url=context.model.base_url, api_key=context.model.api_key, max_retries=0
        )
        async with client:
            answer = await client.chat.completions.create(
                model=context.model.model, messages=[{"role": "user", "content": "hello"}]
            )
        total = await context.call_tool("add", a=1, b=2)
        done = {"said": answer.choices[0].message.content, "total": total}
        await context.checkpoint(done)
    await _pass(context.inputs["gate"])
    return done


async def _pass(gate: object) -> None:
    # Another process opens it.
    while not Path(str(gate)).exists():  # noqa: ASYNC110, ASYNC240
        await asyncio.sleep(0.05)


def add(a: int, b: int) -> int:
    """Adds two numbers."""
    return a + b


async def asks(_: AgentContext) -> Any:
    """Asks for a rate."""
    rate = {"type": "number", "maximum": 30}
    schema = {"type": "object", "properties": {"rate": rate}, "required": ["rate"]}
    return await ask_async("Which rate?", schema=schema)


async def asks_a_name(_: AgentContext) -> Any:
    """Asks for a text, and goes on without."""
    try:
        return await ask_async("Which name?", schema={"type": "string"})
    except Declined as declined:
        return str(declined)


async def pays(context: AgentContext) -> Any:
    """Runs a tool, and says what it heard."""
    try:
        return await context.call_tool("pay", ledger=context.inputs["ledger"], amount=7)
    except ToolError as error:
        return str(error)


def pay(ledger: str, amount: int) -> str:
    """Writes an amount into a file."""
    with Path(ledger).open("a") as file:
        file.write(f"{amount}\n")
    return f"paid {amount}"
