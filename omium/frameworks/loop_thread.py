"""An event loop in a thread of its own, for async code that blocking code waits for."""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

_T = TypeVar("_T")

_lock = threading.Lock()
_loop: asyncio.AbstractEventLoop | None = None
_loop_pid: int = 0


def blocking(work: Coroutine[Any, Any, _T]) -> _T:
    """The result of ``work``, which runs on the loop that all callers of a process share.

    May be called in any thread but that loop's own.
    """
    return asyncio.run_coroutine_threadsafe(work, _running()).result()


def _running() -> asyncio.AbstractEventLoop:
    global _loop, _loop_pid
    with _lock:
        # A forked child has the loop, but not its thread.
        if _loop is None or _loop_pid != os.getpid():
            _loop, _loop_pid = asyncio.new_event_loop(), os.getpid()
            thread = threading.Thread(target=_run, args=(_loop,), name="omium-loop", daemon=True)
            thread.start()
            atexit.register(_loop.call_soon_threadsafe, _loop.stop)
        return _loop


def _run(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
    finally:
        loop.close()
