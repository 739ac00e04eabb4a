"""Time and identifiers, injectable. No other module asks the operating system for either."""

from __future__ import annotations

import secrets
import time
from typing import Protocol

# Crockford's alphabet: no I, L, O or U, so that an id survives being read aloud.
_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"


class Clock(Protocol):
    """Where time and fresh identifiers come from."""

    def now_ms(self) -> int:
        """Wall-clock time in milliseconds since the Unix epoch. May jump."""
        ...

    def monotonic_s(self) -> float:
        """Seconds on a clock that never goes back; its zero means nothing."""
        ...

    def new_id(self, prefix: str) -> str:
        """A fresh identifier ``prefix_xxxxxxxxxxxxxxxx``, unique across machines."""
        ...


class SystemClock:
    """The machine's clock and its source of randomness."""

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def monotonic_s(self) -> float:
        return time.monotonic()

    def new_id(self, prefix: str) -> str:
        # 45 bits of milliseconds keep ids sortable by age; 40 random bits make them unique.
        value = (self.now_ms() << 40) | secrets.randbits(40)
        digits: list[str] = []
        for _ in range(17):
            digits.append(_ALPHABET[value & 31])
            value >>= 5
        return f"{prefix}_{''.join(reversed(digits))}"


class ManualClock:
    """A clock for tests: it moves only when told, and its ids count up."""

    def __init__(self, start_ms: int = 1_700_000_000_000) -> None:
        self._start_ms = start_ms
        self._elapsed_ms = 0
        self._ids = 0

    def now_ms(self) -> int:
        return self._start_ms + self._elapsed_ms

    def monotonic_s(self) -> float:
        return self._elapsed_ms / 1000

    def new_id(self, prefix: str) -> str:
        self._ids += 1
        return f"{prefix}_{self._ids:04d}"

    def advance(self, seconds: float) -> None:
        """Move both clocks forward by ``seconds``."""
        self._elapsed_ms += round(seconds * 1000)
