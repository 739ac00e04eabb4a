"""Places in the code of agents and tools where a test holds them, looks, and lets them go on."""

from __future__ import annotations

import asyncio
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

HOLD_S = 30.0


class Gate:
    """Remembers a note of everybody who came, and holds them until it is opened."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.notes: list[Any] = []
        self._opened = threading.Event()
        self._loop = asyncio.get_running_loop()
        self._moved = asyncio.Event()

    async def reached(self, times: int = 1) -> None:
        """Wait until it was come to so often."""
        async with asyncio.timeout(HOLD_S):
            while len(self.notes) < times:
                await self._moved.wait()

    def open(self) -> None:
        """Let all through who are held, and all who come later."""
        self._opened.set()
        self._loop.call_soon_threadsafe(self._pulse)

    def close(self) -> None:
        """Hold again who comes from here on."""
        self._opened.clear()

    def note(self, note: Any = None) -> None:
        """Pass by: remembered, not held. From the event loop or from a thread."""
        self.notes.append(note)
        self._loop.call_soon_threadsafe(self._pulse)

    def hold(self, note: Any = None) -> None:
        """Come to the gate from a thread."""
        self.note(note)
        assert self._opened.wait(HOLD_S), f"gate {self.name} stayed closed"

    async def held(self, note: Any = None) -> None:
        """Come to the gate from the event loop."""
        self.note(note)
        async with asyncio.timeout(HOLD_S):
            while not self._opened.is_set():
                await self._moved.wait()

    def _pulse(self) -> None:
        moved, self._moved = self._moved, asyncio.Event()
        moved.set()


_gates: dict[str, Gate] = {}


def gate_of(name: str) -> Gate:
    """The gate of that name, for code that is told no more than a name."""
    return _gates[name]


@contextmanager
def gate() -> Iterator[Gate]:
    """A closed gate, opened at the end so that nobody stays behind."""
    made = Gate(f"gate-{secrets.token_hex(4)}")
    _gates[made.name] = made
    try:
        yield made
    finally:
        made.open()
