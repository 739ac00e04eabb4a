"""Who works: the workers that a supervisor knows of, their attempts, and how more are started.

Records and one interface; what is done with them is the supervisor's business.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from omium.actors import messages as m
from omium.actors.supervision import Binding, Limits
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


@dataclass(frozen=True, kw_only=True)
class SupervisorSettings:
    """Times are seconds. ``warm`` is how many unbound workers of a framework to keep ready.

    Executions that nobody asked for since ``awake_from_ms`` (milliseconds since the epoch) are
    left alone: a run of one must not go on with all that was ever interrupted.

    ``gateway_url`` is where the gateway is or will be; empty where it is known only once the
    gateway says hello. Agents are leased while it is down: it comes back at the same address,
    and the hook in the workers waits for it.
    """

    gateway_url: str = ""
    awake_from_ms: int = 0
    heartbeat_timeout_s: float = 10.0
    reconnect_grace_s: float = 3.0
    start_timeout_s: float = 120.0
    stop_grace_s: float = 5.0
    warm: Mapping[str, int] = field(default_factory=dict[str, int])
    limits: Limits = field(default_factory=Limits)


@dataclass(kw_only=True)
class Attempt:
    """An attempt that a worker was leased. ``progress_s`` is when its journal last grew;
    ``stop_by_s`` when it must have stopped, once it was told to."""

    execution_id: ExecutionId
    agent: AgentName
    epoch: int
    timeout_s: float
    progress_s: float
    stop_by_s: float | None = None


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
