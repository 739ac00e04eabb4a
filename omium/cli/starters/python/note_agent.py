"""An agent that is an ordinary function, and its tool."""

from __future__ import annotations

from typing import Any

from openai import AsyncOpenAI

from omium import AgentContext


def count_words(text: str) -> int:
    """Count the words of a text."""
    return len(text.split())


async def write(context: AgentContext) -> dict[str, Any]:
    """Write a line on the topic, then count its words.

    After a crash this is called again, with the state of the last checkpoint.
    """
    line: Any = context.state
    if line is None:
        line = await _ask(context, f"Write one short sentence about {context.inputs['topic']}.")
        await context.checkpoint(line, name="draft")
    words = await context.call_tool("count_words", text=line)
    return {"line": line, "words": words}


async def _ask(context: AgentContext, question: str) -> str:
    model = context.model
    async with AsyncOpenAI(base_url=model.base_url, api_key=model.api_key) as client:
        answer = await client.chat.completions.create(
            model=model.model,
            messages=[{"role": "user", "content": question}],
            temperature=0,
            max_tokens=60,
        )
    return (answer.choices[0].message.content or "").strip()
