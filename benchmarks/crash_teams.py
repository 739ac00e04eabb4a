"""The teams of the crash benchmark that code makes: in a row, side by side, and in a loop.

They bring clients and a tool of their own. Where the benchmark wants it, answers are streamed.
"""

from __future__ import annotations

from typing import Any

from autogen_agentchat.agents import AssistantAgent
from autogen_agentchat.conditions import MaxMessageTermination
from autogen_agentchat.teams import DiGraphBuilder, GraphFlow, RoundRobinGroupChat
from autogen_core.models import ModelInfo
from autogen_ext.models.openai import OpenAIChatCompletionClient

from benchmarks.crash_shapes import streams
from benchmarks.crash_tools import record

ROUNDS_MESSAGES = 5
"""The task, and two rounds of two."""


class _Cast:
    """Makes the members of one team, which share a client."""

    def __init__(self, inputs: dict[str, Any]) -> None:
        info = ModelInfo(
            vision=False,
            function_calling=True,
            json_output=True,
            structured_output=True,
            family="unknown",
        )
        self._model = OpenAIChatCompletionClient(model="scripted", model_info=info)
        self._streams = streams(inputs["number"])

    def member(self, name: str, **options: Any) -> AssistantAgent:
        options.setdefault("system_message", f"{name}.")
        return AssistantAgent(name, self._model, model_client_stream=self._streams, **options)

    def recorder(self) -> AssistantAgent:
        return self.member(
            "recorder",
            tools=[record],
            system_message="Record a figure.",
            reflect_on_tool_use=True,
        )


def sequential(inputs: dict[str, Any]) -> RoundRobinGroupChat:
    """A member with a tool, and one after it."""
    cast = _Cast(inputs)
    return RoundRobinGroupChat([cast.recorder(), cast.member("writer")], max_turns=2)


def parallel(inputs: dict[str, Any]) -> GraphFlow:
    """Two members at once, one of them with a tool, and one that joins them."""
    cast = _Cast(inputs)
    begin, join, writer = (cast.member(name) for name in ("begin", "join", "writer"))
    recorder = cast.recorder()
    graph = DiGraphBuilder()
    for node in (begin, recorder, writer, join):
        graph.add_node(node)
    for branch in (recorder, writer):
        graph.add_edge(begin, branch).add_edge(branch, join)
    return GraphFlow([begin, recorder, writer, join], graph=graph.build())


def looping(inputs: dict[str, Any]) -> GraphFlow:
    """Two members that go round in a graph until enough was said."""
    cast = _Cast(inputs)
    writer, critic, done = (cast.member(name) for name in ("writer", "critic", "done"))
    graph = DiGraphBuilder()
    for node in (writer, critic, done):
        graph.add_node(node)
    graph.add_edge(writer, critic)
    graph.add_edge(critic, writer, condition="figure", activation_group="again")
    graph.add_edge(critic, done, condition="that will do")
    graph.set_entry_point(writer)
    return GraphFlow(
        [writer, critic, done],
        graph=graph.build(),
        termination_condition=MaxMessageTermination(ROUNDS_MESSAGES),
    )
