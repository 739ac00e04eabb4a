"""The adapter laws on CrewAI, with crews from definitions, and one of a user's own."""

from __future__ import annotations

import asyncio

import pytest

from omium.frameworks.crewai import CrewAIAdapter
from omium.frameworks.crewai_quiet import import_quietly
from omium.testing.adapter_laws import AdapterLaws, AgentFields, Subject
from tests.frameworks.crewai_stage import CREWAI, storage, task
from tests.frameworks.killed import KILLED
from tests.frameworks.laws.cancelled import CancelledInATool

pytestmark = [*CREWAI, *KILLED]


def crew(*descriptions: str, **fields: object) -> AgentFields:
    return {
        "role": "Clerk",
        "goal": "Answer.",
        "backstory": "Patient.",
        "tasks": [task(description) for description in descriptions],
        **fields,
    }


class TestCrewAI(AdapterLaws, CancelledInATool):
    @pytest.fixture
    async def subject(self) -> Subject:
        # The first time takes seconds, which are no part of what a law waits for.
        await asyncio.to_thread(import_quietly, storage())
        return Subject(
            framework="crewai",
            adapter=lambda: CrewAIAdapter(storage()),
            steps=crew(*(f"Say {word} about {{topic}}." for word in ("one", "two", "three"))),
            loop=crew("Again?", "Again?", "Again?"),
            tool=lambda name: crew("Use {ledger}.", tools=[name]),
            streaming={"entrypoint": "tests.frameworks.laws.crews:streaming"},
            parallel={"entrypoint": "tests.frameworks.laws.crews:parallel"},
        )
