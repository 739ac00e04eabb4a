"""Writes of a graph's tasks that are under way, and the checkpoints that have to wait for them.

LangGraph does not wait for the writes of a task before it hands over the checkpoint that they
lead to, whatever the durability. A store that does not keep that order by itself needs to.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import TypeAlias

Place: TypeAlias = tuple[str, str, str]
"""Thread, namespace and checkpoint id."""


class Flights:
    """What is being written, by the checkpoint that it belongs to. For any thread and loop."""

    def __init__(self) -> None:
        self._under_way: dict[Place, set[Future[None]]] = {}
        self._lock = threading.Lock()

    @contextmanager
    def flight(self, place: Place) -> Iterator[None]:
        """Let checkpoints that are built on this one wait for the writes made inside."""
        flight: Future[None] = Future()
        with self._lock:
            flights = self._under_way.setdefault(place, set())
            flights.add(flight)
        try:
            yield
        except BaseException as error:
            flight.set_exception(error)
            raise
        else:
            flight.set_result(None)
        finally:
            with self._lock:
                flights.discard(flight)
                if not flights:
                    self._under_way.pop(place, None)

    async def landed(self, place: Place) -> None:
        """Wait for the writes that are under way at this checkpoint; raises what one of them
        raised."""
        with self._lock:
            flights = tuple(self._under_way.get(place, ()))
        for flight in flights:
            await asyncio.wrap_future(flight)
