"""The ``python`` framework: agents that are ordinary functions, sync or async.

The entrypoint is called with an ``AgentContext`` (async functions) or a ``BlockingContext``
(sync ones, run in a thread) and returns the agent's output.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

from omium.errors import ConfigError, ToolError
from omium.frameworks.entrypoints import load_entrypoint
from omium.frameworks.protocol import Assignment, ModelEndpoint, Session
from omium.frameworks.threads import in_thread
from omium.types import Json


class _Context:
    def __init__(self, session: Session, tools: dict[str, tuple[Callable[..., Any], bool]]) -> None:
        self._session = session
        self._tools = tools
        self._done = len(session.assignment.steps)

    @property
    def assignment(self) -> Assignment:
        return self._session.assignment

    @property
    def inputs(self) -> dict[str, Json]:
        """The execution's inputs."""
        return self.assignment.inputs

    @property
    def outputs(self) -> dict[str, Json]:
        """The outputs of the agents before this one, by agent."""
        return self.assignment.outputs

    @property
    def rejections(self) -> Json:
        """Why this agent runs again: of each agent that did not take its last output, the name
        (``to``) and its ``reasons``, each with ``code``, ``message``, ``path`` and ``validator``.
        Empty where it runs for another reason. The last output is among ``outputs``."""
        return self.assignment.arguments["rejections"]

    @property
    def state(self) -> Json:
        """What the last checkpoint stored; None before the first."""
        return self.assignment.saved

    @property
    def model(self) -> ModelEndpoint:
        """Where to send LLM calls: any OpenAI client with this base URL and key."""
        return self.assignment.endpoint

    @property
    def step(self) -> str:
        """The step under way; calls are journaled under it."""
        return str(self._done)

    def _tool(self, name: str) -> tuple[Callable[..., Any], bool]:
        try:
            return self._tools[name]
        except KeyError as error:
            declared = ", ".join(sorted(self._tools)) or "none"
            raise ToolError(name, f"the agent declares no such tool, but {declared}") from error


class AgentContext(_Context):
    """What an async agent function is called with."""

    async def checkpoint(self, state: Json, name: str = "") -> None:
        """End a step: from here on the agent is started again with ``state``."""
        await self._session.complete_step(self.step, state, name)
        self._done += 1
        self._session.enter_step(self.step)

    async def call_tool(self, name: str, **arguments: Json) -> Json:
        """Call a declared tool, once in effect."""
        function, idempotent = self._tool(name)

        async def run(given: Json) -> Json:
            named: Any = given
            if inspect.iscoroutinefunction(function):
                return await function(**named)
            return await in_thread(function, **named)

        return await self._session.call_tool(name, arguments, run, idempotent=idempotent)


class BlockingContext(_Context):
    """What a sync agent function is called with, in a thread of its own."""

    def checkpoint(self, state: Json, name: str = "") -> None:
        """End a step: from here on the agent is started again with ``state``."""
        self._session.blocking.complete_step(self.step, state, name)
        self._done += 1
        self._session.enter_step(self.step)

    def call_tool(self, name: str, **arguments: Json) -> Json:
        """Call a declared tool, once in effect."""
        function, idempotent = self._tool(name)

        def run(given: Json) -> Json:
            named: Any = given
            return function(**named)

        return self._session.blocking.call_tool(name, arguments, run, idempotent=idempotent)


class PlainAdapter:
    """Runs ``entrypoint: package.module:function`` agents of ``framework: python``."""

    framework = "python"

    def __init__(self, storage: Path | None = None) -> None:
        """``storage`` is of no use here: plain functions write what they like."""

    def preload(self) -> None:
        """Nothing is slow here."""

    async def run(self, session: Session) -> Json:
        assignment = session.assignment
        agent = assignment.agent
        if agent.entrypoint is None:
            raise ConfigError(f"agent {agent.name!r} of framework python needs an entrypoint")
        function = load_entrypoint(agent.entrypoint, assignment.import_paths)
        tools = {
            name: (
                load_entrypoint(assignment.workflow.tool(name).function, assignment.import_paths),
                assignment.workflow.tool(name).idempotent,
            )
            for name in agent.tools
        }
        session.enter_step(str(len(assignment.steps)))
        if inspect.iscoroutinefunction(function):
            return await function(AgentContext(session, tools))
        return await in_thread(function, BlockingContext(session, tools))
