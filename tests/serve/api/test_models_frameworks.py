"""Programs of others, pointed at the API with a key: CrewAI, LangGraph and AutoGen.

Each is plain code of its framework that knows nothing of Omium. It calls a tool, and answers
from what the tool has said; whole, and as a stream.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from omium.frameworks.autogen import AutoGenAdapter
from omium.frameworks.crewai_quiet import import_quietly
from omium.frameworks.langgraph import LangGraphAdapter
from omium.testing.script import Answer, Rule, ToolCall, When
from tests.actors.stage import MODEL
from tests.frameworks.autogen_stage import AUTOGEN
from tests.frameworks.crewai_stage import CREWAI
from tests.frameworks.crewai_stage import storage as crewai_storage
from tests.frameworks.langgraph_stage import LANGGRAPH
from tests.serve.api.stage import served

ANSWER = "The rate is 5.5 percent, which is low."
LOAN: Any = {"principal": 10_000, "interest": 550}
RULES = [
    Rule(when=When(tool_messages=1), answer=Answer(content=ANSWER)),
    Rule(answer=Answer(tool_calls=(ToolCall(name="rate", arguments=LOAN),))),
]
QUESTION = "Is the rate of this loan low?"


def rate(principal: float, interest: float) -> str:
    """The interest rate of a loan, in percent."""
    return f"{100 * interest / principal:.1f}"


def marked(marks: list[Any], *values: Any) -> Any:
    """A case with all the marks of its framework."""
    return pytest.param(*values, marks=marks)


async def crewai(url: str, key: str, *, stream: bool) -> tuple[str, list[str]]:
    await asyncio.to_thread(import_quietly, crewai_storage())
    from crewai import LLM, Agent, Crew, Task
    from crewai.events import LLMStreamChunkEvent, crewai_event_bus
    from crewai.tools import tool

    heard: list[Any] = []

    def kickoff() -> str:
        llm = LLM(model=f"openai/{MODEL}", base_url=url, api_key=key, stream=stream)
        clerk = Agent(
            role="Clerk", goal="Answer.", backstory="Patient.", llm=llm, tools=[tool(rate)]
        )
        task = Task(description=QUESTION, expected_output="A sentence.", agent=clerk)
        with crewai_event_bus.scoped_handlers():
            crewai_event_bus.on(LLMStreamChunkEvent)(lambda _, event: heard.append(event))
            said: Any = Crew(agents=[clerk], tasks=[task]).kickoff()
            crewai_event_bus.flush()
        return said.raw

    said = await asyncio.to_thread(kickoff)
    # Handlers run in a pool, in any order. Arguments of tools come as pieces, too.
    heard.sort(key=lambda event: event.emission_sequence)
    return said, [event.chunk for event in heard if event.chunk and event.tool_call is None]


async def langgraph(url: str, key: str, *, stream: bool) -> tuple[str, list[str]]:
    await asyncio.to_thread(LangGraphAdapter().preload)
    from langchain_core.messages import HumanMessage, ToolMessage
    from langchain_core.tools import tool
    from langchain_openai import ChatOpenAI
    from langgraph.graph import END, START, MessagesState, StateGraph

    tools = [tool(rate)]
    web = httpx.AsyncClient()
    chat: Any = ChatOpenAI(
        model=MODEL,
        base_url=url,
        api_key=SecretStr(key),
        max_retries=0,
        streaming=stream,
        http_async_client=web,
    )
    model = chat.bind_tools(tools)

    async def ask(state: Any) -> dict[str, Any]:
        return {"messages": [await model.ainvoke(state["messages"])]}

    async def act(state: Any) -> dict[str, Any]:
        (call,) = state["messages"][-1].tool_calls
        said = await tools[0].ainvoke(call["args"])
        return {"messages": [ToolMessage(said, tool_call_id=call["id"])]}

    def onwards(state: Any) -> str:
        return "act" if state["messages"][-1].tool_calls else END

    builder: Any = StateGraph(MessagesState)
    builder.add_node("ask", ask).add_node("act", act)
    builder.add_edge(START, "ask").add_conditional_edges("ask", onwards, ["act", END])
    graph = builder.add_edge("act", "ask").compile()
    pieces: list[str] = []
    last: Any = None
    asked = {"messages": [HumanMessage(QUESTION)]}
    async with web:
        async for mode, told in graph.astream(asked, stream_mode=["messages", "values"]):
            if mode == "values":
                last = told["messages"][-1]
            elif told[0].type == "AIMessageChunk" and told[0].text:
                pieces.append(told[0].text)
    return last.text, pieces


async def autogen(url: str, key: str, *, stream: bool) -> tuple[str, list[str]]:
    await asyncio.to_thread(AutoGenAdapter().preload)
    from autogen_agentchat.agents import AssistantAgent
    from autogen_agentchat.base import TaskResult
    from autogen_agentchat.messages import ModelClientStreamingChunkEvent
    from autogen_core.models import ModelFamily
    from autogen_ext.models.openai import OpenAIChatCompletionClient

    client = OpenAIChatCompletionClient(
        model=MODEL,
        base_url=url,
        api_key=key,
        model_info={
            "vision": False,
            "function_calling": True,
            "json_output": True,
            "structured_output": True,
            "family": ModelFamily.UNKNOWN,
        },
    )
    clerk = AssistantAgent(
        "clerk", client, tools=[rate], model_client_stream=stream, max_tool_iterations=2
    )
    pieces: list[str] = []
    said = ""
    try:
        async for told in clerk.run_stream(task=QUESTION):
            if isinstance(told, ModelClientStreamingChunkEvent):
                pieces.append(told.content)
            elif isinstance(told, TaskResult):
                said = told.messages[-1].to_text()
    finally:
        await client.close()
    return said, pieces


# AutoGen remarks that the provider calls the model by its own name.
RENAMED = pytest.mark.filterwarnings("ignore:Resolved model mismatch:UserWarning")
PROGRAMS = [
    marked(CREWAI, crewai),
    marked(LANGGRAPH, langgraph),
    marked([*AUTOGEN, RENAMED], autogen),
]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.__name__)
@pytest.mark.timeout(120)
async def test_a_program_asks_and_calls_its_tool(
    tmp_path: Path, program: Any, stream: bool
) -> None:
    async with served(tmp_path, RULES) as s:
        said, pieces = await program(f"{s.url}/v1", await s.key_of("acme", "run"), stream=stream)
        assert said == ANSWER
        assert (len(pieces) > 1 and "".join(pieces) == ANSWER) if stream else pieces == []
        first, second = [call.body for call in s.stage.provider.calls]
        assert [call["function"]["name"] for call in first["tools"]] == ["rate"]
        (heard,) = [message for message in second["messages"] if message["role"] == "tool"]
        assert heard["content"] == "5.5"
        assert all(bool(body.get("stream")) == stream for body in (first, second))
        # It is nobody's execution: nothing of it is in a journal.
        assert (await s.http.get("/v1/executions")).json()["executions"] == []


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.__name__)
@pytest.mark.timeout(120)
async def test_a_program_without_a_key_asks_nothing(tmp_path: Path, program: Any) -> None:
    async with served(tmp_path, RULES) as s:
        for key in ("omk_wrong", await s.key_of("acme", "read")):
            with pytest.raises(Exception, match=r"API key|scope|40[13]"):
                await program(f"{s.url}/v1", key, stream=False)
        assert s.stage.provider.received == 0
