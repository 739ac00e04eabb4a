"""What the crash benchmark runs of AutoGen, beside ``crash_autogen.yaml``: what the provider
answers, with calls of a tool, and a team of a user's."""

from __future__ import annotations

from typing import Any

SCRIPT: dict[str, Any] = {
    "rules": [
        {
            "when": {"any_contains": "Record a figure.", "tool_messages": 0},
            "answer": {
                "tool_calls": [{"name": "record", "arguments": {"figure": 1}}],
                "delay_s": 0.05,
            },
        },
        {"answer": {"auto": True, "content": "A figure.", "delay_s": 0.05}},
    ]
}


def team(inputs: dict[str, Any]) -> Any:
    """A team with clients of its own, which stream, and a tool that it brings along. In every
    second execution it is a graph: two members at once, and one that joins them."""
    from autogen_agentchat.agents import AssistantAgent
    from autogen_agentchat.conditions import MaxMessageTermination
    from autogen_agentchat.teams import DiGraphBuilder, GraphFlow, RoundRobinGroupChat
    from autogen_core.models import ModelInfo
    from autogen_ext.models.openai import OpenAIChatCompletionClient

    from benchmarks.crash_tools import record

    info = ModelInfo(
        vision=False,
        function_calling=True,
        json_output=True,
        structured_output=True,
        family="unknown",
    )
    model = OpenAIChatCompletionClient(model="scripted", model_info=info)
    recorder = AssistantAgent(
        "recorder",
        model,
        tools=[record],
        system_message="Record a figure.",
        reflect_on_tool_use=True,
        model_client_stream=True,
    )
    writer = AssistantAgent("writer", model, system_message="Write.", model_client_stream=True)
    if inputs["number"] % 2 == 0:
        return RoundRobinGroupChat(
            [recorder, writer], termination_condition=MaxMessageTermination(3), max_turns=4
        )
    begin, join = (
        AssistantAgent(name, model, system_message=f"{name}.", model_client_stream=True)
        for name in ("begin", "join")
    )
    graph = DiGraphBuilder()
    for node in (begin, recorder, writer, join):
        graph.add_node(node)
    for branch in (recorder, writer):
        graph.add_edge(begin, branch).add_edge(branch, join)
    return GraphFlow([begin, recorder, writer, join], graph=graph.build())
