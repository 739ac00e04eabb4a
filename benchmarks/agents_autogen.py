"""What the crash benchmark runs of AutoGen: its workflow, its script, and a team of a user's.

``WORKFLOW`` has the agents first, second and third, like the workflow of CrewAI; ``SCRIPT`` is
what the provider answers, with a call of the tool that all of them have.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

WORKFLOW = Path(__file__).parent / "crash_autogen.yaml"
FRAMEWORK = "autogen"
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


def team() -> Any:
    """A team with clients of its own, which stream, and a tool that it brings along."""
    from autogen_agentchat.agents import AssistantAgent
    from autogen_agentchat.conditions import MaxMessageTermination
    from autogen_agentchat.teams import RoundRobinGroupChat
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
    return RoundRobinGroupChat(
        [recorder, writer], termination_condition=MaxMessageTermination(3), max_turns=4
    )
