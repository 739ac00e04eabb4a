"""Running blocking code beside an event loop without losing sight of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from omium.errors import AgentError

_P = ParamSpec("_P")
_T = TypeVar("_T")


async def in_thread(function: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
    """Run ``function`` in a thread with the caller's context, and wait for its end.

    A thread cannot be cancelled: when the waiting is, this goes on waiting until the function
    has returned or raised, so that an attempt is never reported over while it still acts.
    A ``SystemExit`` becomes an ``AgentError``: it would end the event loop and all in it.
    """

    def contained() -> _T:
        try:
            return function(*args, **kwargs)
        except SystemExit as error:
            raise AgentError(f"SystemExit: {error}") from error

    work = asyncio.ensure_future(asyncio.to_thread(contained))
    # Looked at in any case, so that asyncio does not complain of what nobody waited for.
    work.add_done_callback(lambda done: done.cancelled() or done.exception())
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        await asyncio.wait([work])
        raise
