"""Agents and tools of the ``python`` framework that the tests run.

``script`` and its blocking twin do what their inputs say, one action after another:
``{"ask": text, "stream": bool or gate}``, ``{"tool": name, "with": {...}}``,
``{"checkpoint": name}``, ``{"hold": gate}``, ``{"fail": text}``. The answers of the asked and
the called are the output.
"""

from __future__ import annotations

import sys
import threading
from typing import Any

import openai

# Imported before it is needed: that takes seconds, in which an event loop stands still.
import openai.resources.chat.completions
from openai.types.chat import ChatCompletionChunk

from omium.errors import ToolError
from omium.frameworks.effect import effect_key
from omium.frameworks.plain import AgentContext, BlockingContext
from tests.actors.gates import gate_of


async def count(context: AgentContext) -> dict[str, Any]:
    """Counts to ``inputs.to`` with a checkpoint after each number."""
    reached: Any = context.state or 0
    while reached < context.inputs["to"]:  # pyright: ignore[reportOperatorIssue]
        reached += 1
        await context.checkpoint(reached)
    return {"reached": reached}


async def gather(context: AgentContext) -> dict[str, Any]:
    """Says who handed what to it, after an optional gate."""
    held = context.inputs.get(context.assignment.agent.name)
    if isinstance(held, str):
        await gate_of(held).held(context.assignment.agent.name)
    return {"name": context.assignment.agent.name, "from": dict(context.outputs)}


async def script(context: AgentContext) -> dict[str, Any]:
    """See the module's docstring."""
    state: Any = context.state or {"at": 0, "heard": []}
    heard = list(state["heard"])
    actions: Any = context.inputs["do"]
    for number, action in enumerate(actions[state["at"] :], start=state["at"] + 1):
        match action:
            case {"ask": text, "or": otherwise}:
                try:
                    heard.append(await ask(context, text))
                except openai.APIError:
                    heard.append(otherwise)
            case {"ask": text}:
                heard.append(await ask(context, text, action.get("stream", False)))
            case {"tool": name}:
                heard.append(await context.call_tool(name, **action.get("with", {})))
            case {"try": name}:
                try:
                    heard.append(await context.call_tool(name, **action.get("with", {})))
                except ToolError as error:
                    heard.append(f"ToolError: {error}")
            case {"checkpoint": name}:
                await context.checkpoint({"at": number, "heard": heard}, name)
            case {"hold": name}:
                await gate_of(name).held(context.assignment.epoch)
            case {"fail": text}:
                raise RuntimeError(text)
    return {"heard": heard}


def script_blocking(context: BlockingContext) -> dict[str, Any]:
    """See the module's docstring."""
    state: Any = context.state or {"at": 0, "heard": []}
    heard = list(state["heard"])
    actions: Any = context.inputs["do"]
    for number, action in enumerate(actions[state["at"] :], start=state["at"] + 1):
        match action:
            case {"ask": text}:
                heard.append(ask_blocking(context, text, action.get("stream", False)))
            case {"thread": text}:
                heard.append(_in_thread(context, text))
            case {"tool": name}:
                heard.append(context.call_tool(name, **action.get("with", {})))
            case {"checkpoint": name}:
                context.checkpoint({"at": number, "heard": heard}, name)
            case {"hold": name}:
                gate_of(name).hold(context.assignment.epoch)
    return {"heard": heard}


async def ask(context: AgentContext, text: str, stream: bool | str = False) -> str | None:
    """Asks the model with a client of its own. ``stream`` may name a gate, which notes each
    chunk that comes."""
    model = context.model
    async with openai.AsyncOpenAI(base_url=model.base_url, api_key=model.api_key) as client:
        if not stream:
            whole = await client.chat.completions.create(
                model=model.model, messages=[{"role": "user", "content": text}]
            )
            return whole.choices[0].message.content
        chunks = await client.chat.completions.create(
            model=model.model, messages=[{"role": "user", "content": text}], stream=True
        )
        return "".join([_text(chunk, stream) async for chunk in chunks])


def ask_blocking(context: BlockingContext, text: str, stream: bool | str = False) -> str | None:
    """The same from a thread."""
    model = context.model
    with openai.OpenAI(base_url=model.base_url, api_key=model.api_key) as client:
        if not stream:
            whole = client.chat.completions.create(
                model=model.model, messages=[{"role": "user", "content": text}]
            )
            return whole.choices[0].message.content
        chunks = client.chat.completions.create(
            model=model.model, messages=[{"role": "user", "content": text}], stream=True
        )
        return "".join([_text(chunk, stream) for chunk in chunks])


def _text(chunk: ChatCompletionChunk, stream: bool | str) -> str:
    text = chunk.choices[0].delta.content or ""
    if isinstance(stream, str):
        gate_of(stream).note(text)
    return text


def _in_thread(context: BlockingContext, text: str) -> str | None:
    """Asks from a thread that knows nothing of its caller's context."""
    said: list[str | None] = []
    thread = threading.Thread(target=lambda: said.append(ask_blocking(context, text)))
    thread.start()
    thread.join()
    return said[0]


async def pay(till: str, amount: int) -> int:
    """Notes its effect key at the gate ``till`` and is held there."""
    await gate_of(till).held(effect_key())
    return amount


def pay_blocking(till: str, amount: int) -> int:
    """The same from a thread."""
    gate_of(till).hold(effect_key())
    return amount


def add(a: int, b: int) -> int:
    """Adds two numbers."""
    return a + b


def broken(till: str) -> int:
    """Raises, every time."""
    gate_of(till).notes.append("ran")
    raise ValueError("no such account")


def unfit() -> Any:
    """Returns what JSON cannot carry."""
    return {1, 2, 3}


async def wordy(context: AgentContext) -> Any:
    """Answers whatever its inputs say."""
    return context.inputs["answer"]


async def leave(_: AgentContext) -> None:
    """Tries to end the process that it is a guest in."""
    sys.exit("enough")


def leave_blocking(_: BlockingContext) -> None:
    """The same from a thread."""
    sys.exit("enough")


NOT_A_FUNCTION = 7
