"""Crews and agents that a flow's own code kicks off: put under the journal when they are.

Nobody hands them to Omium, so their ways to start are wrapped, once a process. Outside of a
flow that Omium runs, the wrappers do nothing.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from crewai import Agent, Crew

_govern: ContextVar[Callable[[Any], None] | None] = ContextVar("omium_crewai_govern", default=None)


@contextmanager
def governing(govern: Callable[[Any], None]) -> Iterator[None]:
    """Let ``govern`` have each crew and agent that is kicked off inside, or in threads started
    inside, before it begins. It may get the same one again."""
    token = _govern.set(govern)
    try:
        yield
    finally:
        _govern.reset(token)


def wrap_kickoffs() -> None:
    """Let this process's crews and agents be governed. May be called once."""
    for kind, names in (
        (Crew, ("kickoff", "kickoff_async", "akickoff")),
        (Agent, ("kickoff", "kickoff_async")),
    ):
        for name in names:
            setattr(kind, name, _wrapped(getattr(kind, name)))


def _wrapped(kickoff: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(kickoff)
    def governed(self: Any, *args: Any, **kwargs: Any) -> Any:
        govern = _govern.get()
        if govern is not None:
            govern(self)
        return kickoff(self, *args, **kwargs)

    return governed
