"""Virtual time, the queue of events, and the processes that events belong to.

Owns the order of everything: events run by time, and in the order in which they were set where
the times are equal. Every event that runs goes into the trace hash, so that two runs of one
seed can be compared by a string. It knows no messages and no files.
"""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from omium.errors import Conflict

EVENTS_MAX = 10_000_000
"""Events of one run: a world that reaches it has timers that set each other for ever."""


@dataclass(slots=True, eq=False)
class Timer:
    """Something that is to happen at ``at_us``; ``cancel`` may come at any time."""

    at_us: int
    label: str
    action: Callable[[], None]
    cancelled: bool = False

    def cancel(self) -> None:
        self.cancelled = True


class World:
    """One run. Times are integer microseconds since its start."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.now_us = 0
        self.events = 0
        self.processes: dict[str, Process] = {}
        self.watch: Callable[[int, str], None] | None = None
        """Told of everything that goes into the trace, with its time: for people."""
        self._queue: list[tuple[int, int, Timer]] = []
        self._numbers = 0
        self._trace = hashlib.sha256(str(seed).encode())

    def random(self, name: str) -> Random:
        """A source of chance of its own for ``name``: what one part draws moves no other."""
        return Random(f"{self.seed}/{name}")

    def process(self, name: str) -> Process:
        """A new process, running. Raises Conflict where there is one of that name."""
        if name in self.processes:
            raise Conflict(f"there is a process {name!r} already")
        process = self.processes[name] = Process(self, name)
        return process

    def after(self, delay_us: int, label: str, action: Callable[[], None]) -> Timer:
        """Run ``action`` in ``delay_us``, whatever becomes of any process."""
        timer = Timer(self.now_us + max(0, delay_us), label, action)
        self._numbers += 1
        heapq.heappush(self._queue, (timer.at_us, self._numbers, timer))
        return timer

    def note(self, label: str, data: bytes = b"") -> None:
        """Put something into the trace hash beside the events, such as a decision."""
        self._trace.update(f"{self.now_us}\0{label}\0{len(data)}\0".encode() + data)
        if self.watch is not None:
            self.watch(self.now_us, label)

    def trace_hash(self) -> str:
        """Of all that happened so far. Equal for equal seeds and equal code."""
        return self._trace.hexdigest()

    def step(self) -> bool:
        """Run the next event; False where there is none.

        Raises AssertionError after ``EVENTS_MAX`` events, naming the seed.
        """
        while self._queue:
            at_us, _, timer = heapq.heappop(self._queue)
            if timer.cancelled:
                continue
            self.events += 1
            assert self.events <= EVENTS_MAX, f"seed {self.seed}: more than {EVENTS_MAX} events"
            self.now_us = at_us
            self.note(timer.label)
            timer.action()
            return True
        return False

    def run(self, *, until_us: int, each: Callable[[], None] | None = None) -> None:
        """Run all events up to ``until_us``, with ``each`` (invariants) after every one.

        Time stands at ``until_us`` afterwards. What an event or ``each`` raises ends the run and
        carries the seed as a note.
        """
        try:
            while self._queue and self._next_us() <= until_us:
                self.step()
                if each is not None:
                    each()
        except Exception as error:
            error.add_note(f"seed {self.seed}, at {self.now_us} us, event {self.events}")
            raise
        self.now_us = max(self.now_us, until_us)

    def _next_us(self) -> float:
        while self._queue and self._queue[0][2].cancelled:
            heapq.heappop(self._queue)
        return self._queue[0][0] if self._queue else float("inf")


class Process:
    """Something that can crash, hang and have a wrong clock.

    What belongs to it (its timers, what it is sent) is lost in a crash and waits in a pause.
    ``on_crash`` are called when its machine loses power: its disk loses what was not synced.
    """

    def __init__(self, world: World, name: str) -> None:
        self.world = world
        self.name = name
        self.running = True
        self.paused = False
        self.incarnation = 1
        self.on_crash: list[Callable[[], None]] = []
        self._clock_offset_us = 0
        self._waiting: list[Timer] = []
        self._steps_left: int | None = None

    def clock_us(self) -> int:
        """Its own clock, which ``jump`` sets wrong."""
        return self.world.now_us + self._clock_offset_us

    def jump(self, by_us: int) -> None:
        """Set its clock forward or, by a negative number, back. Timers are not moved."""
        self.world.note(f"jump {self.name} {by_us}")
        self._clock_offset_us += by_us

    def after(self, delay_us: int, label: str, action: Callable[[], None]) -> Timer:
        """Run ``action`` in ``delay_us``, if this incarnation lives then and is not paused."""
        incarnation = self.incarnation

        def run() -> None:
            if timer.cancelled or not self.running or incarnation != self.incarnation:
                return
            if self.paused:
                self._waiting.append(timer)
            elif self._goes_on():
                action()

        timer = self.world.after(delay_us, f"{self.name}#{incarnation} {label}", run)
        return timer

    def crash(self) -> None:
        """End at once, as by a power cut. Nothing happens to one that is down."""
        if self._end("crash"):
            for hook in self.on_crash:
                hook()

    def kill(self) -> None:
        """End at once, as by SIGKILL: what it wrote is there, synced or not."""
        self._end("kill")

    def crash_in(self, steps: int | None) -> None:
        """Crash in the place of the step after ``steps`` more of its own; None: do not, after all.

        A step is what it does between two waits: for a timer, a message or its disk.
        """
        self._steps_left = steps

    def _goes_on(self) -> bool:
        if self._steps_left is None:
            return True
        self._steps_left -= 1
        if self._steps_left >= 0:
            return True
        self.crash()
        return False

    def _end(self, how: str) -> bool:
        if not self.running:
            return False
        self.world.note(f"{how} {self.name}")
        self.running = self.paused = False
        self._steps_left = None
        self._waiting.clear()
        return True

    def restart(self) -> None:
        """Come up again as a new incarnation. Raises Conflict where it is running."""
        if self.running:
            raise Conflict(f"{self.name} is running")
        self.incarnation += 1
        self.world.note(f"restart {self.name}")
        self.running = True

    def pause(self) -> None:
        """Stand still, as after SIGSTOP: it does nothing and its clock goes on."""
        if self.running:
            self.world.note(f"pause {self.name}")
            self.paused = True

    def resume(self) -> None:
        """Go on, with all that waited, in order."""
        if not self.paused:
            return
        self.world.note(f"resume {self.name}")
        self.paused = False
        waiting, self._waiting = self._waiting, []
        for timer in waiting:
            # Each by an event of its own: one of them may crash or pause the process again.
            self.world.after(0, timer.label, timer.action)
