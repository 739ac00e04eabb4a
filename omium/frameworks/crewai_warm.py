"""What a fresh process does once, so that its first real crew need not wait.

CrewAI loads much of itself when first used. The crew's model is a function.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

from crewai import Agent, Crew, Task
from crewai.llms.base_llm import BaseLLM

from omium.frameworks.crewai_quiet import subdue
from omium.frameworks.warm import warm_openai


class _Parrot(BaseLLM):
    def call(self, messages: Any, *args: Any, **kwargs: Any) -> str:
        return "done"


def warm_up() -> None:
    """Ask a client and run a crew of one agent and one task. Takes a second the first time."""
    warm_openai()
    with ThreadPoolExecutor(1) as elsewhere:
        # CrewAI refuses to block a thread that has an event loop, as the caller's may.
        elsewhere.submit(_run_crew).result()


def _run_crew() -> None:
    subdue()
    agent = Agent(role="r", goal="g", backstory="b", llm=_Parrot(model="parrot"), verbose=False)
    task = Task(description="d", expected_output="e", agent=agent)
    Crew(agents=[agent], tasks=[task], verbose=False, cache=False).kickoff()
