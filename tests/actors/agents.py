"""Agents of the ``python`` framework that the tests run."""

from __future__ import annotations

from typing import Any

import openai

from omium.frameworks.plain import AgentContext, BlockingContext


async def count(context: AgentContext) -> dict[str, Any]:
    """Counts to ``inputs.to`` with a checkpoint after each number."""
    reached: Any = context.state or 0
    while reached < context.inputs["to"]:  # pyright: ignore[reportOperatorIssue]
        reached += 1
        await context.checkpoint(reached)
    return {"reached": reached}


async def ask(context: AgentContext) -> dict[str, Any]:
    """Asks the model once."""
    client = openai.AsyncOpenAI(
        base_url=context.model.base_url, api_key=context.model.api_key, max_retries=0
    )
    async with client:
        answer = await client.chat.completions.create(
            model=context.model.model, messages=[{"role": "user", "content": "hello"}]
        )
    return {"said": answer.choices[0].message.content}


def blocking(context: BlockingContext) -> dict[str, Any]:
    """Calls a tool and asks the model from a thread, streaming."""
    total = context.call_tool("add", a=1, b=2)
    context.checkpoint({"total": total})
    with openai.OpenAI(
        base_url=context.model.base_url, api_key=context.model.api_key, max_retries=0
    ) as client:
        stream = client.chat.completions.create(
            model=context.model.model,
            messages=[{"role": "user", "content": f"total {total}"}],
            stream=True,
        )
        text = "".join(chunk.choices[0].delta.content or "" for chunk in stream)
    return {"total": total, "said": text}


def add(a: int, b: int) -> int:
    """Adds two numbers."""
    return a + b
