"""Crews of a user's own for the laws. Imports CrewAI."""

from __future__ import annotations

from typing import Any

from crewai import LLM, Agent, Crew, Task


def streaming(inputs: dict[str, Any]) -> Crew:
    llm = LLM(model="gpt-4o-mini", stream=True)
    agent = Agent(role="clerk", goal="answer", backstory="patient", llm=llm)
    tasks = [
        Task(
            name=word,
            description=f"Say {word} about {inputs['topic']}.",
            expected_output="a word",
            agent=agent,
        )
        for word in ("one", "two", "three")
    ]
    return Crew(agents=[agent], tasks=tasks)


def parallel() -> Crew:
    agent = Agent(role="clerk", goal="answer", backstory="patient", llm=LLM(model="gpt-4o-mini"))
    tasks = [
        Task(
            name=side,
            description=f"Which {side}?",
            expected_output="a word",
            agent=agent,
            # CrewAI wants the last one to wait for the others.
            async_execution=side != "joined",
        )
        for side in ("left", "right", "joined")
    ]
    return Crew(agents=[agent], tasks=tasks)
