"""Event loops in threads of their own: for a user's async code, and for blocking callers.

A user's code may block the loop that it runs on, for seconds. That must not be the worker's,
which has heartbeats to send. Nor may each attempt have a loop of its own: clients that a library
or the user keeps are bound to the loop on which they were first used.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import ContextVar
from typing import Any, TypeVar

from omium.errors import AgentError

_T = TypeVar("_T")

THREADS_MAX = 64
"""Threads for blocking code that is called on one loop."""

END_S = 1.0
"""How long the end of a process waits for what runs on a loop to let go of it."""

_in_threads: ContextVar[set[Future[Any]] | None] = ContextVar("omium_in_threads", default=None)


class LoopThread:
    """A loop in a daemon thread, which begins with the first use and ends with the process."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._lock = threading.Lock()
        self._pid = 0
        self._loop: asyncio.AbstractEventLoop | None = None

    def wait(self, work: Coroutine[Any, Any, _T]) -> _T:
        """The result of ``work``. For any thread but the loop's own."""
        return asyncio.run_coroutine_threadsafe(work, self._running()).result()

    async def run(self, make: Callable[[], Coroutine[Any, Any, _T]]) -> _T:
        """The result of what ``make`` returns, run with the caller's context.

        A cancellation is passed on. Either way the end is waited for, that of blocking code
        which was started in the loop's threads included. A ``SystemExit`` becomes an
        ``AgentError``.
        """
        loop = self._running()
        tasks: list[asyncio.Task[Any]] = []
        cancelled = threading.Event()

        async def body() -> _T:
            task = asyncio.current_task()
            assert task is not None
            tasks.append(task)
            threads: set[Future[Any]] = set()
            _in_threads.set(threads)
            try:
                if cancelled.is_set():
                    raise asyncio.CancelledError
                return await make()
            except SystemExit as error:
                raise AgentError(f"SystemExit: {error}") from error
            finally:
                while threads:
                    left = [asyncio.wrap_future(future) for future in tuple(threads)]
                    await asyncio.gather(*left, return_exceptions=True)

        outcome = asyncio.wrap_future(asyncio.run_coroutine_threadsafe(body(), loop))
        try:
            return await asyncio.shield(outcome)
        except asyncio.CancelledError:
            cancelled.set()
            for task in tasks:
                loop.call_soon_threadsafe(task.cancel)
            await asyncio.wait([outcome])
            raise

    def _running(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            # A forked child has the loop, but not its thread.
            if self._loop is None or self._pid != os.getpid():
                self._loop, self._pid = asyncio.new_event_loop(), os.getpid()
                self._loop.set_default_executor(_Threads(THREADS_MAX, f"{self._name}-thread"))
                thread = threading.Thread(
                    target=_serve, args=(self._loop,), name=self._name, daemon=True
                )
                thread.start()
                atexit.register(_end, self._loop, thread)
            return self._loop


class _Threads(ThreadPoolExecutor):
    """Remembers what each ``LoopThread.run`` has under way in threads."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future = super().submit(fn, *args, **kwargs)
        mine = _in_threads.get()
        if mine is not None:
            mine.add(future)
            future.add_done_callback(mine.discard)
        return future


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    while True:
        try:
            loop.run_forever()
        except SystemExit:
            # Also the outcome of the task that raised it, for whoever waits for that.
            continue
        loop.close()
        return


def _end(loop: asyncio.AbstractEventLoop, thread: threading.Thread) -> None:
    if not loop.is_closed():
        loop.call_soon_threadsafe(loop.stop)
    thread.join(END_S)


class CallerLoop:
    """The event loop that waits for some code, for that code to call back to."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()

    async def run(self, work: Coroutine[Any, Any, _T]) -> _T:
        """The result of ``work``, which runs on the caller's loop with this context."""
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self._loop))

    def wait(self, work: Coroutine[Any, Any, _T]) -> _T:
        """The same, keeping the thread until then."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()
