"""The effect key of the tool call under way: what a tool hands on to be run once in effect."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_effect_key: ContextVar[str | None] = ContextVar("omium_effect_key", default=None)


def effect_key() -> str | None:
    """The key of the tool call that the calling code runs in; None outside of one.

    The same call has the same key in every try and after every crash, and no other call has
    it: pass it to a payment provider as its idempotency key, or store it with the row.
    """
    return _effect_key.get()


@contextmanager
def effect(key: str) -> Iterator[None]:
    """Code inside runs as the tool call ``key``."""
    token = _effect_key.set(key)
    try:
        yield
    finally:
        _effect_key.reset(token)
