"""What a fresh process does once, so that its first real crew need not wait.

CrewAI and its OpenAI client load much of themselves when first used. Nothing leaves the
process: the crew's model is a function, and the client's transport another.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import openai
from crewai import Agent, Crew, Task
from crewai.llms.base_llm import BaseLLM

from omium.frameworks.crewai_quiet import subdue


class _Parrot(BaseLLM):
    def call(self, messages: Any, *args: Any, **kwargs: Any) -> str:
        return "done"


_ANSWER = {
    "id": "warm",
    "object": "chat.completion",
    "created": 0,
    "model": "warm",
    "choices": [
        {
            "index": 0,
            "finish_reason": "stop",
            "message": {"role": "assistant", "content": "done"},
        }
    ],
}


def warm_up() -> None:
    """Ask a client and run a crew of one agent and one task. Takes a second the first time."""
    transport = httpx.MockTransport(lambda _: httpx.Response(200, json=_ANSWER))
    with (
        httpx.Client(transport=transport) as web,
        openai.OpenAI(api_key="none", base_url="http://localhost", http_client=web) as client,
    ):
        client.chat.completions.create(model="warm", messages=[{"role": "user", "content": "warm"}])
    with ThreadPoolExecutor(1) as elsewhere:
        # CrewAI refuses to block a thread that has an event loop, as the caller's may.
        elsewhere.submit(_run_crew).result()


def _run_crew() -> None:
    subdue()
    agent = Agent(role="r", goal="g", backstory="b", llm=_Parrot(model="parrot"), verbose=False)
    task = Task(description="d", expected_output="e", agent=agent)
    Crew(agents=[agent], tasks=[task], verbose=False, cache=False).kickoff()
