"""The loss of a graph's worker at every point of its journal costs nothing twice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from omium.execution.events import (
    Append,
    CallCompleted,
    CallIntended,
    Event,
    type_of,
)
from tests.actors.gates import gate
from tests.actors.stage import Stage
from tests.frameworks.crewai_stage import events_of, workflow
from tests.frameworks.killed import KILLED
from tests.frameworks.langgraph_stage import LANGGRAPH, graph, graph_stage

pytestmark = [*LANGGRAPH, *KILLED]

IDEMPOTENT = [
    {"name": "note_it", "function": "tests.frameworks.graphs:note_it", "idempotent": True}
]
LLM_CALLS, TOOL_CALLS = 8, 8
CALLS = (CallIntended, CallCompleted)


class Watch:
    """Sees what is committed; kills the worker once so many events of an execution are there."""

    def __init__(self) -> None:
        self.stage: Stage | None = None
        self.seen: list[Event] = []
        self.kill_at: int | None = None
        self.killed = False

    def __call__(self, append: Append, after: bool) -> None:
        if not after or (append.writer is None and not isinstance(append.events[0], CALLS)):
            return
        self.seen.extend(append.events)
        if self.kill_at is not None and len(self.seen) > self.kill_at and not self.killed:
            assert self.stage is not None
            self.killed = bool(self.stage.kill())


async def run(s: Stage, watch: Watch, kill_at: int | None) -> tuple[list[Event], Any]:
    """Run ``everything``, with the worker killed after so many events; the events, in order, and
    what came of it."""
    watch.stage, watch.seen, watch.kill_at, watch.killed = s, [], kill_at, False
    before = s.provider.received
    with gate() as till:
        flow = workflow(graph("everything"), tools=IDEMPOTENT)
        execution_id = await s.submit(flow, {"till": till.name, "rounds": 2})
        result: Any = await s.result(execution_id)
        entries = await s.journal(execution_id)
        keys = {note for note in till.notes if note != "round"}
    assert s.provider.received - before == LLM_CALLS, f"killed after {kill_at} events"
    assert len(keys) == TOOL_CALLS, f"killed after {kill_at} events"
    completed = [e.step for e in events_of(entries, "step.completed")]
    assert len(completed) == len(set(completed))
    return watch.seen, result


async def test_nothing_is_done_twice_when_nobody_dies(tmp_path: Path) -> None:
    watch = Watch()
    async with graph_stage(tmp_path, observer=watch) as s:
        seen, result = await run(s, watch, None)
    assert len(result["said"]) == 8
    intents = [event for event in seen if isinstance(event, CallIntended)]
    scopes = {(event.key.kind, event.key.scope) for event in intents}
    places = {"1|left", "1|right", "2/below/1|inner", "2/below/2|more"}
    places |= {"3|left", "3|right", "4/below/1|inner", "4/below/2|more"}
    assert scopes == {(kind, place) for kind in ("llm", "tool") for place in places}
    # Every kind of event that an attempt can write is a point at which it can be lost.
    assert {type_of(event) for event in seen} >= {
        "step.started", "call.intended", "call.completed", "step.completed", "agent.completed",
    }  # fmt: skip


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_nothing_is_done_twice_wherever_the_worker_is_lost(tmp_path: Path) -> None:
    watch = Watch()
    async with graph_stage(tmp_path, observer=watch) as s:
        seen, expected = await run(s, watch, None)
        # Branches end in either order, so there may be a step more or less.
        for kill_at in range(1, len(seen) - 3):
            _, result = await run(s, watch, kill_at)
            assert watch.killed
            assert sorted(result["said"]) == sorted(expected["said"])
