"""Answers that are held back until the archive holds what they tell of.

Knows nothing of what they say, nor how anything gets into the archive: it is told how far that
has come.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from omium.errors import NotShipped

HELD_MAX = 16_384

Release = Callable[[NotShipped | None], None]
"""Called once: with nothing when the archive has it, or with why it was not waited for longer."""


@dataclass(frozen=True, kw_only=True)
class _Answer:
    index: int
    release: Release
    timer: asyncio.TimerHandle | None


class Held:
    """See the module's docstring. Lives in one event loop."""

    def __init__(self) -> None:
        # Indexes never go back, so the first to wait is the first to be released.
        self._waiting: OrderedDict[int, _Answer] = OrderedDict()
        self._numbers = itertools.count()
        self._closed: str | None = None
        self.asked = asyncio.Event()
        """Set when something begins to wait."""

    def __len__(self) -> int:
        return len(self._waiting)

    def hold(
        self, index: int, release: Release, limit_s: float | None, reason: Callable[[], str]
    ) -> None:
        """Keep ``release`` until ``index`` is shipped, for ``limit_s`` seconds at most; None is
        without a limit. ``reason`` gives what is said then."""
        if self._closed is not None:
            release(NotShipped(self._closed))
            return
        if len(self._waiting) >= HELD_MAX:
            release(NotShipped(f"{HELD_MAX} answers wait for it already"))
            return
        number = next(self._numbers)
        timer: asyncio.TimerHandle | None = None
        if limit_s is not None:
            loop = asyncio.get_running_loop()
            timer = loop.call_later(limit_s, lambda: self._let_go(number, NotShipped(reason())))
        self._waiting[number] = _Answer(index=index, release=release, timer=timer)
        self.asked.set()

    def shipped(self, index: int) -> None:
        """Everything up to ``index`` is in the archive."""
        while self._waiting:
            number, first = next(iter(self._waiting.items()))
            if first.index > index:
                return
            self._let_go(number, None)

    def close(self, reason: str) -> None:
        """Nothing more is shipped: whoever waits is told ``reason``, now and from now on."""
        self._closed = reason
        while self._waiting:
            self._let_go(next(iter(self._waiting)), NotShipped(reason))

    def _let_go(self, number: int, error: NotShipped | None) -> None:
        answer = self._waiting.pop(number)
        if answer.timer is not None:
            answer.timer.cancel()
        answer.release(error)
