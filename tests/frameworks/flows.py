"""Flows of the user's that the CrewAI tests run. Imported by workers only."""

from __future__ import annotations

from typing import Any

from crewai import LLM, Agent, Crew, Task
from crewai.flow.flow import Flow, and_, listen, or_, router, start
from crewai.flow.persistence import persist
from pydantic import BaseModel

from tests.frameworks.crews import Verdict, note_it


class State(BaseModel):
    till: str = ""
    rounds: int = 0
    said: list[str] = []
    left: str = ""
    right: str = ""


def ask(text: str) -> str:
    return str(LLM(model="gpt-4o-mini").call(text))


def crew(*texts: str, at_once: bool = False) -> Crew:
    agent = Agent(role="clerk", goal="g", backstory="b", llm="gpt-4o-mini", tools=[note_it])
    tasks = [
        Task(description=text, expected_output="a word", agent=agent, async_execution=at_once)
        for text in texts
    ]
    last = Task(description="Say last.", expected_output="a word", agent=agent)
    return Crew(agents=[agent], tasks=[*tasks, last] if at_once else tasks)


class Rounds(Flow[State]):
    """A loop with a crew in it, and then two branches that are joined."""

    @start()
    def begin(self) -> str:
        self.state.said.append(ask("Say begin."))
        return "begun"

    @listen(or_(begin, "again"))
    def turn(self) -> Any:
        self.state.rounds += 1
        done: Any = crew(f"Note turn{self.state.rounds} at {self.state.till}.").kickoff()
        self.state.said.append(done.raw)
        return done

    @router(turn)
    def judge(self) -> str:
        return "again" if self.state.rounds < 2 else "enough"

    @listen("enough")
    async def left(self) -> Verdict:
        done: Any = await crew(
            f"Note one at {self.state.till}.", f"Note two at {self.state.till}.", at_once=True
        ).kickoff_async()
        self.state.left = done.raw
        return Verdict(verdict=done.raw, score=1)

    @listen("enough")
    def right(self) -> None:
        agent = Agent(role="clerk", goal="g", backstory="b", llm="gpt-4o-mini", tools=[note_it])
        done: Any = agent.kickoff(f"Note right at {self.state.till}.")
        self.state.right = done.raw

    @listen(and_(left, right))
    def finish(self) -> dict[str, Any]:
        state = self.state
        said = [*state.said, state.left, state.right, ask("Say finish.")]
        return {"rounds": state.rounds, "said": said, "id": state.id}  # pyright: ignore


def rounds() -> Rounds:
    return Rounds()


class Plain(Flow[dict]):
    """A state without a model, and inputs in it."""

    @start()
    def begin(self) -> str:
        self.state["seen"] = [self.state["topic"]]
        return ask(f"Say {self.state['topic']}.")

    @listen(begin)
    def finish(self, said: str) -> str:
        return f"{said} about {self.state['seen'][0]}"


class Unkept(Flow[dict]):
    @start()
    def begin(self) -> Any:
        return object()


class UnkeptState(Flow[dict]):
    @start()
    def begin(self) -> None:
        self.state["what"] = {1: "one"}


class Remembering(Flow[dict]):
    @start()
    def begin(self) -> None:
        self.remember("that")


@persist()
class Persisted(Flow[dict]):
    @start()
    def begin(self) -> None: ...
