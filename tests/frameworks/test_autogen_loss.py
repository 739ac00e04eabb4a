"""Teams whose worker is lost: at every point of their journal, with the same outcome."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from omium.execution.events import Append, type_of
from omium.testing.script import Answer, Rule
from omium.types import Json
from tests.actors.gates import gate
from tests.actors.stage import Stage
from tests.frameworks.autogen_stage import (
    AUTOGEN,
    asked,
    assistant,
    call,
    either,
    events_of,
    of_component,
    steps_of,
    team,
    team_stage,
    texts,
    until,
    workflow,
)
from tests.frameworks.killed import KILLED

pytestmark = [*AUTOGEN, *KILLED]

KEPT_TURNS = either(until("MaxMessage", max_messages=20), until("TextMention", text="APPROVE"))


def edge(target: str, condition: str | None = None, **fields: Any) -> dict[str, Any]:
    return {"target": target, "condition": condition, **fields}


def graph(**nodes: list[dict[str, Any]]) -> dict[str, Any]:
    named = {name: {"name": name, "edges": edges} for name, edges in nodes.items()}
    return {"nodes": named, "default_start_node": next(iter(nodes))}


# a, then b and c side by side, then d, which sends back to a once.
LOOP = graph(
    a=[edge("b"), edge("c")],
    b=[edge("d", activation_group="joined")],
    c=[edge("d", activation_group="joined")],
    d=[
        edge("a", "AGAIN", activation_group="again", activation_condition="any"),
        edge("e", "enough"),
    ],
    e=[],
)

KINDS: dict[str, dict[str, Any]] = {
    "round_robin": team(
        "RoundRobinGroupChat",
        assistant("writer", tools=["noted"], reflect_on_tool_use=True),
        assistant("critic"),
        termination_condition=KEPT_TURNS,
    ),
    "streaming": team(
        "RoundRobinGroupChat",
        assistant("writer", tools=["noted"], reflect_on_tool_use=True, model_client_stream=True),
        assistant("critic", model_client_stream=True),
        termination_condition=KEPT_TURNS,
    ),
    "selector": team(
        "SelectorGroupChat",
        assistant("writer", description="writes", tools=["noted"], reflect_on_tool_use=True),
        assistant("critic", description="judges"),
        assistant("clerk", description="files"),
        termination_condition=KEPT_TURNS,
    ),
    "swarm": team(
        "Swarm",
        assistant("writer", handoffs=["critic"], tools=["noted"], max_tool_iterations=3),
        assistant("critic", handoffs=["writer"]),
        termination_condition=KEPT_TURNS,
    ),
    "graph": team(
        "GraphFlow",
        *(assistant(name, tools=["noted"], reflect_on_tool_use=True) for name in "abcde"),
        graph=LOOP,
        termination_condition=until("MaxMessage", max_messages=40),
    ),
    "nested": team(
        "RoundRobinGroupChat",
        assistant("writer", tools=["noted"], reflect_on_tool_use=True),
        team(
            "RoundRobinGroupChat",
            assistant("critic"),
            assistant("clerk"),
            name="office",
            termination_condition=until("MaxMessage", max_messages=2),
        ),
        termination_condition=KEPT_TURNS,
    ),
    "single": assistant("writer", tools=["noted"], max_tool_iterations=4),
}


def act(body: dict[str, Any]) -> Answer:
    """What the members say: decided by the conversation alone, so that it cannot matter how
    often, or when, it is asked."""
    said = texts(body)
    till = said.split("at ")[1].split()[0].strip(".")
    tools = {one["function"]["name"] for one in body.get("tools", ())}
    results = sum(message["role"] == "tool" for message in body["messages"])
    drafts = said.count("draft")
    if "You are in a role play game" in said:
        candidates = re.findall(r"next role from \['(\w+)'", said)
        return Answer(content=candidates[0])
    if "I am critic." in said:
        if drafts >= 2:
            return Answer(content="APPROVE")
        return call("transfer_to_writer") if "transfer_to_writer" in tools else Answer(content="no")
    if "I am clerk." in said:
        return Answer(content="filed" if drafts < 2 else "filed, APPROVE")
    if "noted" in tools and results <= drafts:
        return call("noted", till=till)
    if "transfer_to_critic" in tools and results % 2:
        return call("transfer_to_critic")
    if "I am d." in said:
        return Answer(content="AGAIN" if said.count("AGAIN") == 0 else "enough")
    return Answer(content=f"draft {drafts}")


async def lived(
    s: Stage, kind: str, till: str, number: int
) -> tuple[Json, list[tuple[str, str]], int]:
    """Run a team; its result, its steps, and how many attempts it took."""
    flow = workflow(of_component(KINDS[kind], task=f"Run {number} at {till} ."))
    execution_id = await s.submit(flow)
    result = await s.result(execution_id)
    entries = await s.journal(execution_id)
    return result, steps_of(entries), len(events_of(entries, "attempt.started"))


class Reaper:
    """Watches the commits of the latest execution, and kills its workers at one of them."""

    def __init__(self) -> None:
        self.stage: Stage | None = None
        self.fatal = 0
        self.seen: list[str] = []

    def __call__(self, append: Append, after: bool) -> None:
        if not after:
            return
        kinds = [type_of(event) for event in append.events]
        if "execution.created" in kinds:
            self.seen = []
        earlier = len(self.seen)
        self.seen += kinds
        if self.stage is not None and earlier < self.fatal <= len(self.seen):
            spawner = self.stage.runtime.spawner
            for worker in list(spawner.workers):
                spawner.end(worker)


def second_turn(seen: list[str]) -> list[int]:
    """The first entry of each type after the first turn, and the last turn's end."""
    start = seen.index("step.completed") + 1 if seen.count("step.completed") > 1 else 2
    kinds = ("step.started", "call.intended", "call.completed", "step.completed")
    firsts = [seen.index(kind, start) + 1 for kind in kinds]
    return sorted({*firsts, len(seen) - seen[::-1].index("step.completed")})


async def survives(directory: Path, kind: str, points: Callable[[list[str]], list[int]]) -> None:
    reaper = Reaper()
    async with team_stage(directory, [Rule(answer=act)], observer=reaper) as s:
        with gate() as till:
            whole, steps, _ = await lived(s, kind, till.name, 0)
            seen, tools = list(reaper.seen), len(till.notes)
            requests = sorted(comparable(body, 0, till.name) for body in asked(s))
        reaper.stage = s
        assert tools >= 1 and len(requests) >= 2
        for fatal in points(seen):
            reaper.fatal = fatal
            where = f"lost at {fatal} of {len(seen)}, {seen[fatal - 1]}"
            with gate() as till:
                before = len(asked(s))
                result, again, attempts = await lived(s, kind, till.name, fatal)
                told = sorted(comparable(body, fatal, till.name) for body in asked(s)[before:])
                assert (result, again, attempts) == (whole, steps, 2), where
                assert len(told) == len(requests), where
                # Who is first of two side by side, nobody says.
                assert kind == "graph" or told == requests, where
                assert len(set(till.notes)) == tools, where


@pytest.mark.parametrize("kind", KINDS)
async def test_a_worker_is_lost_in_the_midst_of_a_conversation(tmp_path: Path, kind: str) -> None:
    await survives(tmp_path, kind, second_turn)


@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.parametrize("kind", KINDS)
async def test_a_worker_may_be_lost_at_any_point_of_the_journal(tmp_path: Path, kind: str) -> None:
    # From the start of the attempt on, until the agent hands over: else there is nobody to lose.
    await survives(tmp_path, kind, lambda seen: list(range(2, len(seen) - 1)))


def comparable(body: dict[str, Any], number: int, till: str) -> str:
    """A request without what differs between executions: names, and ids that a provider drew."""
    text = json.dumps(body, sort_keys=True).replace(f"Run {number}", "Run").replace(till, "")
    return re.sub(r"call_\d+_\d+", "call", text)
