"""Answers that wait for the archive: released in order, in time, and never more than a bound."""

from __future__ import annotations

import asyncio

import pytest

from omium.actors import holding
from omium.actors.holding import Held, Release
from omium.errors import NotShipped


class Asked:
    """Who waits, and what each was told."""

    def __init__(self, held: Held) -> None:
        self._held = held
        self.told: dict[str, str] = {}
        self.one_told = asyncio.Event()

    def ask(self, name: str, index: int, limit_s: float | None = None) -> None:
        self._held.hold(index, self._release(name), limit_s, lambda: "it is away")

    def _release(self, name: str) -> Release:
        def release(error: NotShipped | None) -> None:
            assert name not in self.told
            self.told[name] = error.reason if error is not None else "shipped"
            self.one_told.set()

        return release


async def test_each_is_released_once_its_own_is_shipped() -> None:
    held = Held()
    asked = Asked(held)
    for name, index in (("a", 1), ("b", 3), ("c", 3), ("d", 4)):
        asked.ask(name, index)
    assert held.asked.is_set()
    held.shipped(0)
    assert asked.told == {}
    held.shipped(3)
    assert asked.told == dict.fromkeys("abc", "shipped")
    assert len(held) == 1
    held.close("it ends")
    asked.ask("e", 5)
    assert (asked.told["d"], asked.told["e"]) == ("it ends", "it ends")


async def test_who_has_waited_long_enough_is_told_why() -> None:
    held = Held()
    asked = Asked(held)
    asked.ask("patient", 1)
    asked.ask("hasty", 1, limit_s=0.01)
    async with asyncio.timeout(10):
        await asked.one_told.wait()
    assert asked.told == {"hasty": "it is away"}
    held.shipped(1)
    assert asked.told["patient"] == "shipped"
    assert len(held) == 0


async def test_only_so_many_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(holding, "HELD_MAX", 2)
    held = Held()
    asked = Asked(held)
    for name in "abc":
        asked.ask(name, 1)
    assert asked.told == {"c": "2 answers wait for it already"}
    held.shipped(1)
    asked.ask("d", 2)
    assert len(held) == 1
