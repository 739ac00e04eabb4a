"""Agents that ask the model, then a person, then the model again, each in its framework's own way.

What the person says is asked of the model in the second question, so nobody goes on without it.
"""

from __future__ import annotations

from typing import Any

import httpx

import omium
from omium import AgentContext

ANSWERS: dict[str, str] = {
    "python": "Use 4 percent.",
    "langgraph": "Use 4 percent.",
    # CrewAI asks until there is nothing more to be said.
    "crewai": "",
    "autogen": "Use 4 percent.",
}
"""What the person says, by framework."""


async def clerk(context: AgentContext) -> str:
    """A plain function: ``omium.ask``."""
    model = context.model
    # A worker has imported httpx. The import of a client's library is none of Omium's time.
    async with httpx.AsyncClient(headers={"authorization": f"Bearer {model.api_key}"}) as client:

        async def ask(text: str) -> str:
            messages = [{"role": "user", "content": text}]
            response = await client.post(
                f"{model.base_url}/chat/completions",
                json={"model": model.model, "messages": messages},
            )
            return response.json()["choices"][0]["message"]["content"]

        drafted: Any = context.state
        if drafted is None:
            drafted = await ask("Draft it.")
            await context.checkpoint(drafted)
        said = await omium.ask_async(f"Is this right? {drafted}")
        return await ask(f"{drafted} {said}")


def graph() -> Any:
    """A graph: ``interrupt()`` in a node of its own."""
    from langchain_core.messages import HumanMessage
    from langchain_openai import ChatOpenAI
    from langgraph.graph import START, MessagesState, StateGraph
    from langgraph.types import interrupt

    async def ask(state: MessagesState) -> dict[str, Any]:
        model = ChatOpenAI(model="scripted", max_retries=0)
        return {"messages": [await model.ainvoke(state["messages"])]}

    def person(state: MessagesState) -> dict[str, Any]:
        said = interrupt(f"Is this right? {state['messages'][-1].content}")
        return {"messages": [HumanMessage(str(said))]}

    builder = StateGraph(MessagesState)
    builder.add_node("draft", ask)
    builder.add_node("person", person)
    builder.add_node("final", ask)
    builder.add_edge(START, "draft")
    builder.add_edge("draft", "person")
    builder.add_edge("person", "final")
    return builder, {"messages": [HumanMessage("Draft it.")]}


def crew() -> Any:
    """A crew: a task with ``human_input``, and one after it."""
    from crewai import LLM, Agent, Crew, Task

    llm = LLM(model="scripted", provider="openai")
    agent = Agent(role="clerk", goal="Draft.", backstory="Patient.", llm=llm)
    texts = ("Draft it.", "Write it out.")
    tasks = [
        Task(description=text, expected_output="Text.", agent=agent, human_input=number == 0)
        for number, text in enumerate(texts)
    ]
    return Crew(agents=[agent], tasks=tasks)


def team() -> Any:
    """A team: a user proxy among its members."""
    from autogen_agentchat.agents import AssistantAgent, UserProxyAgent
    from autogen_agentchat.conditions import MaxMessageTermination
    from autogen_agentchat.teams import RoundRobinGroupChat
    from autogen_core.models import ModelInfo
    from autogen_ext.models.openai import OpenAIChatCompletionClient

    info = ModelInfo(
        vision=False,
        function_calling=True,
        json_output=True,
        structured_output=True,
        family="unknown",
    )
    model = OpenAIChatCompletionClient(model="scripted", model_info=info)
    return RoundRobinGroupChat(
        [AssistantAgent("writer", model), UserProxyAgent("person")],
        termination_condition=MaxMessageTermination(4),
    )
