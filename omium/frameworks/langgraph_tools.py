"""The hook on LangChain's tools: whatever runs one inside an attempt, the journal knows of it.

A tool may be called by a ``ToolNode``, by an agent in a subgraph or by a node's own code, so
the hook is at ``BaseTool.run`` and its async twin, where all of these come to. Tools that run
outside of an attempt are not touched.
"""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from langchain_core.messages import ToolMessage
from langchain_core.tools import BaseTool
from langgraph.checkpoint.serde.base import SerializerProtocol
from langgraph.errors import GraphBubbleUp, GraphInterrupt
from pydantic_core import to_jsonable_python

from omium.errors import Suspended, ToolError
from omium.frameworks.effect import tool_call
from omium.frameworks.loop_thread import CallerLoop
from omium.frameworks.protocol import Session
from omium.types import Json


@dataclass(frozen=True, kw_only=True)
class ToolJournal:
    """What the hook needs of an attempt. ``idempotent`` names the tools that are declared so;
    ``serde`` stores results that JSON cannot carry; ``inside`` notes which tool call each
    interrupt is in."""

    session: Session
    loop: CallerLoop
    idempotent: frozenset[str]
    serde: SerializerProtocol
    inside: dict[str, int]


_MARK = "$langchain"
"""Key of a stored result that is more than JSON, or no JSON."""

_journal: ContextVar[ToolJournal | None] = ContextVar("omium_langgraph_tools", default=None)


@contextmanager
def journaled(journal: ToolJournal) -> Iterator[None]:
    """Tools that run inside, in tasks and threads that are started there, are journaled."""
    _install()
    token = _journal.set(journal)
    try:
        yield
    finally:
        _journal.reset(token)


# ---------------------------------------------------------------------- results


def _stored(result: Any, serde: SerializerProtocol) -> Json:
    """A tool's result as the journal keeps it: what the tool said, where that is all there is,
    so that a person who decides about a call can say it, too."""
    if isinstance(result, ToolMessage):
        content: Any = result.content
        if isinstance(content, str) and result.status == "success" and result.artifact is None:
            return content
        artifact = None if result.artifact is None else _stored(result.artifact, serde)
        return {_MARK: {"content": content, "status": result.status, "artifact": artifact}}
    if _is_json(result) and not (isinstance(result, dict) and _MARK in result):
        return result
    kind, data = serde.dumps_typed(result)
    return {_MARK: {"kind": kind, "data": base64.b64encode(data).decode()}}


def _restored(stored: Json, tool: BaseTool, call_id: str | None, serde: SerializerProtocol) -> Any:
    """The inverse of ``_stored``. A message answers the call that is being made now."""
    marked: Any = stored.get(_MARK) if isinstance(stored, dict) else None
    match marked:
        case None if call_id is None:
            return stored
        case None:
            content = stored if isinstance(stored, str) else json.dumps(stored, ensure_ascii=False)
            return ToolMessage(content=content, name=tool.name, tool_call_id=call_id)
        case {"content": content, "status": status, "artifact": artifact}:
            return ToolMessage(
                content=content,
                status=status,
                artifact=_restored(artifact, tool, None, serde),
                name=tool.name,
                tool_call_id=call_id or "",
            )
        case _:
            return serde.loads_typed((marked["kind"], base64.b64decode(marked["data"])))


def _is_json(value: Any) -> bool:
    match value:
        case None | bool() | int() | float() | str():
            return True
        case list():
            return all(_is_json(item) for item in value)
        case dict():
            return all(isinstance(key, str) and _is_json(item) for key, item in value.items())
        case _:
            return False


# ---------------------------------------------------------------------- the hook


def _arguments(tool: BaseTool, tool_input: Any, call_id: str | None) -> Json:
    """What a tool is called with, less what LangGraph gives it besides. Raises the tool's own
    error for arguments that do not fit: the tool has not been run then."""
    tool._parse_input(tool_input, call_id)
    if isinstance(tool_input, dict):
        tool_input = tool._filter_injected_args(tool_input)
    # A thing that JSON cannot carry is named by what it is: where it lies would differ each time.
    return to_jsonable_python(tool_input, fallback=lambda thing: f"<{type(thing).__qualname__}>")


def _edited(tool_input: Any, named: Json, given: Json) -> Any:
    """What a tool is called with, where a person may have given other arguments: what LangGraph
    gives it besides stays as it is."""
    if given == named:
        return tool_input
    if isinstance(tool_input, dict) and isinstance(named, dict) and isinstance(given, dict):
        return {**{k: v for k, v in tool_input.items() if k not in named}, **given}
    return given


class _Bubble:
    """Lets what is no failure of the tool's pass the journal, which knows failures only."""

    def __init__(self, inside: dict[str, int]) -> None:
        self._error: GraphBubbleUp | None = None
        self._inside = inside

    @contextmanager
    def catching(self) -> Iterator[None]:
        try:
            yield
        except GraphInterrupt as error:
            self._error = error
            self._inside.update({one.id: tool_call() for one in error.args[0]})
            raise Suspended from error
        except GraphBubbleUp as error:
            self._error = error
            raise

    @contextmanager
    def releasing(self) -> Iterator[None]:
        try:
            yield
        except (ToolError, Suspended):
            if self._error is not None:
                raise self._error from None
            raise


_install_lock = threading.Lock()
_installed = False


def _install() -> None:
    global _installed
    with _install_lock:
        if _installed:
            return
        _installed = True
        _wrap_blocking()
        _wrap_async()


def _wrap_blocking() -> None:
    original: Callable[..., Any] = BaseTool.run

    def run(self: BaseTool, tool_input: Any, *args: Any, **kwargs: Any) -> Any:
        journal = _journal.get()
        if journal is None:
            return original(self, tool_input, *args, **kwargs)
        call_id, bubble = kwargs.get("tool_call_id"), _Bubble(journal.inside)
        named = _arguments(self, tool_input, call_id)

        def result(given: Json) -> Json:
            taken = _edited(tool_input, named, given)
            with bubble.catching():
                return _stored(original(self, taken, *args, **kwargs), journal.serde)

        with bubble.releasing():
            stored = journal.session.blocking.call_tool(
                self.name,
                named,
                result,
                idempotent=self.name in journal.idempotent,
            )
        return _restored(stored, self, call_id, journal.serde)

    BaseTool.run = run


def _wrap_async() -> None:
    original: Callable[..., Any] = BaseTool.arun

    async def arun(self: BaseTool, tool_input: Any, *args: Any, **kwargs: Any) -> Any:
        journal = _journal.get()
        if journal is None:
            return await original(self, tool_input, *args, **kwargs)
        call_id, bubble, own = kwargs.get("tool_call_id"), _Bubble(journal.inside), CallerLoop()
        named = _arguments(self, tool_input, call_id)

        async def on_own_loop(given: Json) -> Json:
            taken = _edited(tool_input, named, given)
            with bubble.catching():
                return _stored(await original(self, taken, *args, **kwargs), journal.serde)

        async def result(given: Json) -> Json:
            return await own.run(on_own_loop(given))

        with bubble.releasing():
            stored = await journal.loop.run(
                journal.session.call_tool(
                    self.name,
                    named,
                    result,
                    idempotent=self.name in journal.idempotent,
                )
            )
        return _restored(stored, self, call_id, journal.serde)

    BaseTool.arun = arun
