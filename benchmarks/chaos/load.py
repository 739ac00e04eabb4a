"""Who works with the service while things go wrong: clients with their own retries on.

Every request that a client makes is counted, answered or not. Nothing here knows of the faults.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from random import Random
from typing import Any, TypeVar

from benchmarks.chaos.registers import Registers
from benchmarks.handoff_agents import NAMES, VOTED
from omium.client import AsyncClient, AsyncHandle
from omium.errors import OmiumError

T = TypeVar("T")

WORKFLOW: dict[str, Any] = {
    "name": "chaos",
    "version": "1",
    "model": "openai/scripted",
    "agents": [
        {"name": "first", "framework": "python", "entrypoint": "benchmarks.agents:three_questions"},
        {"name": "second", "framework": "python", "entrypoint": "benchmarks.agents:last_question"},
    ],
    "handoffs": [{"from": "first", "to": "second"}],
}
SCRIPT = {"rules": [{"answer": {"content": "done", "delay_s": 0.2}}]}
RESULT = {"answer": "done", "given": {"first": ["done"] * 3}}


def _is_handed_on(result: Any, number: int) -> bool:
    return (
        isinstance(result, dict)
        and result["number"] == number
        and [name for name, _ in result["names"]] == [*NAMES]
    )


WORKFLOWS: Mapping[str, tuple[dict[str, Any], Callable[[Any, int], bool]]] = {
    "chaos": (WORKFLOW, lambda result, _: result == RESULT),
    "voted": (VOTED, _is_handed_on),
}
"""What is executed in turn, by name, and whether a result is that of the execution so numbered."""

EXECUTORS = 4
READERS = 3
REGISTER_CLIENTS = 6
PAUSE_S = 0.05
POLL_S = 0.25
SLOW_S = 5.0
FAILURES_SHOWN = 10


@dataclass(frozen=True, kw_only=True)
class Created:
    """An execution that was acknowledged: of which workflow, and its number."""

    workflow: str
    number: int


class Load:
    """Clients that never rest between ``start`` and ``finish``."""

    def __init__(self, client: AsyncClient, registers: Registers, seed: int) -> None:
        self._client = client
        self._registers = registers
        self._random = Random(seed)
        self._numbers = itertools.count(1)
        self._begun_s = time.monotonic()
        self._ending = False
        self._tasks: list[asyncio.Task[None]] = []
        self.created: dict[str, Created] = {}
        """The executions that were acknowledged, by their ids."""
        self.results: dict[str, Any] = {}
        """What came of each: its output, or how it ended."""
        self.requests = 0
        self.unanswered: list[str] = []
        self.slow = 0
        """How many requests took more than ``SLOW_S`` seconds."""
        self.longest_s = 0.0

    @property
    def finished(self) -> int:
        """How many executions have ended with the result that is theirs."""
        return sum(
            WORKFLOWS[self.created[name].workflow][1](result, self.created[name].number)
            for name, result in self.results.items()
        )

    def told(self, workflow: str) -> dict[str, Any]:
        """What came of each execution of a workflow; None for one that did not end."""
        return {
            name: self.results.get(name)
            for name, created in self.created.items()
            if created.workflow == workflow
        }

    async def start(self) -> None:
        for workflow, _ in WORKFLOWS.values():
            await self._client.register(workflow)
        self._tasks = [
            *(asyncio.create_task(self._execute()) for _ in range(EXECUTORS)),
            *(asyncio.create_task(self._read()) for _ in range(READERS)),
            *(asyncio.create_task(self._register(n)) for n in range(REGISTER_CLIENTS)),
        ]

    async def finish(self, timeout_s: float) -> None:
        """Begin nothing new, and wait until what was begun has ended."""
        self._ending = True
        _, late = await asyncio.wait(self._tasks, timeout=timeout_s)
        await self.stop()
        for task in self._tasks:
            if task not in late and (error := task.exception()) is not None:
                raise error

    async def stop(self) -> None:
        """End at once."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _execute(self) -> None:
        while not self._ending:
            number = next(self._numbers)
            workflow = [*WORKFLOWS][number % len(WORKFLOWS)]
            name = f"execution-{number}"
            inputs = {"number": number}
            handle = await self._asked(
                "create",
                lambda workflow=workflow, inputs=inputs, name=name: self._client.run(
                    workflow, inputs, idempotency_key=name
                ),
            )
            if handle is not None:
                self.created[handle.id] = Created(workflow=workflow, number=number)
                await self._follow(handle)

    async def _follow(self, handle: AsyncHandle) -> None:
        while True:
            view = await self._asked("view", handle.view)
            if view is not None and view.status in ("completed", "failed", "cancelled", "paused"):
                break
            await asyncio.sleep(POLL_S)
        if view.status != "completed":
            self.results[handle.id] = f"{view.status} {view.failure} {view.pause}"
            return
        self.results[handle.id] = await self._asked("result", handle.result)

    async def _read(self) -> None:
        while not self._ending:
            known = list(self.created)
            if known and self._random.random() < 0.8:
                handle = self._client.execution(self._random.choice(known[-50:]))
                await self._asked("view", handle.view)
            else:
                await self._asked("list", self._first_page)
            await asyncio.sleep(PAUSE_S)

    async def _first_page(self) -> int:
        workflow = self._random.choice([*WORKFLOWS])
        listed = self._client.executions(workflow=workflow, statuses=("running",))
        found = 0
        async for _ in listed:
            found += 1
            if found >= 10:
                break
        await listed.aclose()
        return found

    async def _register(self, process: int) -> None:
        while not self._ending:
            await self._asked("record", lambda: self._registers.once(process))
            await asyncio.sleep(PAUSE_S)

    async def _asked(self, what: str, ask: Callable[[], Awaitable[T]]) -> T | None:
        """One request; None where it was not answered, retries and all."""
        begun_s = time.monotonic()
        self.requests += 1
        try:
            return await ask()
        except OmiumError as error:
            at_s = begun_s - self._begun_s
            self.unanswered.append(f"{what} at {at_s:.1f} s: {type(error).__name__}: {error}")
            return None
        finally:
            taken_s = time.monotonic() - begun_s
            self.slow += taken_s > SLOW_S
            self.longest_s = max(self.longest_s, taken_s)
