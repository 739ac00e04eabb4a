"""The adapter laws on LangGraph, with graphs of a user's own."""

from __future__ import annotations

import asyncio

import pytest

from omium.frameworks.langgraph import LangGraphAdapter
from omium.testing.adapter_laws import AdapterLaws, AgentFields, Subject
from tests.frameworks.killed import KILLED
from tests.frameworks.langgraph_stage import LANGGRAPH
from tests.frameworks.laws.cancelled import CancelledInATool

pytestmark = [*LANGGRAPH, *KILLED]


def graph(function: str) -> AgentFields:
    return {"entrypoint": f"tests.frameworks.laws.graphs:{function}"}


class TestLangGraph(AdapterLaws, CancelledInATool):
    @pytest.fixture
    async def subject(self) -> Subject:
        # The first time takes seconds, which are no part of what a law waits for.
        await asyncio.to_thread(LangGraphAdapter().preload)
        return Subject(
            framework="langgraph",
            adapter=LangGraphAdapter,
            steps=graph("steps"),
            loop=graph("loop"),
            tool=lambda name: graph(f"with_{name}"),
            streaming=graph("streaming"),
            parallel=graph("parallel"),
        )
