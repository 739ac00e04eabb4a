"""Teams of the user's that the AutoGen tests run.

Imported by workers only: it imports AutoGen.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from autogen_agentchat.agents import (
    AssistantAgent,
    BaseChatAgent,
    CodeExecutorAgent,
    MessageFilterAgent,
    MessageFilterConfig,
    PerSourceFilter,
    SocietyOfMindAgent,
    UserProxyAgent,
)
from autogen_agentchat.base import Response
from autogen_agentchat.conditions import (
    FunctionalTermination,
    HandoffTermination,
    TextMentionTermination,
    TimeoutTermination,
)
from autogen_agentchat.messages import BaseChatMessage, TextMessage
from autogen_agentchat.teams import (
    MagenticOneGroupChat,
    RoundRobinGroupChat,
    SelectorGroupChat,
    Swarm,
)
from autogen_agentchat.tools import AgentTool
from autogen_core import CancellationToken, SingleThreadedAgentRuntime
from autogen_core.models import ModelInfo
from autogen_core.tools import TextResultContent, ToolResult, ToolSchema, Workbench
from autogen_ext.models.openai import OpenAIChatCompletionClient
from pydantic import BaseModel

import omium
from omium.frameworks.effect import effect_key
from tests.actors.gates import gate_of

_INFO = ModelInfo(
    vision=False, function_calling=True, json_output=True, structured_output=True, family="unknown"
)


def client() -> OpenAIChatCompletionClient:
    """Finds its server and its key in the environment, like anybody's."""
    return OpenAIChatCompletionClient(model="scripted", model_info=_INFO)


def member(name: str, **options: Any) -> AssistantAgent:
    return AssistantAgent(name, client(), system_message=f"I am {name}.", **options)


def pair(**options: Any) -> RoundRobinGroupChat:
    options.setdefault("termination_condition", TextMentionTermination("APPROVE"))
    return RoundRobinGroupChat([member("writer"), member("critic")], **options)


def trio() -> RoundRobinGroupChat:
    return RoundRobinGroupChat(
        [member("writer"), member("critic"), member("editor")],
        termination_condition=TextMentionTermination("APPROVE"),
    )


def with_inputs(inputs: dict[str, Any], outputs: dict[str, Any]) -> AssistantAgent:
    return AssistantAgent(
        "clerk", client(), system_message=f"Say {inputs['topic']} after {outputs}."
    )


async def made_on_a_loop() -> RoundRobinGroupChat:
    await asyncio.sleep(0)
    return pair()


# ---------------------------------------------------------------------- tools of the user's


class Note(BaseModel):
    amount: int
    text: str


def note_it(till: str, amount: int = 1) -> Note:
    """Note the effect key at a gate."""
    gate_of(till).note(effect_key())
    return Note(amount=amount, text="noted")


def hold_it(till: str) -> dict[str, int]:
    """Note the effect key at a gate and be held there."""
    gate_of(till).hold(effect_key())
    return {"booked": 1}


async def await_it(till: str) -> str:
    """Be held at a gate, on the loop."""
    await gate_of(till).held(effect_key())
    return "let go"


def break_it(till: str) -> str:
    """Raise, every time."""
    gate_of(till).note("ran")
    raise ValueError("no such account")


async def cancel_it(till: str) -> str:
    """End its own task."""
    raise asyncio.CancelledError


TOOLS = [note_it, hold_it, await_it, break_it, cancel_it]


def with_tools() -> AssistantAgent:
    return member("clerk", tools=TOOLS, reflect_on_tool_use=True)


def pair_with_tools() -> RoundRobinGroupChat:
    clerk = member("clerk", tools=TOOLS, reflect_on_tool_use=True)
    return RoundRobinGroupChat(
        [clerk, member("critic")], termination_condition=TextMentionTermination("APPROVE")
    )


class Register(Workbench):
    """A workbench of the user's own, with a count of what it was asked for."""

    component_type = "workbench"

    def __init__(self) -> None:
        self.rung = 0

    async def list_tools(self) -> list[ToolSchema]:
        return [
            {
                "name": "ring",
                "description": "Ring up.",
                "parameters": {
                    "type": "object",
                    "properties": {"till": {"type": "string"}},
                    "required": ["till"],
                },
            }
        ]

    async def call_tool(
        self,
        name: str,
        arguments: Mapping[str, Any] | None = None,
        cancellation_token: CancellationToken | None = None,
        call_id: str | None = None,
    ) -> ToolResult:
        till = (arguments or {})["till"]
        if till == "none":
            said = TextResultContent(content="no such till")
            return ToolResult(name=name, result=[said], is_error=True)
        await gate_of(till).held(effect_key())
        self.rung += 1
        return ToolResult(name=name, result=[TextResultContent(content=f"rung {self.rung}")])

    async def start(self) -> None: ...

    async def stop(self) -> None: ...

    async def reset(self) -> None: ...

    async def save_state(self) -> Mapping[str, Any]:
        return {"rung": self.rung}

    async def load_state(self, state: Mapping[str, Any]) -> None:
        self.rung = state["rung"]


def with_register() -> RoundRobinGroupChat:
    clerk = member("clerk", workbench=Register(), reflect_on_tool_use=True)
    return RoundRobinGroupChat([clerk], termination_condition=TextMentionTermination("closed"))


# ---------------------------------------------------------------------- agents inside agents


def with_inner_agents() -> RoundRobinGroupChat:
    """An agent used as a tool, a wrapped agent, and a team inside an agent."""
    helper = AgentTool(member("helper", tools=[note_it], reflect_on_tool_use=True))
    clerk = member("clerk", tools=[helper], reflect_on_tool_use=True)
    wrapped = MessageFilterAgent(
        "judge",
        member("inner_judge"),
        MessageFilterConfig(per_source=[PerSourceFilter(source="clerk", position="last", count=1)]),
    )
    office = RoundRobinGroupChat([member("typist")], max_turns=1, name="office")
    society = SocietyOfMindAgent("society", office, client())
    return RoundRobinGroupChat(
        [clerk, wrapped, society],
        termination_condition=TextMentionTermination("APPROVE"),
        max_turns=6,
    )


class Verdict(BaseModel):
    verdict: str
    score: int


def structured() -> RoundRobinGroupChat:
    """Its members answer in models of their own, of which AutoGen registers neither."""
    writer = member("writer", output_content_type=Note)
    critic = member("critic", output_content_type=Verdict)
    return RoundRobinGroupChat(
        [writer, critic], termination_condition=TextMentionTermination("good")
    )


def magentic() -> MagenticOneGroupChat:
    return MagenticOneGroupChat([member("writer")], client(), max_turns=3)


# ---------------------------------------------------------------------- endings


def own_ending(inputs: dict[str, Any]) -> RoundRobinGroupChat:
    """A condition of the user's own that counts by itself, beside a timer."""
    drafts: list[str] = []

    def enough(messages: Sequence[Any]) -> bool:
        drafts.extend(m.content for m in messages if m.source == "writer")
        return len(drafts) >= 3

    timer = TimeoutTermination(inputs.get("seconds", 1000.0))
    return pair(termination_condition=FunctionalTermination(enough) | timer)


def bounded() -> RoundRobinGroupChat:
    return pair(termination_condition=None, max_turns=3)


def selecting() -> SelectorGroupChat:
    """Who speaks is decided by a function of the user's."""
    members = [member("writer"), member("critic")]

    def choose(messages: Sequence[Any]) -> str:
        return "critic" if messages[-1].source == "writer" else "writer"

    return SelectorGroupChat(
        [*members],
        client(),
        selector_func=choose,
        termination_condition=TextMentionTermination("APPROVE"),
    )


# ---------------------------------------------------------------------- what goes wrong


class Agent(BaseChatAgent):
    """An agent of the user's own that raises what it is told."""

    def __init__(self, name: str, error: BaseException) -> None:
        super().__init__(name, "raises")
        self._error = error

    @property
    def produced_message_types(self) -> Sequence[type[BaseChatMessage]]:
        return (TextMessage,)

    async def on_messages(
        self, messages: Sequence[BaseChatMessage], cancellation_token: CancellationToken
    ) -> Response:
        raise self._error

    async def on_reset(self, cancellation_token: CancellationToken) -> None: ...


def raising() -> RoundRobinGroupChat:
    return RoundRobinGroupChat([Agent("clerk", KeyError("the vault"))])


def raising_inside() -> RoundRobinGroupChat:
    office = RoundRobinGroupChat([Agent("clerk", KeyError("the vault"))], name="office")
    return RoundRobinGroupChat([office])


def leaving() -> RoundRobinGroupChat:
    return RoundRobinGroupChat([Agent("clerk", SystemExit(3))])


def asks_a_person() -> RoundRobinGroupChat:
    ending = TextMentionTermination("APPROVE", sources=["user"])
    members = [member("writer"), UserProxyAgent("user")]
    return RoundRobinGroupChat(members, termination_condition=ending)


def hands_over() -> Swarm:
    ending = HandoffTermination("user") | TextMentionTermination("DONE")
    return Swarm([member("agent", handoffs=["user"])], termination_condition=ending)


def look(where: str) -> str:
    """Have somebody look somewhere."""
    return f"{where}: {omium.ask(f'What is {where}?')}"


def asks_in_a_tool() -> RoundRobinGroupChat:
    return RoundRobinGroupChat([member("writer", tools=[look])], max_turns=1)


async def await_go(where: str) -> str:
    """Wait until somebody says go."""
    went: Any = await omium.wait_signal_async("go")
    return f"{where}: {went.payload['by']}"


def waits_in_a_tool() -> RoundRobinGroupChat:
    return RoundRobinGroupChat([member("writer", tools=[await_go])], max_turns=1)


def runs_code() -> CodeExecutorAgent:
    class Executor:
        timeout = 1

    return CodeExecutorAgent("coder", Executor(), approval_func=print)  # pyright: ignore


def own_runtime() -> RoundRobinGroupChat:
    return RoundRobinGroupChat([member("writer")], runtime=SingleThreadedAgentRuntime())


def raises() -> RoundRobinGroupChat:
    raise RuntimeError("no key for the vault")


def no_team() -> list[str]:
    return ["not", "a", "team"]


def wants_more(inputs: dict[str, Any], key: str) -> RoundRobinGroupChat:
    raise AssertionError("cannot be called")


_shared: list[RoundRobinGroupChat] = []


def shared() -> RoundRobinGroupChat:
    """The same team in every call, as a module-level one would be."""
    if not _shared:
        _shared.append(pair())
    return _shared[0]


def lone() -> AssistantAgent:
    return member("writer")


def with_one_in_common() -> RoundRobinGroupChat:
    helper = AgentTool(member("helper"))
    return RoundRobinGroupChat(
        [member(name, tools=[helper]) for name in ("writer", "critic")], max_turns=2
    )
