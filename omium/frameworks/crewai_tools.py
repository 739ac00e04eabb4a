"""Tools of crews: those of a definition made into CrewAI's, and the user's own, all journaled.

Every run of a tool goes through the session's call journal. What the agent is shown of a
result is the same whether the tool ran or the journal answered.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import json
from collections.abc import Callable
from typing import Any

from crewai.tools import BaseTool
from crewai.tools.base_tool import Tool as FunctionTool
from crewai.tools.tool_failure import ToolFailure
from crewai.utilities.string_utils import sanitize_tool_name
from pydantic import BaseModel, PydanticUserError, create_model
from pydantic_core import to_jsonable_python

from omium.definitions import Tool
from omium.errors import ConfigError, EntrypointError
from omium.frameworks.entrypoints import load_entrypoint
from omium.frameworks.protocol import Session
from omium.types import Json


def defined_tool(session: Session, definition: Tool, returned: Callable[[], None]) -> BaseTool:
    """A CrewAI tool that runs the function of ``definition``.

    ``returned`` is told of every call that came to a result, recorded ones included. Raises
    ``EntrypointError`` for a function that cannot be a tool, ``ConfigError`` for one that
    nothing describes.
    """
    function = load_entrypoint(definition.function, session.assignment.import_paths)
    description = definition.description or inspect.getdoc(function)
    if not description:
        raise ConfigError(
            f"tool {definition.name!r} has no description: give it one, or the function a docstring"
        )
    arguments_model = _arguments_of(definition, function)

    class DefinedTool(BaseTool):
        def _run(self, **arguments: Any) -> str:
            # CrewAI hands over plain data; the function gets what it is annotated with.
            arguments_model.model_validate(arguments)

            def run(given: Json) -> Json:
                typed = dict(arguments_model.model_validate(given))
                return _as_json(resolved(function, **typed))

            result = session.blocking.call_tool(
                definition.name,
                to_jsonable_python(arguments),
                run,
                idempotent=definition.idempotent,
            )
            returned()
            return result if isinstance(result, str) else json.dumps(result, ensure_ascii=False)

    return DefinedTool(name=definition.name, description=description, args_schema=arguments_model)


def resolved(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """What ``function`` returns, or what the coroutine does that it returns."""
    result = function(*args, **kwargs)
    return asyncio.run(result) if inspect.iscoroutine(result) else result


def _as_json(result: Any) -> Json:
    try:
        return to_jsonable_python(result)
    except ValueError as error:
        raise TypeError(
            f"its result, a {type(result).__name__}, cannot be written as JSON: {error}"
        ) from error


def _arguments_of(definition: Tool, function: Callable[..., Any]) -> type[BaseModel]:
    """The arguments of a tool as a pydantic model, from the function's signature."""
    try:
        signature = inspect.signature(function, eval_str=True)
        fields = dict(_field(parameter) for parameter in signature.parameters.values())
        return create_model(f"{definition.name}_arguments", **fields)
    except (NameError, TypeError, ValueError, PydanticUserError) as error:
        reason = f"its parameters cannot be those of a tool: {error}"
        raise EntrypointError(definition.function, reason) from error


def _field(parameter: inspect.Parameter) -> tuple[str, Any]:
    if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
        raise TypeError(f"{str(parameter)!r} cannot be given by name")
    has_default = parameter.default is not parameter.empty
    annotation: Any = parameter.annotation
    if annotation is parameter.empty:
        known = has_default and parameter.default is not None
        annotation = type(parameter.default) if known else str
    return parameter.name, (annotation, parameter.default if has_default else ...)


def journal_tools(session: Session, owners: list[Any], idempotent: frozenset[str]) -> None:
    """Put the tools of ``owners`` (agents and tasks of a user's crew) under the journal.

    ``idempotent`` holds the names of those declared so, as the user or as CrewAI spells them.
    The tools are replaced by copies: the user may share one between crews that run side by
    side, each with a journal of its own.
    """
    copies: dict[int, BaseTool] = {}

    def copy_of(tool: Any) -> Any:
        if not isinstance(tool, BaseTool):
            return tool
        if id(tool) not in copies:
            safe = not idempotent.isdisjoint((tool.name, sanitize_tool_name(tool.name)))
            copy = tool.model_copy()
            _journal(session, copy, idempotent=safe)
            # The second entry makes a list that two owners share come out the same.
            copies[id(tool)] = copies[id(copy)] = copy
        return copies[id(tool)]

    for owner in owners:
        if owner.tools:
            owner.tools = [copy_of(tool) for tool in owner.tools]


def _journal(session: Session, tool: BaseTool, *, idempotent: bool) -> None:
    # The innermost place that every way to run a tool comes to, with checked arguments.
    place = "func" if isinstance(tool, FunctionTool) else "_run"
    original: Callable[..., Any] = getattr(tool, place)

    @functools.wraps(original)
    def run(*args: Any, **kwargs: Any) -> Any:
        named = to_jsonable_python({**kwargs, "args": args} if args else kwargs)

        def call(given: Json) -> Json:
            if given == named:
                # As the tool was called: JSON may not carry all of it.
                return _shown(tool, resolved(original, *args, **kwargs))
            edited: Any = given
            rest = {name: value for name, value in edited.items() if name != "args" or not args}
            return _shown(tool, resolved(original, *edited.get("args", args), **rest))

        return session.blocking.call_tool(tool.name, named, call, idempotent=idempotent)

    # Past pydantic, which takes no new attributes.
    object.__setattr__(tool, place, run)


def _shown(tool: BaseTool, result: Any) -> Json:
    """A result as the journal keeps it: itself where JSON can carry it, else what CrewAI would
    show the agent of it."""
    match result:
        case ToolFailure():
            # As CrewAI feeds it to the agent; raised, the journal has it as a failure too.
            raise RuntimeError(result.as_agent_message())
        case BaseModel() if tool.result_schema is None:
            return tool.format_output_for_agent(result)
        case _:
            pass
    try:
        return to_jsonable_python(result)
    except ValueError:
        return tool.format_output_for_agent(result)
