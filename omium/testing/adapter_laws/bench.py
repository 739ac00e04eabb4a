"""Where subjects live: the real runtime in one process, a scripted model, deaths on demand.

Owns the set-up and the questions that laws ask of it. States no law.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from omium.actors.client import Client
from omium.definitions import Workflow, workflow_from
from omium.execution.events import Append, Entry, Event, type_of
from omium.testing.adapter_laws.ledger import TOOLS, new_ledger, noted
from omium.testing.adapter_laws.subject import AgentFields, Subject
from omium.testing.runtime import InProcessRuntime
from omium.testing.script import Answer, Rule, ToolCall
from omium.testing.scripted import ScriptedProvider
from omium.testing.trial import SCRIPTED, ScriptedRouter
from omium.types import ExecutionId, Json

AGENT = "subject"
WAIT_S = 30.0
TOPIC = "tulips"


class Reaper:
    """Counts what attempts have written, and kills every worker once so much is on disk."""

    def __init__(self, fatal: int) -> None:
        self.fatal = fatal
        self.seen: list[str] = []
        self.runtime: InProcessRuntime | None = None

    def __call__(self, append: Append, after: bool) -> None:
        kinds = [type_of(event) for event in append.events if _of_attempt(event)]
        if not after or not kinds:
            return
        earlier = len(self.seen)
        self.seen += kinds
        if self.runtime is not None and earlier < self.fatal <= len(self.seen):
            for worker in list(self.runtime.spawner.workers):
                self.runtime.spawner.end(worker)


def _of_attempt(event: Event) -> bool:
    kind = type_of(event)
    return kind.startswith(("step.", "call."))


@dataclass(kw_only=True)
class Stage:
    """A runtime with one execution in it."""

    runtime: InProcessRuntime
    provider: ScriptedProvider
    reaper: Reaper
    ledger: str
    execution_id: ExecutionId = field(default_factory=lambda: ExecutionId(""))

    @property
    def client(self) -> Client:
        return self.runtime.client

    async def result(self, execution_id: ExecutionId | None = None) -> Json:
        return await self.client.result(execution_id or self.execution_id, timeout_s=WAIT_S)

    async def journal(self, execution_id: ExecutionId | None = None) -> list[Entry]:
        """All of it, of an execution that has stopped."""
        async with asyncio.timeout(WAIT_S):
            return [e async for e in self.client.events(execution_id or self.execution_id)]

    async def asked(self, times: int) -> None:
        """Wait until the model was asked so often."""
        await asyncio.to_thread(self.provider.wait, received=times, timeout_s=WAIT_S)

    async def idle(self) -> None:
        """Wait until no worker works on anything. Each look is a request to the coordinator."""
        while any(worker.attempts for worker in (await self.client.runtime()).workers):
            pass

    @property
    def questions(self) -> list[list[str]]:
        """What the model was asked: the messages of each request, as text."""
        return [_texts(call.body, self.ledger) for call in self.provider.calls]

    @property
    def booked(self) -> list[str | None]:
        """The effect keys of the tool calls that ran."""
        return noted(self.ledger)


@dataclass(frozen=True, kw_only=True)
class Life:
    """What came of one execution: all that a law compares."""

    result: Json
    questions: list[list[str]]
    steps: list[str]
    attempts: int
    booked: list[str | None]
    written: list[str]


class Bench:
    """Lets the agents of a subject live, each in a runtime and a folder of its own."""

    def __init__(self, subject: Subject, directory: Path, *, every_point: bool = True) -> None:
        """``every_point`` of a journal is one at which the worker is lost; else one of each kind
        in the second step, and the last."""
        self.subject = subject
        self._every_point = every_point
        self._directory = directory
        self._lives = 0

    def workflow(self, agent: AgentFields, **fields: Any) -> Workflow:
        named = {"name": AGENT, "framework": self.subject.framework, **agent, **fields}
        model = {"model": f"{SCRIPTED}/{SCRIPTED}", "tools": TOOLS}
        return workflow_from(
            {"name": "on-trial", "version": "1", "agents": [named], **model},
            frameworks=(self.subject.framework,),
        )

    @asynccontextmanager
    async def stage(
        self, agent: AgentFields, *, fatal: int = 0, rules: tuple[Rule, ...] = (), **fields: Any
    ) -> AsyncIterator[Stage]:
        """A runtime to which ``agent`` was submitted. ``fatal`` is which entry that an attempt
        writes is the worker's last; ``rules`` come before the script of the laws."""
        self._lives += 1
        reaper = Reaper(fatal)
        ledger = new_ledger()
        async with ScriptedProvider([*rules, Rule(answer=answered)]) as provider:
            runtime = InProcessRuntime(
                self._directory / f"life-{self._lives}",
                adapters={self.subject.framework: self.subject.adapter},
                router=partial(ScriptedRouter, provider.base_url),
                observer=reaper,
            )
            async with runtime:
                with _found_by_clients(runtime):
                    reaper.runtime = runtime
                    stage = Stage(runtime=runtime, provider=provider, reaper=reaper, ledger=ledger)
                    stage.execution_id = await runtime.client.submit(
                        self.workflow(agent, **fields), {"topic": TOPIC, "ledger": ledger}
                    )
                    yield stage

    def points(self, whole: Life, *, since: int = 1, until: int | None = None) -> list[int]:
        """At which of the entries that an attempt wrote, from 1, the worker is to be lost. After
        the last one there is nobody to lose."""
        written = whole.written
        last = len(written) - 1 if until is None else until
        if self._every_point:
            return list(range(since, last + 1))
        start = written.index("step.completed") + 1
        start = start if "step.completed" in written[start:] else 0
        firsts = {written.index(kind, start) + 1 for kind in set(written[start:])}
        return sorted(n for n in firsts | {since, last} if since <= n <= last)

    async def live(self, agent: AgentFields, **options: Any) -> Life:
        """Let ``agent`` live to its end."""
        async with self.stage(agent, **options) as stage:
            result = await stage.result()
            return life_of(result, stage, await stage.journal())


def life_of(result: Json, stage: Stage, entries: list[Entry]) -> Life:
    return Life(
        result=json.loads(json.dumps(result).replace(stage.ledger, "ledger")),
        questions=stage.questions,
        steps=[one.step for one in events_of(entries, "step.completed")],
        attempts=len(events_of(entries, "attempt.started")),
        booked=list(stage.booked),
        written=list(stage.reaper.seen),
    )


def events_of(entries: list[Entry], kind: str) -> list[Any]:
    return [entry.event for entry in entries if type_of(entry.event) == kind]


def indexes_of(entries: list[Entry], kind: str) -> list[int]:
    return [entry.index for entry in entries if type_of(entry.event) == kind]


def answered(body: dict[str, Any]) -> Answer:
    """What the model says: decided by the conversation alone, so that it cannot matter how often,
    or when, it is asked; and by all of it, so that what is left out is seen in the answer."""
    results = any(message.get("role") == "tool" for message in body["messages"])
    tools = [one["function"]["name"] for one in body.get("tools", ())]
    said = json.dumps(body["messages"])
    ledger = re.search(r"ledger-[0-9a-f]{12}", said)
    if tools and not results and ledger:
        call = ToolCall(name=tools[0], arguments={"ledger": ledger[0]}, id="call_of_the_law")
        return Answer(tool_calls=(call,))
    texts = "\n".join(_texts(body, ledger[0] if ledger else ""))
    return Answer(content=f"said {hashlib.sha256(texts.encode()).hexdigest()[:8]}")


def _texts(body: dict[str, Any], ledger: str) -> list[str]:
    texts = [f"{message.get('role')}: {message.get('content')}" for message in body["messages"]]
    return [text.replace(ledger, "ledger") if ledger else text for text in texts]


@contextmanager
def _found_by_clients(runtime: InProcessRuntime) -> Iterator[None]:
    """Does for the clients of agents' own code what a worker's process does."""
    ours = {
        "OPENAI_BASE_URL": f"{runtime.gateway_url}/v1",
        "OPENAI_API_KEY": f"{runtime.api_key}.worker",
    }
    before = {name: os.environ.get(name) for name in ours}
    os.environ.update(ours)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
