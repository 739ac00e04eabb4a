"""Workflows run to their end in the process of a test, and what came of them.

Owns the composition: a runtime in this process, its frameworks, a scripted model provider. The
coordinator, the gateway, the workers and the journal are the real ones.

    def test_the_note_names_the_topic():
        run = try_workflow("workflow.yaml", {"topic": "rain"}, rules=[...])
        assert run.result == {"note": "Rain is water."}
"""

from __future__ import annotations

import asyncio
import atexit
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cache, partial
from pathlib import Path

from omium.actors.client import Client
from omium.actors.outside import StandIns
from omium.actors.workforce import SupervisorSettings
from omium.definitions import Workflow
from omium.errors import Conflict, ExecutionError
from omium.frameworks.protocol import Adapter
from omium.frameworks.registry import adapter_of
from omium.llm.providers import ModelRoute, Provider
from omium.llm.router import Router, RouterSettings
from omium.llm.upstream import Upstream
from omium.runtime.located import Definition, Located, located
from omium.serve.flight import Understudy
from omium.testing.people import People, answered
from omium.testing.recording import Recording, recording_of
from omium.testing.runtime import InProcessRuntime
from omium.testing.script import Rule, Script
from omium.testing.scripted import ScriptedProvider
from omium.types import ExecutionId, Json

TIMEOUT_S = 60.0
SCRIPTED = "scripted"
# Whoever stops a test in a debugger stops the heartbeats of its workers, too.
_PATIENT = SupervisorSettings(
    heartbeat_timeout_s=3_600.0, reconnect_grace_s=0.5, stop_grace_s=1.0, cancel_grace_s=1.0
)


def try_workflow(
    workflow: Definition,
    inputs: Mapping[str, Json] | None = None,
    *,
    rules: Sequence[Rule] = (),
    script: Script | None = None,
    model: str | None = None,
    people: People | None = None,
    timeout_s: float = TIMEOUT_S,
) -> Recording:
    """Run a workflow to its end and return what it did.

    ``workflow`` is a path, a mapping or a ``Workflow``. Whatever model an agent asks, ``rules``
    (or a ``script``) answer; without any, the last message comes back as ``echo: …``. ``model``
    is what ``--model`` is to ``omium run``. Tools act as they always do. ``people`` is called with
    what is asked of people once nothing else can go on, and says something; without it, or where it
    says None, the execution stays paused.

    An execution that fails is no error here: ``result`` of the recording raises it. Raises
    ``DefinitionError`` and ``InputError``, and ``DeadlineExceeded`` after ``timeout_s`` seconds.
    """
    with suppress(RuntimeError):
        asyncio.get_running_loop()
        raise Conflict("an event loop is running here: await atry_workflow(...) instead")
    return asyncio.run(
        atry_workflow(
            workflow,
            inputs,
            rules=rules,
            script=script,
            model=model,
            people=people,
            timeout_s=timeout_s,
        )
    )


async def atry_workflow(
    workflow: Definition,
    inputs: Mapping[str, Json] | None = None,
    *,
    rules: Sequence[Rule] = (),
    script: Script | None = None,
    model: str | None = None,
    people: People | None = None,
    timeout_s: float = TIMEOUT_S,
) -> Recording:
    """``try_workflow`` for async tests."""
    found = located(workflow)
    if found.workflow.model is None:
        named = found.workflow.model_copy(update={"model": f"{SCRIPTED}/{SCRIPTED}"})
        found = Located(workflow=named, import_paths=found.import_paths)
    async with ScriptedProvider(rules, script=script) as provider:
        return await run_in_process(
            found,
            inputs or {},
            model=model or "",
            router=partial(ScriptedRouter, provider.base_url),
            people=people,
            timeout_s=timeout_s,
        )


class ScriptedRouter(Router):
    """Lets one provider answer for every model there is."""

    def __init__(self, base_url: str) -> None:
        super().__init__(
            RouterSettings(providers={}, local_models={}, models_directory=Path(os.devnull))
        )
        self._provider = Provider(name=SCRIPTED, base_url=base_url)
        self._upstream = Upstream(self._provider)

    async def route(self, name: str) -> tuple[Upstream, ModelRoute]:
        return self._upstream, ModelRoute(provider=self._provider, model=name or SCRIPTED)

    async def close(self) -> None:
        await self._upstream.close()
        await super().close()


async def run_in_process(
    found: Located,
    inputs: Mapping[str, Json],
    *,
    model: str,
    router: Callable[[], Router],
    stand_ins: StandIns | None = None,
    understudy: Understudy | None = None,
    people: People | None = None,
    timeout_s: float = TIMEOUT_S,
) -> Recording:
    """Run a workflow to its end on a runtime of its own, which leaves nothing behind.

    ``router`` makes the gateway's; ``stand_ins`` act in place of tools, the ``understudy`` in
    place of providers, and ``people`` of people. Raises ``InputError``, ``AnswerError`` and
    ``DeadlineExceeded``.
    """
    adapters = await asyncio.to_thread(_preloaded, found.workflow)
    with tempfile.TemporaryDirectory(prefix="omium-trial-") as directory, _import_paths_kept():
        async with InProcessRuntime(
            Path(directory),
            adapters=adapters,
            settings=_PATIENT,
            router=router,
            stand_ins=stand_ins,
            understudy=understudy,
        ) as runtime:
            with _openai_at(f"{runtime.gateway_url}/v1", f"{runtime.api_key}.worker"):
                client = runtime.client
                execution_id = await client.submit(
                    found.workflow, dict(inputs), model=model, import_paths=found.import_paths
                )
                await _to_its_end(client, execution_id, people, timeout_s)
                return await recorded(client, execution_id)


async def recorded(client: Client, execution_id: ExecutionId) -> Recording:
    """The recording of an execution that has stopped."""
    entries = [entry async for entry in client.events(execution_id)]
    return await recording_of(entries, client.value)


async def _to_its_end(
    client: Client, execution_id: ExecutionId, people: People | None, timeout_s: float
) -> None:
    """Wait until nothing goes on any more, whatever anybody has to say. How it ended is in the
    journal."""
    loop = asyncio.get_running_loop()
    by_s = loop.time() + timeout_s
    while True:
        with suppress(ExecutionError):
            await client.result(execution_id, timeout_s=max(by_s - loop.time(), 0))
        paused = (await client.view(execution_id)).status == "paused"
        if not paused or people is None or not await answered(client, execution_id, people):
            return


def _preloaded(workflow: Workflow) -> dict[str, Callable[[], Adapter]]:
    """The adapters of a workflow's frameworks. The first import of each takes seconds, which
    are no part of what a test waits for."""
    adapters: dict[str, Callable[[], Adapter]] = {}
    for framework in sorted({agent.framework for agent in workflow.agents}):
        make = partial(adapter_of, framework, _storage())
        make().preload()
        adapters[framework] = make
    return adapters


@cache
def _storage() -> Path:
    """A scratch folder for the files of frameworks. One for the process: CrewAI keeps one."""
    directory = tempfile.TemporaryDirectory(prefix="omium-frameworks-")
    atexit.register(directory.cleanup)
    return Path(directory.name)


@contextmanager
def _openai_at(base_url: str, api_key: str) -> Iterator[None]:
    """Let OpenAI clients that agents construct themselves find the gateway, as in a worker."""
    ours = {"OPENAI_BASE_URL": base_url, "OPENAI_API_KEY": api_key}
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


@contextmanager
def _import_paths_kept() -> Iterator[None]:
    """Take the folders of a workflow's code off the path again."""
    before = list(sys.path)
    try:
        yield
    finally:
        sys.path[:] = before
