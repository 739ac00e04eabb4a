"""Tools of AutoGen's agents: those of a definition, and the user's own, all journaled.

Every run of a tool goes through the session's call journal. What the agent is shown of a
result is the same whether the tool ran or the journal answered. A tool that runs an agent or a
team is not journaled itself: what that agent calls is.
"""

from __future__ import annotations

import copy
import inspect
import json
from collections.abc import AsyncGenerator, Callable, Mapping
from typing import Any, Self

from autogen_agentchat.tools import AgentTool, TeamTool
from autogen_core import CancellationToken
from autogen_core.tools import (
    BaseTool,
    FunctionTool,
    StaticWorkbench,
    TextResultContent,
    ToolResult,
    ToolSchema,
    Workbench,
)
from pydantic import BaseModel
from pydantic_core import to_jsonable_python

from omium.definitions import Tool
from omium.errors import AgentError, ConfigError, EntrypointError, ToolError
from omium.frameworks.autogen_parts import Part, values_of
from omium.frameworks.autogen_turns import Turns
from omium.frameworks.entrypoints import load_entrypoint
from omium.frameworks.protocol import Calls
from omium.frameworks.threads import in_thread
from omium.types import Json

# Tools by which an AssistantAgent hands over: they do nothing, and are part of the turn.
_NO_TOOLS = ("_handoff_tools",)


class DeclaredTools(BaseModel):
    """What stands for an agent's tools in a component: names of the workflow's."""

    names: list[str]
    strict: bool


class DeclaredWorkbench(StaticWorkbench):
    """Holds the place of declared tools until they are put there, which needs a session."""

    component_config_schema = DeclaredTools  # pyright: ignore[reportAssignmentType]
    component_provider_override = "omium.frameworks.autogen_tools.DeclaredWorkbench"

    def __init__(self, declared: DeclaredTools) -> None:
        super().__init__(tools=[])
        self.declared = declared

    @classmethod
    def _from_config(cls, config: DeclaredTools) -> Self:  # pyright: ignore[reportIncompatibleMethodOverride]
        return cls(config)


class DeclaredTool(FunctionTool):
    """A function of the workflow's ``tools``."""

    component_provider_override = "omium.frameworks.autogen_tools.DeclaredTool"

    def return_value_as_string(self, value: Any) -> str:
        # AutoGen asks for it while it is still what the function returned.
        plain = _as_json(value)
        return plain if isinstance(plain, str) else json.dumps(plain, ensure_ascii=False)


def journal_tools(session: Calls, turns: Turns, parts: list[Part]) -> None:
    """Put the tools and workbenches of ``parts`` under the journal.

    They are replaced by copies: the user may share one between teams that run side by side,
    each with a journal of its own.
    """
    journal = _Journal(session, turns)
    for part in parts:
        for name, value in list(values_of(part.thing)):
            if name in _NO_TOOLS:
                continue
            if isinstance(value, Workbench | BaseTool):
                setattr(part.thing, name, journal.copy_of(value))
            elif isinstance(value, list | tuple) and any(
                isinstance(one, Workbench | BaseTool) for one in value
            ):
                setattr(part.thing, name, [journal.copy_of(one) for one in value])


class _Journal:
    def __init__(self, session: Calls, turns: Turns) -> None:
        self._session, self._turns = session, turns
        declared = session.assignment.workflow.tools
        self._idempotent = frozenset(tool.name for tool in declared if tool.idempotent)
        self._copies: dict[int, tuple[Any, Any]] = {}

    def copy_of(self, thing: Any) -> Any:
        if not isinstance(thing, Workbench | BaseTool):
            return thing
        if id(thing) not in self._copies:
            made = self._copy(thing)
            # The original is kept, so that no other gets its id. The copy's own entry makes a
            # list that two agents share come out the same.
            self._copies[id(thing)] = self._copies[id(made)] = (thing, made)
        return self._copies[id(thing)][1]

    def _copy(self, thing: Any) -> Any:
        match thing:
            case AgentTool() | TeamTool():
                return thing
            case BaseTool():
                return self._tool(thing)
            case DeclaredWorkbench():
                return StaticWorkbench(
                    [self._declared(name, thing) for name in thing.declared.names]
                )
            case StaticWorkbench():
                made = copy.copy(thing)
                made._tools = [self.copy_of(tool) for tool in thing._tools]  # pyright: ignore
                return made
            case _:
                return JournaledWorkbench(thing, self._turns, self._idempotent)

    def _declared(self, name: str, bench: DeclaredWorkbench) -> BaseTool[Any, Any]:
        definition = self._session.assignment.workflow.tool(name)
        return self._tool(tool_of(self._session, definition, strict=bench.declared.strict))

    def _tool(self, original: BaseTool[Any, Any]) -> BaseTool[Any, Any]:
        tool: Any = copy.copy(original)
        if isinstance(tool, FunctionTool):
            tool._func = _beside_the_loop(tool._func)
        idempotent = tool.name in self._idempotent
        run_it: Callable[..., Any] = tool.run_json
        stream_it: Callable[..., Any] | None = getattr(tool, "run_json_stream", None)
        shown: Callable[[Any], str] = tool.return_value_as_string
        turns = self._turns

        async def value_of(
            arguments: Mapping[str, Any], token: CancellationToken, **more: Any
        ) -> Any:
            if stream_it is None:
                return await run_it(arguments, token, **more)
            last: Any = None
            async for value in stream_it(arguments, token, **more):
                last = value
            return last

        async def run_json(
            args: Mapping[str, Any],
            cancellation_token: CancellationToken,
            call_id: str | None = None,
        ) -> Any:
            named: Any = to_jsonable_python(args)

            async def run(given: Json) -> Json:
                taken: Any = args if given == named else given
                value = await value_of(taken, cancellation_token, call_id=call_id)
                return _as_json(value) if isinstance(tool, DeclaredTool) else shown(value)

            return await turns.call_tool(tool.name, named, run, idempotent=idempotent)

        async def run_json_stream(
            args: Mapping[str, Any],
            cancellation_token: CancellationToken,
            call_id: str | None = None,
        ) -> AsyncGenerator[Any, None]:
            yield await run_json(args, cancellation_token, call_id)

        tool.run_json = run_json
        if stream_it is not None:
            setattr(tool, "run_json_stream", run_json_stream)  # noqa: B010 (a tool may have none)
        tool.return_value_as_string = lambda value: (
            value if isinstance(value, str) else shown(value)
        )
        return tool


def tool_of(session: Calls, definition: Tool, *, strict: bool) -> DeclaredTool:
    """An AutoGen tool of a declared function.

    Raises ``EntrypointError`` for a function that cannot be a tool, ``ConfigError`` for one
    that nothing describes.
    """
    function = load_entrypoint(definition.function, session.assignment.import_paths)
    description = definition.description or inspect.getdoc(function)
    if not description:
        raise ConfigError(
            f"tool {definition.name!r} has no description: give it one, or the function a docstring"
        )
    try:
        tool = DeclaredTool(function, description=description, name=definition.name, strict=strict)
        tool.schema  # noqa: B018 (raises what cannot be told of its parameters)
    except Exception as error:
        reason = f"its parameters cannot be those of a tool: {error}"
        raise EntrypointError(definition.function, reason) from error
    return tool


def _beside_the_loop(function: Callable[..., Any]) -> Callable[..., Any]:
    """``function`` in a thread, with the caller's context and waited for to its end, of which
    AutoGen's own thread has neither."""
    if inspect.iscoroutinefunction(function):
        return function

    async def run(**arguments: Any) -> Any:
        return await in_thread(function, **arguments)

    return run


def _as_json(value: Any) -> Json:
    try:
        return to_jsonable_python(value)
    except ValueError as error:
        raise TypeError(
            f"its result, a {type(value).__name__}, cannot be written as JSON: {error}"
        ) from error


class JournaledWorkbench(Workbench):
    """A workbench of any kind, such as one of an MCP server, whose calls are journaled."""

    component_type = "workbench"

    def __init__(self, inner: Workbench, turns: Turns, idempotent: frozenset[str]) -> None:
        self.inner = inner
        self._turns = turns
        self._idempotent = idempotent

    async def list_tools(self) -> list[ToolSchema]:
        return await self.inner.list_tools()

    async def call_tool(
        self,
        name: str,
        arguments: Mapping[str, Any] | None = None,
        cancellation_token: CancellationToken | None = None,
        call_id: str | None = None,
    ) -> ToolResult:
        named: Any = to_jsonable_python(arguments or {})

        async def run(given: Json) -> Json:
            taken: Any = arguments if given == named else given
            result = await self.inner.call_tool(name, taken, cancellation_token, call_id)
            if result.is_error:
                raise AgentError(result.to_text())
            return result.model_dump(mode="json")

        try:
            recorded = await self._turns.call_tool(
                name, named, run, idempotent=name in self._idempotent
            )
        except ToolError as error:
            said = [TextResultContent(content=str(error))]
            return ToolResult(name=name, result=[*said], is_error=True)
        return ToolResult.model_validate(recorded)

    async def start(self) -> None:
        await self.inner.start()

    async def stop(self) -> None:
        await self.inner.stop()

    async def reset(self) -> None:
        await self.inner.reset()

    async def save_state(self) -> Mapping[str, Any]:
        return await self.inner.save_state()

    async def load_state(self, state: Mapping[str, Any]) -> None:
        await self.inner.load_state(state)
