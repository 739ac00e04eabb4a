"""One turn after another of a team, so that nothing that goes wrong in one is lost.

AutoGen runs an agent in tasks of its own. There an exception becomes a text, or ends a task
that nobody looks at while the team waits for it for ever; control flow of Omium's most of all,
which no ``except Exception`` sees. So what must end a turn is noted here at the place where it
appears, the code that raised it is held, and the turn is taken down from outside.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from typing import Any, TypeVar

from autogen_agentchat.base import TaskResult
from autogen_agentchat.messages import BaseChatMessage
from autogen_core import CancellationToken

from omium.errors import AgentError, Control, ToolError
from omium.frameworks.autogen_parts import Part, teams_of
from omium.frameworks.protocol import Calls, ToolRun
from omium.types import Json

_T = TypeVar("_T")
Act = Callable[[CancellationToken], Coroutine[Any, Any, _T]]
Messages = Sequence[BaseChatMessage]

_LOOK_AGAIN_S = 0.02


async def run_through(thing: Any, task: Messages, token: CancellationToken) -> TaskResult:
    """Run a team or an agent by its stream, which is what is watched; without a task it goes
    on with what it has."""
    result: TaskResult | None = None
    stream = thing.run_stream(
        task=list(task) or None, cancellation_token=token, output_task_messages=False
    )
    async for message in stream:
        if isinstance(message, TaskResult):
            result = message
    if result is None:
        raise AgentError(f"{type(thing).__name__} {thing.name!r} ended without a result")
    return result


class Turns:
    """Runs the turns of the team or agent that ``parts`` are of, under ``session``."""

    def __init__(self, session: Calls, parts: list[Part]) -> None:
        self._session = session
        self._teams = [team for _, team in teams_of(parts)]
        self._step = ""
        self._calls: set[asyncio.Task[Json]] = set()
        self._told: set[asyncio.Task[Any]] = set()
        self._held: set[asyncio.Future[None]] = set()
        self._ended: asyncio.Future[None] | None = None
        self._error: BaseException | None = None
        self._noted: Exception | None = None
        self._is_over = False
        for part in parts:
            self._watch(part)

    # ------------------------------------------------------------------ a turn

    async def run(self, step: str, act: Act[_T]) -> _T:
        """Run ``act`` as the turn ``step``; its calls are journaled under that.

        Raises what ended the turn, as it was raised first. When this returns or raises, nothing
        of the turn is at work any more.
        """
        self._step, self._error, self._noted = step, None, None
        self._is_over = False
        self._told.clear()
        ended = self._ended = asyncio.get_running_loop().create_future()
        token = CancellationToken()
        with self._session.in_step(step):
            work = asyncio.ensure_future(act(token))
        try:
            await asyncio.wait({work, ended}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            if not work.done() or self._error is not None:
                await self._take_down(work, token)
        if self._error is not None:
            raise self._error
        if self._calls:
            # Of an agent that did not wait for a tool. It belongs to this turn.
            await asyncio.wait(self._calls)
        failed = None if work.cancelled() else work.exception()
        if isinstance(failed, Exception):
            raise self._first(failed)
        return work.result()

    async def _take_down(self, work: asyncio.Task[Any], token: CancellationToken) -> None:
        """Stop all that the turn has at work, and wait for its end: a function in a thread
        cannot be stopped, and must not be left behind."""
        self._is_over = True
        token.cancel()
        while True:
            running = {task for task in (work, *self._calls) if not task.done()}
            if not running:
                break
            for task in (*running, *self._handlers()):
                self._tell(task)
            for held in self._held:
                held.cancel()
            await asyncio.wait(running, timeout=_LOOK_AGAIN_S)
        if not work.cancelled():
            # Looked at, so that asyncio does not complain of what nobody waited for.
            work.exception()

    def _handlers(self) -> list[asyncio.Task[Any]]:
        """The tasks in which AutoGen runs the agents of the teams."""
        tasks: list[asyncio.Task[Any]] = []
        for team in self._teams:
            tasks += getattr(team._runtime, "_background_tasks", ())
        return tasks

    def _tell(self, task: asyncio.Task[Any]) -> None:
        """Cancel a task, once: a second time would interrupt its clearing up."""
        if task not in self._told:
            self._told.add(task)
            task.cancel()

    # ------------------------------------------------------------------ what happens in one

    async def end(self, error: BaseException) -> None:
        """End the turn with ``error``. Holds the caller until the turn is taken down."""
        if self._error is None:
            self._error = error
        if self._ended is not None and not self._ended.done():
            self._ended.set_result(None)
        held = asyncio.get_running_loop().create_future()
        self._held.add(held)
        try:
            await held
        finally:
            self._held.discard(held)

    async def call_tool(
        self, name: str, arguments: Json, run: ToolRun, *, idempotent: bool
    ) -> Json:
        """Run a tool under the journal. Raises ``ToolError`` for a tool that raised; anything
        else that goes wrong ends the turn."""
        call = asyncio.ensure_future(
            self._session.call_tool(name, arguments, run, idempotent=idempotent)
        )
        self._calls.add(call)
        call.add_done_callback(self._calls.discard)
        try:
            return await asyncio.shield(call)
        except asyncio.CancelledError:
            if call.cancelled() and call not in self._told:
                await self.end(AgentError(f"tool {name!r} was cancelled from within"))
            self._tell(call)
            # Looked at here: who waited for it is gone.
            call.add_done_callback(lambda done: done.cancelled() or done.exception())
            raise
        except ToolError:
            raise
        except (Exception, Control) as error:
            await self.end(error)
            raise

    def _watch(self, part: Part) -> None:
        """Let the calls of an agent be made in its name, and see what it raises."""
        thing = part.thing
        stream = "run_stream" if thing in self._teams else "on_messages_stream"
        original = getattr(thing, stream, None)
        if original is None or (part.owner is None and thing in self._teams):
            return

        def watched(*args: Any, **kwargs: Any) -> _Watched:
            return _Watched(self, part, original(*args, **kwargs))

        setattr(thing, stream, watched)

    @property
    def step(self) -> str:
        """The turn under way."""
        return self._step

    def place(self, path: str) -> Any:
        return self._session.in_step(self._step, path)

    async def raised(self, error: BaseException, part: Part) -> None:
        """Take note of what a part raised. Returns where AutoGen may go on with it."""
        if isinstance(error, asyncio.CancelledError):
            task = asyncio.current_task()
            if not self._is_over and (task is None or not task.cancelling()):
                # AutoGen would go on waiting for who is not there any more.
                await self.end(AgentError(f"agent {part.path!r} was cancelled from within"))
        elif isinstance(error, Control):
            await self.end(error)
        elif isinstance(error, SystemExit):
            # It would end the event loop and all in it.
            await self.end(AgentError(f"SystemExit: {error}"))
        elif isinstance(error, Exception):
            error = self._first(error)
            self._noted = error
            if part.is_member:
                await self.end(error)

    def _first(self, error: Exception) -> Exception:
        """The exception of which AutoGen left the text only, where ``error`` is that text."""
        noted = self._noted
        if noted is not None and isinstance(error, RuntimeError) and str(noted) in str(error):
            return noted
        return error


class _Watched:
    """The stream of an agent, each of whose steps is taken in the agent's place."""

    def __init__(self, turns: Turns, part: Part, stream: AsyncIterator[Any]) -> None:
        self._turns, self._part, self._stream = turns, part, stream

    def __aiter__(self) -> _Watched:
        return self

    async def __anext__(self) -> Any:
        # Not around the whole stream: a generator may be closed in another context.
        with self._turns.place(self._part.path):
            try:
                return await anext(self._stream)
            except StopAsyncIteration:
                raise
            except (Exception, SystemExit, Control, asyncio.CancelledError) as error:
                await self._turns.raised(error, self._part)
                raise

    async def aclose(self) -> None:
        close = getattr(self._stream, "aclose", None)
        if close is not None:
            await close()
