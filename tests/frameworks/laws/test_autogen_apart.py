"""The adapter laws on AutoGen, with teams whose members live apart."""

from __future__ import annotations

import asyncio

import pytest

from omium.frameworks.autogen import AutoGenAdapter
from omium.testing.adapter_laws import AdapterLaws, AgentFields, Subject
from tests.frameworks.autogen_stage import AUTOGEN
from tests.frameworks.killed import KILLED
from tests.frameworks.laws.cancelled import CancelledInATool

pytestmark = [*AUTOGEN, *KILLED]


def team(function: str) -> AgentFields:
    return {
        "entrypoint": f"tests.frameworks.laws.teams:{function}",
        "task": "Do it.",
        "isolation": "member",
    }


class TestMembersApart(AdapterLaws, CancelledInATool):
    @pytest.fixture
    async def subject(self) -> Subject:
        # The first time takes seconds, which are no part of what a law waits for.
        await asyncio.to_thread(AutoGenAdapter().preload)
        return Subject(
            framework="autogen",
            adapter=AutoGenAdapter,
            steps=team("steps"),
            loop=team("loop"),
            tool=lambda name: team(f"with_{name}_in_team"),
            streaming=team("streaming"),
            parallel=team("parallel"),
        )
