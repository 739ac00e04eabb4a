"""Agents and tools that ask people, for the tests."""

from __future__ import annotations

import asyncio
from typing import Any

import omium
from omium.errors import Declined, ToolError
from omium.frameworks.plain import AgentContext, BlockingContext
from tests.actors.gates import gate_of

RATE = {
    "type": "object",
    "properties": {"rate": {"type": "number", "maximum": 30}},
    "required": ["rate"],
    "additionalProperties": False,
}


async def asks(context: AgentContext) -> Any:
    """Asks for a rate between two tools."""
    before = await context.call_tool("note", till=context.inputs["till"], text="before")
    answer = await omium.ask_async("Which rate?", schema=RATE)
    after = await context.call_tool("note", till=context.inputs["till"], text="after")
    return [before, answer, after]


def asks_blocking(context: BlockingContext) -> Any:
    """The same in a thread."""
    before = context.call_tool("note", till=context.inputs["till"], text="before")
    answer = omium.ask("Which rate?", schema=RATE)
    after = context.call_tool("note", till=context.inputs["till"], text="after")
    return [before, answer, after]


async def asks_twice_at_once(context: AgentContext) -> Any:
    """Two branches ask while a third is at work."""
    work = context.call_tool("note", till=context.inputs["till"], text="beside")
    return await asyncio.gather(omium.ask_async("One?"), omium.ask_async("Two?"), work)


async def asks_in_a_group(context: AgentContext) -> Any:
    """Two branches of a task group ask."""
    async with asyncio.TaskGroup() as group:
        one = group.create_task(omium.ask_async("One?"))
        two = group.create_task(omium.ask_async("Two?"))
    return [one.result(), two.result()]


async def asks_in_a_tool(context: AgentContext) -> Any:
    """A tool asks, which is not idempotent."""
    return await context.call_tool("ask_then_note", till=context.inputs["till"])


async def asks_politely(context: AgentContext) -> Any:
    """Goes on without an answer."""
    try:
        return await omium.ask_async("Which rate?")
    except Declined as declined:
        return str(declined)


async def asks_for_a_rate(_: AgentContext) -> Any:
    """Asks, and hands on the answer."""
    return await omium.ask_async("Which rate?", schema=RATE)


async def asks_by_blocking(_: AgentContext) -> Any:
    """Asks in the way that would block the event loop."""
    return omium.ask("Which rate?")


async def pays(context: AgentContext) -> Any:
    """Runs a tool that wants approval, and says what it heard; twice with the same arguments."""
    heard: list[Any] = []
    for _ in range(context.inputs.get("times", 1)):  # pyright: ignore
        try:
            heard.append(await context.call_tool("pay", till=context.inputs["till"], amount=7))
        except ToolError as error:
            heard.append(str(error))
    return heard


def pays_blocking(context: BlockingContext) -> Any:
    """The same in a thread."""
    return [context.call_tool("pay_blocking", till=context.inputs["till"], amount=7)]


async def waits(context: AgentContext) -> Any:
    """Waits for a signal, between two looks at what came."""
    first = await omium.signals_async()
    await gate_of(str(context.inputs["till"])).held("looked")
    awaited = await omium.wait_signal_async("go")
    rest = await omium.signals_async()
    return [[s.payload for s in first], awaited.payload, awaited.by, [s.payload for s in rest]]


async def holds_free(context: AgentContext) -> Any:
    """Is at work until a gate opens."""
    await gate_of(str(context.inputs["held"])).held("held")
    return "held"


def note(till: str, text: str) -> str:
    """Notes a text at a gate."""
    gate_of(till).note(text)
    return text


async def ask_then_note(till: str) -> Any:
    """Asks, and then notes the answer: once."""
    answer = await omium.ask_async("Say what?")
    gate_of(till).note(answer)
    return answer


def pay_blocking(till: str, amount: int) -> int:
    """The same in a thread."""
    gate_of(till).hold(amount)
    return amount


async def pay(till: str, amount: int) -> int:
    """Notes an amount at a gate, where it is held."""
    await gate_of(till).held(amount)
    return amount
