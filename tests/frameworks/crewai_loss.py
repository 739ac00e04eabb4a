"""Running a crew again and again, its worker killed after each event of its journal in turn."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from omium.definitions import Workflow
from omium.execution.events import (
    Append,
    CallCompleted,
    CallIntended,
    Entry,
    Event,
    StepCompleted,
)
from omium.testing.script import Answer
from tests.actors.gates import gate
from tests.actors.stage import Stage
from tests.frameworks.crewai_stage import call, texts

_CALLS = (CallIntended, CallCompleted)


class Losses:
    """Sees what is committed, and kills the worker once so many events of an execution are there.

    Give it to the stage as its observer.
    """

    def __init__(self) -> None:
        self.stage: Stage | None = None
        self._seen: list[Event] = []
        self._kill_at: int | None = None
        self._killed = False

    def __call__(self, append: Append, after: bool) -> None:
        if not after or (append.writer is None and not isinstance(append.events[0], _CALLS)):
            return
        self._seen.extend(append.events)
        if self._kill_at is not None and len(self._seen) > self._kill_at and not self._killed:
            assert self.stage is not None
            self._killed = bool(self.stage.kill())

    async def run(
        self, flow: Workflow, inputs: dict[str, Any], kill_at: int | None = None
    ) -> tuple[Any, list[Event], list[Entry], list[str]]:
        """The result, the events that the worker caused, the journal, and the notes at the gate
        ``inputs.till``, which is made here."""
        assert self.stage is not None
        self._seen, self._kill_at, self._killed = [], kill_at, False
        with gate() as till:
            execution_id = await self.stage.submit(flow, {**inputs, "till": till.name})
            result = await self.stage.result(execution_id)
            entries = await self.stage.journal(execution_id)
            notes = list(till.notes)
        assert self._killed or kill_at is None
        return result, self._seen, entries, notes

    async def everywhere(
        self, flow: Workflow, inputs: dict[str, Any], shown: Callable[[Any], Any] = lambda x: x
    ) -> list[Entry]:
        """Run undisturbed, then with a kill after each event: the same answer, and no call that
        was not made the first time. The journal of the undisturbed run."""
        assert self.stage is not None
        provider = self.stage.provider
        before = provider.received
        expected, seen, undisturbed, notes = await self.run(flow, inputs)
        calls = provider.received - before
        # Tasks that run at once end in either order, so there may be an event more or less.
        for kill_at in range(len(seen) - 2):
            before = provider.received
            result, _, entries, again = await self.run(flow, inputs, kill_at)
            told = f"killed after {kill_at + 1} events"
            assert shown(result) == shown(expected), told
            assert provider.received - before == calls, told
            assert len(set(again)) == len(set(notes)), told
            steps = [e.event.step for e in entries if isinstance(e.event, StepCompleted)]
            assert len(steps) == len(set(steps)), told
        return undisturbed


def noting(body: dict[str, Any]) -> Answer:
    """Calls the tool once where a task says so, and says which task it was otherwise."""
    asked = texts(body)
    where = re.search(r"Note \w+ at ([\w-]+)", asked)
    if where is not None and not any(m["role"] == "tool" for m in body["messages"]):
        return call("note_it", till=where[1])
    return Answer(content=f"said after {asked.count('said')}")
