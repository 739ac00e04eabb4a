"""Decisions of the supervisor: who works on what, whom to start, when to give up.

Pure: facts in, decisions out. The coordinator gathers the facts and carries the decisions out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from omium.execution.events import Paused
from omium.execution.people import pause_of
from omium.execution.records import CodeRef, Failure
from omium.execution.routing import due, ready_agents
from omium.execution.state import AgentState, CallState, ExecutionState
from omium.types import AgentName, ExecutionId, TenantId, WorkerId

Binding: TypeAlias = tuple[TenantId, str, AgentName]
"""What a worker serves for life: a tenant, a workflow with its code, and an agent of it."""

LOSSES_MAX = 5
"""Workers in a row that may die on one agent without its journal getting any further."""

PLATFORM_RETRIES_MAX = 5
"""Attempts in a row that may fail for the platform's own reasons."""


def binding_of(tenant: TenantId, digest: str, code: CodeRef | None, agent: AgentName) -> Binding:
    """The binding for an agent of the definition ``digest``. Two versions of code never share a
    process: Python keeps what it has imported."""
    served = digest if code is None else f"{digest}+{code.blob.digest}"
    return tenant, served, agent


@dataclass(frozen=True, kw_only=True, slots=True)
class Want:
    """An agent that is ready to run and has no worker. ``receivers`` are the bindings of those to
    whom it hands over."""

    execution_id: ExecutionId
    agent: AgentName
    framework: str
    binding: Binding
    receivers: tuple[Binding, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkerFacts:
    """A worker that is connected. ``free`` is how many more attempts it takes."""

    worker: WorkerId
    framework: str
    binding: Binding | None
    free: int
    idle: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """``workers_max`` workers in all, ``starting_max`` of them on their way; ``idle_max`` of
    those that serve something and have nothing to do, None for as many as there is room for."""

    workers_max: int = 16
    idle_max: int | None = None
    starting_max: int = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class Assign:
    want: Want
    worker: WorkerId


@dataclass(frozen=True, kw_only=True, slots=True)
class Start:
    framework: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Retire:
    """End an idle worker: to make room, since those who wait have no use for it, or because
    more are idle than are to be kept."""

    worker: WorkerId


SupervisorDecision: TypeAlias = Assign | Start | Retire


def plan(
    wants: Sequence[Want],
    workers: Sequence[WorkerFacts],
    starting: Mapping[str, int],
    warm: Mapping[str, int],
    limits: Limits,
) -> list[SupervisorDecision]:
    """What to do now.

    ``workers`` stand in the order in which they came. ``starting`` counts the workers of each
    framework that were started and have not come yet; ``warm`` is how many unbound workers of a
    framework are wanted beforehand. A want goes to a worker bound to it, else to an unbound one,
    which it binds; what remains starts new workers.
    """
    decisions: list[SupervisorDecision] = []
    free = {worker.worker: worker.free for worker in workers}
    bindings = {worker.worker: worker.binding for worker in workers}
    unmet: Counter[str] = Counter()
    needed: set[tuple[str, Binding]] = set()
    for want in wants:
        chosen = _choose(want, workers, free, bindings)
        if chosen is None:
            if (want.framework, want.binding) not in needed:
                needed.add((want.framework, want.binding))
                unmet[want.framework] += 1
            continue
        free[chosen] -= 1
        bindings[chosen] = want.binding
        decisions.append(Assign(want=want, worker=chosen))
    unbound = Counter(w.framework for w in workers if bindings[w.worker] is None)
    room = limits.workers_max - len(workers) - sum(starting.values())
    can_start = limits.starting_max - sum(starting.values())
    idle = [w for w in workers if w.idle and free[w.worker] == w.free]
    ready = {f: unbound[f] + starting.get(f, 0) for f in {*unmet, *warm}}
    # Those who are needed come before those who would be warm, or the two change places for ever.
    for wanted in (unmet, unmet + Counter(warm)):
        for framework in sorted(wanted):
            missing = wanted[framework] - ready[framework]
            for _ in range(min(missing, room, can_start)):
                decisions.append(Start(framework=framework))
                ready[framework] += 1
                room -= 1
                can_start -= 1
            if room <= 0:
                for worker in _retired(idle, bindings, framework, unmet[framework], ready):
                    idle.remove(worker)
                    decisions.append(Retire(worker=worker.worker))
    if limits.idle_max is not None:
        kept = [w.worker for w in idle if bindings[w.worker] is not None]
        # The first of them serve what is the oldest.
        surplus = kept[: max(len(kept) - limits.idle_max, 0)]
        decisions += [Retire(worker=worker) for worker in surplus]
    return decisions


def not_held_back(wants: Sequence[Want], waiting_max: int) -> list[Want]:
    """Those of ``wants`` who do not hand to somebody that is behind: a slow receiver slows down
    those before it, and what waits for it has a bound.

    Who hands to nobody is never held back, so that what waits is worked off.
    """
    waiting = Counter(want.binding for want in wants)
    return [want for want in wants if all(waiting[one] < waiting_max for one in want.receivers)]


def _choose(
    want: Want,
    workers: Sequence[WorkerFacts],
    free: Mapping[WorkerId, int],
    bindings: Mapping[WorkerId, Binding | None],
) -> WorkerId | None:
    fitting = [w for w in workers if w.framework == want.framework and free[w.worker] > 0]
    for binding in (want.binding, None):
        same = [w.worker for w in fitting if bindings[w.worker] == binding]
        if same:
            return max(same, key=lambda worker: free[worker])
    return None


def _retired(
    idle: Sequence[WorkerFacts],
    bindings: Mapping[WorkerId, Binding | None],
    framework: str,
    needed: int,
    ready: Mapping[str, int],
) -> list[WorkerFacts]:
    """Idle workers that are of no use to ``framework``, as many as it lacks."""
    useless = [w for w in idle if bindings[w.worker] is not None or w.framework != framework]
    return useless[: max(needed - ready[framework], 0)]


def overdue_call(
    agent: AgentState, limit_s: float | None, now_ms: int, *, from_ms: int = 0
) -> CallState | None:
    """A call of the attempt under way that has taken longer than ``limit_s`` seconds. Time before
    ``from_ms`` does not count."""
    if limit_s is None or agent.status != "leased":
        return None
    for call in agent.calls.values():
        # Of one that nobody works on any more it is known that it may take for ever.
        waits = call.suspended or call.key.kind == "human"
        mine = call.status == "open" and call.epoch == agent.epoch and not waits
        if mine and now_ms - max(call.intended_ms, from_ms) > limit_s * 1_000:
            return call
    return None


def is_step_overdue(
    agent: AgentState, limit_s: float | None, now_ms: int, *, from_ms: int = 0
) -> bool:
    """Whether the attempt under way has come to the end of no step for longer than ``limit_s``
    seconds, whatever it did meanwhile. Time before ``from_ms`` does not count."""
    at_work = limit_s is not None and agent.status == "leased"
    return at_work and now_ms - max(agent.step_ms, from_ms) > (limit_s or 0) * 1_000


def is_overdue(state: ExecutionState, limit_s: float | None, now_ms: int) -> bool:
    """Whether an execution at work has taken longer than ``limit_s`` seconds since it was
    created or resumed: a pause costs no time."""
    at_work = limit_s is not None and state.status in ("queued", "running")
    return at_work and now_ms - state.awake_ms > (limit_s or 0) * 1_000


def pause_due(state: ExecutionState) -> Paused | None:
    """The pause of an execution that nobody can take any further before somebody answers.

    While other agents have something to do it goes on, and only who asked waits.
    """
    if state.status not in ("queued", "running") or ready_agents(state) or due(state):
        return None
    if any(agent.status == "leased" for agent in state.agents.values()):
        return None
    return pause_of(state)


def after_loss(agent: AgentState) -> Literal["retry", "fail"]:
    """What to do when the worker of an attempt died. Counts this loss as one more."""
    return "retry" if agent.losses + 1 < LOSSES_MAX else "fail"


def after_failure(agent: AgentState, failure: Failure, retries: int) -> Literal["retry", "fail"]:
    """What to do when an attempt ended with ``failure``, which counts as one more."""
    if failure.kind == "unavailable":
        return "retry" if agent.failures < PLATFORM_RETRIES_MAX else "fail"
    return "retry" if agent.failures < retries else "fail"
