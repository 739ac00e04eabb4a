"""The tool call under way: its effect key, which a tool hands on to be run once in effect."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_under_way: ContextVar[tuple[str, int] | None] = ContextVar("omium_effect", default=None)


def effect_key() -> str | None:
    """The key of the tool call that the calling code runs in; None outside of one.

    The same call has the same key in every try and after every crash, and no other call has
    it: pass it to a payment provider as its idempotency key, or store it with the row.
    """
    found = _under_way.get()
    return found[0] if found is not None else None


def tool_call() -> int:
    """The journal index of the tool call that the calling code runs in; 0 outside of one."""
    found = _under_way.get()
    return found[1] if found is not None else 0


@contextmanager
def effect(key: str, call: int = 0) -> Iterator[None]:
    """Code inside runs as the tool call ``key``, whose intent is at journal index ``call``."""
    token = _under_way.set((key, call))
    try:
        yield
    finally:
        _under_way.reset(token)
