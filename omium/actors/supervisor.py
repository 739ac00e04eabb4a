"""The supervisor: watches over workers and attempts, and sees that executions go on.

Gathers facts, asks ``supervision`` what to do, and does it, with ``Leasing`` for who works on
what and ``Endings`` for what is written at an end. It sees executions only through committed
state, so after a restart it goes on where the journal ends.
"""

from __future__ import annotations

import asyncio
import logging
import math

from omium.actors import messages as m
from omium.actors.awake import Awake
from omium.actors.committer import Committer
from omium.actors.endings import Endings, holds
from omium.actors.leasing import Leasing
from omium.actors.ordering import CommitResult
from omium.actors.returning import Returning
from omium.actors.supervision import is_overdue, is_step_overdue, overdue_call, pause_due
from omium.actors.transport import Connection
from omium.actors.workforce import Attempt, Employed, Roster, Spawner, SupervisorSettings
from omium.clock import Clock
from omium.execution.handoffs import overdue
from omium.execution.routing import due
from omium.execution.state import ExecutionState
from omium.storage.replica import Replica, Written
from omium.types import AgentName, ExecutionId, WorkerId

log = logging.getLogger(__name__)

ASK_AGAIN_S = 1.0
"""After which it is asked once more who of those that are awaited lives."""

LOOK_AFTER_S = 3.0
"""After which it is asked whether those that are being started still live."""


class Supervisor:
    """See the module's docstring. Lives in the coordinator's event loop."""

    def __init__(
        self,
        replica: Replica,
        committer: Committer,
        clock: Clock,
        spawner: Spawner,
        settings: SupervisorSettings,
    ) -> None:
        self._replica = replica
        self._committer = committer
        self._clock = clock
        self._spawner = spawner
        self._settings = settings
        self._roster = Roster()
        self._awake = Awake(replica, settings.awake_from_ms)
        self._endings = Endings(replica, committer, self._awake)
        self._returning = Returning()
        self._asked_s = -math.inf
        self._leasing = Leasing(
            self._roster,
            self._awake,
            committer,
            self._endings,
            self._returning,
            clock=clock,
            spawner=spawner,
            settings=settings,
        )
        self._gateway: tuple[m.GatewayHello, Connection] | None = None
        self._draining = False
        self.drained = asyncio.Event()
        """Set once no attempt is left after ``drain``."""
        self._stopping = False

    def take_up(self) -> None:
        """Go on with every unfinished execution. Workers that live get ``reconnect_grace_s`` to
        come back before others take over what they work on."""
        self.reload()
        now_s = self._clock.monotonic_s()
        self._returning.begin(now_s + self._settings.reconnect_grace_s)
        self._ask_who_lives(now_s)

    def _ask_who_lives(self, now_s: float) -> None:
        self._asked_s = now_s
        # Who is started after this question may not be in the answer, and lives.
        starting = frozenset(self._roster.starting)
        self._spawner.living(lambda living: self._told_who_lives(living, starting))

    def _told_who_lives(self, living: frozenset[WorkerId], starting: frozenset[WorkerId]) -> None:
        self._returning.know(living, {worker.hello.worker for worker in self._roster})
        for worker in self._roster.lost(starting - living):
            log.warning("worker %s died while it was being started", worker)
        self.schedule()

    def reload(self) -> None:
        """Read the live states again, after a failed commit threw the cached ones away."""
        self._awake.reload()

    def noted(self, state: ExecutionState, epoch: int) -> None:
        """The journal of ``state`` has grown: by the attempt ``epoch``, or 0 for the rest."""
        self._awake.noted(state)
        for agent in state.agents.values() if epoch else ():
            held = self._roster.attempt(state.id, agent.name) if agent.epoch == epoch else None
            if held is not None:
                held[1].progress_s = self._clock.monotonic_s()

    def schedule(self) -> None:
        """Lease what can be leased, once this turn of the loop is over."""
        self._leasing.schedule()

    # ------------------------------------------------------------------ who is there

    def worker_hello(self, connection: Connection, hello: m.WorkerHello) -> None:
        """A worker connected, for the first time or again."""
        worker = Employed(
            hello=hello,
            connection=connection,
            heard_s=self._clock.monotonic_s(),
            binding=hello.binding,
        )
        known = self._roster.came(worker)
        self._returning.came(hello.worker)
        if known is not None and known.connection is not connection:
            known.connection.close()
        for execution_id, name, epoch in hello.attempts:
            state = self._replica.state(execution_id)
            agent = state.agents.get(name) if state is not None else None
            if state is not None and agent is not None and holds(agent, epoch):
                worker.attempts[execution_id, name] = self._leasing.attempt(state, name, epoch)
            else:
                connection.send(
                    m.Stop(execution_id=execution_id, agent=name, epoch=epoch, cancelled=False)
                )
        self.schedule()

    def heartbeat(self, connection: Connection) -> None:
        for worker in self._roster:
            if worker.connection is connection:
                worker.heard_s = self._clock.monotonic_s()

    def gateway_hello(self, connection: Connection, hello: m.GatewayHello) -> None:
        self._gateway = (hello, connection)
        self._leasing.gateway_url = hello.url
        self.schedule()

    def closed(self, connection: Connection, error: Exception | None) -> None:
        """A connection was lost, and with it whoever was at its other end."""
        if self._gateway is not None and self._gateway[1] is connection:
            self._gateway = None
        for worker in self._roster:
            if worker.connection is connection:
                self._lose(worker, f"its connection closed: {error or 'end of stream'}")

    def drain(self) -> None:
        """Lease nothing any more, and stop each attempt where its step ends."""
        self._draining = True
        self._leasing.from_s = math.inf
        self._note_drained()

    def _note_drained(self) -> None:
        if self._draining and not self.attempts:
            self.drained.set()

    @property
    def attempts(self) -> int:
        """How many attempts workers hold."""
        return len(self._roster.attempts)

    def step_completed(self, execution_id: ExecutionId, agent: AgentName) -> None:
        """An agent came to the end of a step: while draining, as far as it is to go."""
        held = self._roster.attempt(execution_id, agent)
        if self._draining and held is not None and held[1].stop_by_s is None:
            self._stop(*held, cancelled=False)

    def is_told_to_stop(self, execution_id: ExecutionId, agent: AgentName, epoch: int) -> bool:
        """Whether an attempt is to begin nothing any more."""
        held = self._roster.attempt(execution_id, agent, epoch)
        return held is not None and held[1].stop_by_s is not None

    def shut_down(self, *, end_workers: bool = True) -> None:
        """Start no more workers, and tell those there are to end their processes."""
        self._stopping = True
        self._leasing.stop()
        if end_workers:
            for worker in self._roster:
                worker.connection.send(m.Shutdown())
            for worker_id in self._roster.starting:
                self._spawner.end(worker_id)

    def view(self, pid: int) -> m.RuntimeView:
        """Who is connected; ``pid`` is the coordinator's own."""
        return m.RuntimeView(
            workers=self._roster.views,
            gateway_url=self._gateway[0].url if self._gateway is not None else "",
            gateway_pid=self._gateway[0].pid if self._gateway is not None else 0,
            pid=pid,
        )

    # ------------------------------------------------------------------ attempts end

    def attempt_over(self, message: m.AttemptOver) -> None:
        """A worker says that it stopped working on an attempt."""
        held = self._roster.attempt(message.execution_id, message.agent, message.epoch)
        if held is not None:
            del held[0].attempts[message.execution_id, message.agent]
        self._note_drained()
        self.schedule()
        self._endings.over(message)

    def stop_attempts(self, execution_id: ExecutionId, *, cancelled: bool) -> None:
        """Tell the workers of an execution to stop; who does not is ended by force later."""
        for worker, attempt in self._roster.attempts:
            if attempt.execution_id == execution_id and attempt.stop_by_s is None:
                self._stop(worker, attempt, cancelled=cancelled)

    def _stop(self, worker: Employed, attempt: Attempt, *, cancelled: bool) -> None:
        now_s = self._clock.monotonic_s()
        attempt.stop_by_s = now_s + self._settings.stop_grace_s
        if cancelled:
            attempt.cancel_by_s = now_s + self._settings.cancel_grace_s
        stop = m.Stop(
            execution_id=attempt.execution_id,
            agent=attempt.agent,
            epoch=attempt.epoch,
            cancelled=cancelled,
        )
        worker.connection.send(stop)
        if self._gateway is not None:
            # What waits there for its model, in a thread, can be stopped nowhere else.
            self._gateway[1].send(stop)

    def _lose(self, worker: Employed, reason: str) -> None:
        """A worker is gone: end its attempts, so that others take over."""
        self._roster.left(worker)
        worker.connection.close()
        if self._stopping:
            return
        log.warning("worker %s (pid %d): %s", worker.hello.worker, worker.hello.pid, reason)
        for attempt in worker.attempts.values():
            self._endings.lost(attempt.execution_id, attempt.agent, attempt.epoch, reason)
        self._note_drained()
        self.schedule()

    # ------------------------------------------------------------------ time passes

    def tick(self, late_s: float = 0.0) -> None:
        """Look at the clock: workers that fell silent, attempts that take too long, workers
        that never came up. Called several times a second.

        ``late_s`` is for how many seconds the event loop did not turn, as behind a slow disk.
        What others said meanwhile is not read yet, so that time is held against nobody.
        """
        now_s = self._clock.monotonic_s()
        now_ms = self._clock.now_ms() - round(late_s * 1_000)
        for worker in self._roster:
            worker.excuse(late_s)
            if now_s - worker.heard_s > self._settings.heartbeat_timeout_s:
                self._spawner.end(worker.hello.worker)
                self._lose(worker, f"silent for {now_s - worker.heard_s:.0f} s")
                continue
            if worker.clings(now_s):
                self._spawner.end(worker.hello.worker)
                self._lose(worker, "it did not stop when told")
                continue
            for attempt in list(worker.attempts.values()):
                if attempt.stop_by_s is not None:
                    continue
                if now_s - attempt.progress_s > attempt.timeout_s:
                    what = f"a step of agent {attempt.agent!r}"
                    self._time_out(worker, attempt, what, attempt.timeout_s)
                elif (slow := self._slow(attempt, now_ms)) is not None:
                    self._time_out(worker, attempt, *slow)
        for state in self._awake:
            limit_s = self._awake.workflow(state).timeout_s
            if is_overdue(state, limit_s, now_ms):
                self._endings.overdue(state, limit_s or 0)
            for rejected in overdue(state, now_ms):
                self._committer.own(state.id, rejected)
        for worker_id in self._roster.overdue(now_s - self._settings.start_timeout_s):
            self._spawner.end(worker_id)
        self._returning.excuse(late_s)
        # Somebody may have died since then, and Ray may not have answered.
        unasked_s = now_s - self._asked_s
        awaited = self._returning.awaited(now_s) != 0 and unasked_s >= ASK_AGAIN_S
        if awaited or (self._roster.starting and unasked_s >= LOOK_AFTER_S):
            self._ask_who_lives(now_s)
        if now_s >= self._leasing.from_s and self._committer.is_idle:
            self._reconcile(now_s)
        self.schedule()

    def _slow(self, attempt: Attempt, now_ms: int) -> tuple[str, float] | None:
        """What of an attempt takes longer than it may, in words, and its limit: a call or, in all
        that it does, a step."""
        state = self._awake.get(attempt.execution_id)
        if state is None:
            return None
        agent = state.agents[attempt.agent]
        limits = self._awake.agent(state, attempt.agent)
        # Where no coordinator led, nobody could be told that a call or a step had ended.
        from_ms = attempt.from_ms
        call = overdue_call(agent, limits.call_timeout_s, now_ms, from_ms=from_ms)
        if call is not None:
            what = f"{call.key.kind} call {call.key.name!r} (journal index {call.index})"
            return f"{what} of agent {agent.name!r}", limits.call_timeout_s or 0
        if is_step_overdue(agent, limits.step_timeout_s, now_ms, from_ms=from_ms):
            return f"a whole step of agent {agent.name!r}", limits.step_timeout_s or 0
        return None

    def _time_out(self, worker: Employed, attempt: Attempt, what: str, limit_s: float) -> None:
        execution_id, agent, epoch = attempt.execution_id, attempt.agent, attempt.epoch
        self._endings.timed_out(execution_id, agent, epoch, what, limit_s)
        self._stop(worker, attempt, cancelled=False)

    def decide(self, state: ExecutionState) -> None:
        """Write what follows from what agents handed on: whom it skips, who runs again, the end."""

        def then(result: CommitResult) -> None:
            # Agents that completed in one batch each ask for the decision: the second is refused.
            if not isinstance(result, Written):
                log.debug("what follows in %s: %s", state.id, result)

        events = due(state)
        if events:
            self._committer.own(state.id, *events, then=then)

    def _reconcile(self, now_s: float) -> None:
        """Write what should follow from the journal and was not written, because the
        coordinator was restarted or its disk was full."""
        for state in self._awake:
            self.decide(state)
            pause = pause_due(state)
            if pause is not None:
                self._committer.own(state.id, pause)
            for agent in state.agents.values():
                held = self._roster.attempt(state.id, agent.name, agent.epoch)
                if (
                    agent.status == "leased"
                    and held is None
                    and not self._returning.may_come(agent.worker, now_s)
                ):
                    self._endings.lost(state.id, agent.name, agent.epoch, "nobody works on it")
