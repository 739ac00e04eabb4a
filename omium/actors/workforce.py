"""Who works: the workers that a supervisor knows of, their attempts, and how more are started.

Records, the roster that holds them, and one interface; what is done with them is the
supervisor's business.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Set
from dataclasses import dataclass, field
from typing import Protocol

from omium.actors import messages as m
from omium.actors.supervision import Binding, Limits, WorkerFacts
from omium.actors.transport import Connection
from omium.types import AgentName, ExecutionId, WorkerId


class Spawner(Protocol):
    """Starts and ends worker processes. A started worker connects by itself and says hello."""

    def start(self, framework: str) -> WorkerId:
        """Start a worker; returns at once with the id by which it will say hello."""
        ...

    def end(self, worker: WorkerId) -> None:
        """End a worker's process by force; returns at once."""
        ...

    def living(self, then: Callable[[frozenset[WorkerId]], None]) -> None:
        """Tell ``then``, in the event loop and after this returns, which of the workers that were
        ever started here live as far as is known, those on their way included. Where nothing is
        known ``then`` is told nothing, or late."""
        ...

    async def settled(self) -> None:
        """Wait until what was asked for so far has been done."""
        ...


@dataclass(frozen=True, kw_only=True)
class SupervisorSettings:
    """Times are seconds. ``warm`` is how many unbound workers of a framework to keep ready.

    Executions that nobody asked for since ``awake_from_ms`` (milliseconds since the epoch) are
    left alone: a run of one must not go on with all that was ever interrupted.

    ``gateway_url`` is where the gateway is or will be; empty where it is known only once the
    gateway says hello. Agents are leased while it is down: it comes back at the same address,
    and the hook in the workers waits for it.

    Workers that live have ``reconnect_grace_s`` to come back after a coordinator took over; what
    they work on is theirs until then.

    Who was told to stop, and does not, is ended by force after ``stop_grace_s``; after
    ``cancel_grace_s`` where all that it works on was cancelled, since of that nobody wants the end.
    """

    gateway_url: str = ""
    awake_from_ms: int = 0
    heartbeat_timeout_s: float = 10.0
    reconnect_grace_s: float = 3.0
    start_timeout_s: float = 120.0
    stop_grace_s: float = 5.0
    cancel_grace_s: float = 0.5
    handoffs_waiting_max: int = 64
    """Nobody begins to work for a receiver for whom so many executions wait already."""
    warm: Mapping[str, int] = field(default_factory=dict[str, int])
    limits: Limits = field(default_factory=Limits)


@dataclass(kw_only=True)
class Attempt:
    """An attempt that a worker was leased, or found to work on by this coordinator, at ``from_ms``,
    in milliseconds since the epoch. ``progress_s`` is when its journal last grew;
    ``stop_by_s`` when it must have stopped, once it was told to; ``cancel_by_s`` when, if its
    worker does nothing else that is wanted."""

    execution_id: ExecutionId
    agent: AgentName
    epoch: int
    timeout_s: float
    from_ms: int
    progress_s: float
    stop_by_s: float | None = None
    cancel_by_s: float | None = None


@dataclass(kw_only=True)
class Employed:
    """A connected worker: what it said of itself, when it was last heard of, what it serves
    and what it works on."""

    hello: m.WorkerHello
    connection: Connection
    heard_s: float
    binding: Binding | None
    attempts: dict[tuple[ExecutionId, AgentName], Attempt] = field(
        default_factory=dict[tuple[ExecutionId, AgentName], Attempt]
    )

    def excuse(self, seconds: float) -> None:
        """Give so much more time for everything that is waited for."""
        self.heard_s += seconds
        for attempt in self.attempts.values():
            attempt.progress_s += seconds
            if attempt.stop_by_s is not None:
                attempt.stop_by_s += seconds
            if attempt.cancel_by_s is not None:
                attempt.cancel_by_s += seconds

    def clings(self, now_s: float) -> bool:
        """Whether it still works on what it should have stopped."""
        attempts = self.attempts.values()
        if any(a.stop_by_s is not None and now_s > a.stop_by_s for a in attempts):
            return True
        cancelled = [a.cancel_by_s is not None and now_s > a.cancel_by_s for a in attempts]
        return bool(cancelled) and all(cancelled)


class Roster:
    """The workers that are connected, and those that were started and have not come yet.

    ``start_failures`` counts, by framework, the workers in a row that did not come up.
    """

    def __init__(self) -> None:
        self._workers: dict[WorkerId, Employed] = {}
        self._starting: dict[WorkerId, tuple[str, float]] = {}
        self.start_failures: Counter[str] = Counter()

    def __iter__(self) -> Iterator[Employed]:
        """Whoever is connected now; the roster may change meanwhile."""
        return iter(list(self._workers.values()))

    def __getitem__(self, worker: WorkerId) -> Employed:
        return self._workers[worker]

    def started(self, worker: WorkerId, framework: str, at_s: float) -> None:
        self._starting[worker] = (framework, at_s)

    def came(self, worker: Employed) -> Employed | None:
        """A worker has said hello. Returns what was known of it, if it did so before."""
        self.start_failures[worker.hello.framework] = 0
        self._starting.pop(worker.hello.worker, None)
        known = self._workers.pop(worker.hello.worker, None)
        self._workers[worker.hello.worker] = worker
        return known

    def left(self, worker: Employed) -> None:
        self._workers.pop(worker.hello.worker, None)

    def overdue(self, before_s: float) -> list[WorkerId]:
        """Take off, and count as failures, those started before then that have not come."""
        return self.lost({w for w, (_, at_s) in self._starting.items() if at_s < before_s})

    def lost(self, workers: Set[WorkerId]) -> list[WorkerId]:
        """Take off those of ``workers`` that are being started, and count one failure for each
        framework: what dies together, as with its node, has died of one thing."""
        found = [worker for worker in self._starting if worker in workers]
        failed = {self._starting.pop(worker)[0] for worker in found}
        self.start_failures.update(failed)
        return found

    @property
    def starting(self) -> list[WorkerId]:
        return list(self._starting)

    @property
    def starting_by_framework(self) -> Counter[str]:
        return Counter(framework for framework, _ in self._starting.values())

    @property
    def facts(self) -> list[WorkerFacts]:
        """What the planning of leases goes by."""
        return [
            WorkerFacts(
                worker=worker.hello.worker,
                framework=worker.hello.framework,
                binding=worker.binding,
                free=worker.hello.capacity - len(worker.attempts),
                idle=not worker.attempts,
            )
            for worker in self._workers.values()
        ]

    @property
    def views(self) -> tuple[m.WorkerView, ...]:
        """What clients are shown."""
        return tuple(
            m.WorkerView(
                worker=worker.hello.worker,
                framework=worker.hello.framework,
                pid=worker.hello.pid,
                capacity=worker.hello.capacity,
                attempts=len(worker.attempts),
                binding=worker.binding,
            )
            for worker in self._workers.values()
        )

    # ------------------------------------------------------------------ attempts

    @property
    def attempts(self) -> list[tuple[Employed, Attempt]]:
        """Every attempt, with who works on it."""
        return [(w, attempt) for w in self._workers.values() for attempt in w.attempts.values()]

    def attempt(
        self, execution_id: ExecutionId, agent: AgentName, epoch: int | None = None
    ) -> tuple[Employed, Attempt] | None:
        """The attempt at an agent of an execution, under that epoch or under any."""
        for worker in self._workers.values():
            attempt = worker.attempts.get((execution_id, agent))
            if attempt is not None and epoch in (None, attempt.epoch):
                return worker, attempt
        return None

    def latest_epoch(self, execution_id: ExecutionId) -> int:
        """The highest epoch under which somebody works on an execution, 0 where nobody does."""
        return max((a.epoch for _, a in self.attempts if a.execution_id == execution_id), default=0)
