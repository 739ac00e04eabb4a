"""A team of two. Nothing in it knows of Omium."""

from __future__ import annotations

from autogen_agentchat.agents import AssistantAgent
from autogen_agentchat.conditions import MaxMessageTermination, TextMentionTermination
from autogen_agentchat.teams import RoundRobinGroupChat
from autogen_core.models import ModelFamily, ModelInfo
from autogen_ext.models.openai import OpenAIChatCompletionClient

MODEL = "local/smollm2-135m-instruct"
MESSAGES_MAX = 5


def team() -> RoundRobinGroupChat:
    # AutoGen knows what OpenAI's models can do; of others it has to be told.
    model = OpenAIChatCompletionClient(
        model=MODEL,
        temperature=0,
        max_tokens=60,
        model_info=ModelInfo(
            vision=False,
            function_calling=True,
            json_output=True,
            structured_output=True,
            family=ModelFamily.UNKNOWN,
        ),
    )
    writer = AssistantAgent("writer", model, system_message="You write one short sentence.")
    critic = AssistantAgent("critic", model, system_message="Say APPROVE when it is plain.")
    ending = TextMentionTermination("APPROVE", sources=["critic"]) | MaxMessageTermination(
        MESSAGES_MAX
    )
    return RoundRobinGroupChat([writer, critic], termination_condition=ending)
