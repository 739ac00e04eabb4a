"""Messages between processes, and what a network does to them.

Owns links, their delays and their cuts. A message is bytes: nothing mutable is shared between
a sender and a receiver. It knows nothing of what a message says.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

from omium.errors import Conflict, NotFound
from omium.testing.sim.world import Process, World

Handler = Callable[[str, bytes], None]
"""Called with the name of the sender and the message."""


@dataclass(frozen=True, kw_only=True)
class NetworkFaults:
    """What happens to a message by chance. Probabilities are between 0 and 1.

    A message takes ``delay_us_min`` to ``delay_us_max``. Those of one link arrive in order, but
    for the part ``reorder``, which may overtake and be overtaken.
    """

    delay_us_min: int = 200
    delay_us_max: int = 2_000
    drop: float = 0.0
    duplicate: float = 0.0
    reorder: float = 0.0


class Network:
    """Links between all attached processes; ``faults`` may be replaced at any time."""

    def __init__(self, world: World, faults: NetworkFaults | None = None) -> None:
        self.faults = faults or NetworkFaults()
        self._world = world
        self._random = world.random("network")
        self._ends: dict[str, tuple[Process, Handler]] = {}
        self._cut: set[tuple[str, str]] = set()
        self._last_us: dict[tuple[str, str], int] = {}

    def attach(self, process: Process, handler: Handler) -> None:
        """Deliver to ``handler`` what is sent to ``process``; a restarted one attaches anew."""
        self._ends[process.name] = (process, handler)

    def send(self, source: str, target: str, message: bytes) -> None:
        """Send, and never hear what became of it. Raises NotFound for an unknown target."""
        if target not in self._ends:
            raise NotFound("process", target)
        self._world.note(f"send {source}>{target}", message)
        dropped = self._random.random() < self.faults.drop
        copies = 2 if self._random.random() < self.faults.duplicate else 1
        for _ in range(copies):
            at_us = self._arrival_us(source, target)
            if not dropped and (source, target) not in self._cut:
                self._deliver(source, target, message, at_us)

    def _arrival_us(self, source: str, target: str) -> int:
        link = (source, target)
        faults = self.faults
        at_us = self._world.now_us + self._random.randint(faults.delay_us_min, faults.delay_us_max)
        if self._random.random() >= faults.reorder:
            at_us = self._last_us[link] = max(at_us, self._last_us.get(link, 0))
        return at_us

    def _deliver(self, source: str, target: str, message: bytes, at_us: int) -> None:
        label = f"deliver {source}>{target}"

        def arrive() -> None:
            process, handler = self._ends[target]
            if (source, target) not in self._cut and process.running:
                # What arrives while a process is paused waits in its socket.
                process.after(0, label, lambda: handler(source, message))

        self._world.after(at_us - self._world.now_us, label, arrive)

    def cut(self, source: str, target: str) -> None:
        """Lose all that ``source`` sends to ``target``, what is under way included."""
        self._world.note(f"cut {source}>{target}")
        self._cut.add((source, target))

    def cut_one_way(self, sources: Collection[str], targets: Collection[str]) -> None:
        """``targets`` hear nothing of ``sources`` any more; the other way is as it was."""
        for source in sorted(sources):
            for target in sorted(targets):
                self.cut(source, target)

    def partition(self, *sides: Collection[str]) -> None:
        """Let nothing pass between any two of ``sides``."""
        for side in sides:
            for other in sides:
                if side is not other:
                    self.cut_one_way(side, other)

    def bridge(self, side: Collection[str], other: Collection[str], bridge: str) -> None:
        """Part two sides that both still hear ``bridge``. Raises Conflict where it is in one."""
        if bridge in side or bridge in other:
            raise Conflict(f"{bridge} is on a side")
        self.partition(side, other)

    def heal(self) -> None:
        """Mend all cuts. What was lost stays lost."""
        self._world.note("heal")
        self._cut.clear()
