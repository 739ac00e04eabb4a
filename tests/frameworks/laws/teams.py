"""Teams for the laws. Imports AutoGen."""

from __future__ import annotations

from typing import Any

from autogen_agentchat.agents import AssistantAgent
from autogen_agentchat.teams import DiGraphBuilder, GraphFlow, RoundRobinGroupChat

from omium.testing.adapter_laws import ledger
from tests.frameworks.teams import client


def steps(inputs: dict[str, Any], **fields: Any) -> RoundRobinGroupChat:
    members = [
        AssistantAgent(
            word, client(), system_message=f"Say {word} about {inputs['topic']}.", **fields
        )
        for word in ("one", "two", "three")
    ]
    return RoundRobinGroupChat(list(members), max_turns=3)


def streaming(inputs: dict[str, Any]) -> RoundRobinGroupChat:
    return steps(inputs, model_client_stream=True)


def loop() -> RoundRobinGroupChat:
    return RoundRobinGroupChat([AssistantAgent("clerk", client())], max_turns=3)


def parallel() -> GraphFlow:
    left, right = (AssistantAgent(name, client()) for name in ("left", "right"))
    start = AssistantAgent("start", client())
    builder = DiGraphBuilder()
    for agent in (start, left, right):
        builder.add_node(agent)
    builder.add_edge(start, left)
    builder.add_edge(start, right)
    return GraphFlow([start, left, right], graph=builder.build())


def _with_tool(name: str, inputs: dict[str, Any]) -> AssistantAgent:
    return AssistantAgent(
        "clerk",
        client(),
        system_message=f"Use {inputs['ledger']}.",
        tools=[getattr(ledger, name)],
        reflect_on_tool_use=True,
    )


def with_book(inputs: dict[str, Any]) -> AssistantAgent:
    return _with_tool("book", inputs)


def with_pay(inputs: dict[str, Any]) -> AssistantAgent:
    return _with_tool("pay", inputs)


def with_refuse(inputs: dict[str, Any]) -> AssistantAgent:
    return _with_tool("refuse", inputs)


def with_inquire(inputs: dict[str, Any]) -> AssistantAgent:
    return _with_tool("inquire", inputs)


def with_book_in_team(inputs: dict[str, Any]) -> RoundRobinGroupChat:
    return RoundRobinGroupChat([_with_tool("book", inputs)], max_turns=1)


def with_pay_in_team(inputs: dict[str, Any]) -> RoundRobinGroupChat:
    return RoundRobinGroupChat([_with_tool("pay", inputs)], max_turns=1)


def with_refuse_in_team(inputs: dict[str, Any]) -> RoundRobinGroupChat:
    return RoundRobinGroupChat([_with_tool("refuse", inputs)], max_turns=1)


def with_inquire_in_team(inputs: dict[str, Any]) -> RoundRobinGroupChat:
    return RoundRobinGroupChat([_with_tool("inquire", inputs)], max_turns=1)
