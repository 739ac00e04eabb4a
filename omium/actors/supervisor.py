"""The supervisor: leases agents to workers and watches over the attempts.

Gathers facts, asks ``supervision`` what to do, and does it. It sees executions only through
committed state, so after a restart it goes on where the journal ends.
"""

from __future__ import annotations

import asyncio
import logging
import math

from msgspec.structs import replace

from omium.actors import messages as m
from omium.actors.committer import Committer
from omium.actors.ordering import CommitResult
from omium.actors.supervision import (
    Assign,
    Retire,
    Start,
    Want,
    after_failure,
    after_loss,
    binding_of,
    is_overdue,
    overdue_call,
    pause_due,
    plan,
)
from omium.actors.transport import Connection
from omium.actors.workforce import Attempt, Employed, Roster, Spawner, SupervisorSettings
from omium.clock import Clock
from omium.definitions import Agent, Workflow, workflow_from_data
from omium.errors import DeadlineExceeded, ProtocolError
from omium.execution.events import (
    AttemptEnded,
    AttemptStarted,
    Event,
    Failed,
    FailureRecorded,
    Paused,
)
from omium.execution.records import AttemptCause, AttemptEnd, Failure
from omium.execution.routing import due, ready_agents, seen
from omium.execution.state import AgentState, ExecutionState
from omium.storage.replica import Replica, Written
from omium.types import AgentName, ExecutionId

log = logging.getLogger(__name__)

WORKFLOWS_CACHED_MAX = 256
TROUBLE_PAUSE_S = 1.0
START_FAILURES_MAX = 3
"""Workers in a row of one framework that may fail to come up."""


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
        self._live: dict[ExecutionId, ExecutionState] = {}
        self._workflows: dict[str, Workflow] = {}
        self._gateway: tuple[m.GatewayHello, Connection] | None = None
        self._gateway_url = settings.gateway_url
        self._schedule_due = False
        self._leasing: set[tuple[ExecutionId, AgentName]] = set()
        self._leasing_from_s = 0.0
        self._draining = False
        self.drained = asyncio.Event()
        """Set once no attempt is left after ``drain``."""
        self._stopping = False

    def take_up(self) -> None:
        """Go on with every unfinished execution. Attempts that were under way get
        ``reconnect_grace_s`` for their workers to come back before others take over."""
        self.reload()
        if any(a.status == "leased" for s in self._live.values() for a in s.agents.values()):
            self._leasing_from_s = self._clock.monotonic_s() + self._settings.reconnect_grace_s

    def reload(self) -> None:
        """Read the live states again, after a failed commit threw the cached ones away."""
        self._live = {s.id: s for s in self._replica.unfinished() if self._is_awake(s)}

    def _is_awake(self, state: ExecutionState) -> bool:
        unfinished = state.status in ("queued", "running", "paused")
        return unfinished and state.awake_ms >= self._settings.awake_from_ms

    def noted(self, state: ExecutionState, epoch: int) -> None:
        """The journal of ``state`` has grown: by the attempt ``epoch``, or 0 for the rest."""
        if self._is_awake(state):
            self._live[state.id] = state
        else:
            self._live.pop(state.id, None)
        for agent in state.agents.values() if epoch else ():
            held = self._roster.attempt(state.id, agent.name) if agent.epoch == epoch else None
            if held is not None:
                held[1].progress_s = self._clock.monotonic_s()

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
        if known is not None and known.connection is not connection:
            known.connection.close()
        for execution_id, name, epoch in hello.attempts:
            state = self._replica.state(execution_id)
            agent = state.agents.get(name) if state is not None else None
            if state is not None and agent is not None and _holds(agent, epoch):
                worker.attempts[execution_id, name] = self._attempt(state, name, epoch)
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
        self._gateway_url = hello.url
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
        self._leasing_from_s = math.inf
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
        execution_id, agent, epoch = message.execution_id, message.agent, message.epoch
        if message.end == "failed" and message.failure is not None:
            self._fail(execution_id, agent, epoch, message.failure, "failed")
        elif message.end == "outcome_unknown":
            detail = (
                f"agent {agent!r} started call {message.call} and nobody knows how it ended; "
                "decide with `omium resume`"
            )
            self._end(
                execution_id,
                agent,
                epoch,
                AttemptEnded(agent=agent, epoch=epoch, end="paused"),
                Paused(reason="outcome_unknown", call=message.call, detail=detail),
            )
        elif message.end == "asked":
            self._end(
                execution_id, agent, epoch, AttemptEnded(agent=agent, epoch=epoch, end="asked")
            )
        elif message.end == "stopped":
            ended = AttemptEnded(agent=agent, epoch=epoch, end="worker_lost")
            self._end(execution_id, agent, epoch, ended)

    def stop_attempts(self, execution_id: ExecutionId, *, cancelled: bool) -> None:
        """Tell the workers of an execution to stop; who does not is ended by force later."""
        for worker, attempt in self._roster.attempts:
            if attempt.execution_id == execution_id and attempt.stop_by_s is None:
                self._stop(worker, attempt, cancelled=cancelled)

    def _stop(self, worker: Employed, attempt: Attempt, *, cancelled: bool) -> None:
        attempt.stop_by_s = self._clock.monotonic_s() + self._settings.stop_grace_s
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

    def _end(self, execution_id: ExecutionId, agent: AgentName, epoch: int, *events: Event) -> None:
        """Append the end of an attempt, unless it ended before."""
        state = self._replica.state(execution_id)
        if state is not None and state.status == "running" and _holds(state.agents[agent], epoch):
            self._committer.own(execution_id, *events)

    def _fail(
        self,
        execution_id: ExecutionId,
        agent_name: AgentName,
        epoch: int,
        failure: Failure,
        end: AttemptEnd,
    ) -> None:
        state = self._replica.state(execution_id)
        if state is None:
            return
        agent = state.agents[agent_name]
        failure = replace(failure, agent=agent_name, checkpoint=agent.checkpoint)
        events: list[Event] = [
            FailureRecorded(failure=failure),
            AttemptEnded(agent=agent_name, epoch=epoch, end=end, detail=failure.message[:500]),
        ]
        if after_failure(agent, failure, self._definition(state, agent_name).retries) == "fail":
            events.append(Failed(failure=failure))
        self._end(execution_id, agent_name, epoch, *events)

    def _lose(self, worker: Employed, reason: str) -> None:
        """A worker is gone: end its attempts, so that others take over."""
        self._roster.left(worker)
        worker.connection.close()
        if self._stopping:
            return
        log.warning("worker %s (pid %d): %s", worker.hello.worker, worker.hello.pid, reason)
        for attempt in worker.attempts.values():
            self._lose_attempt(attempt.execution_id, attempt.agent, attempt.epoch, reason)
        self._note_drained()
        self.schedule()

    def _lose_attempt(
        self, execution_id: ExecutionId, name: AgentName, epoch: int, reason: str
    ) -> None:
        state = self._replica.state(execution_id)
        if state is None:
            return
        agent = state.agents[name]
        events: list[Event] = [
            AttemptEnded(agent=name, epoch=epoch, end="worker_lost", detail=reason[:500])
        ]
        if after_loss(agent) == "fail":
            failure = Failure(
                kind="crash_loop",
                message=f"{agent.losses + 1} workers in a row died on agent {name!r} "
                "before it got any further",
                agent=name,
                checkpoint=agent.checkpoint,
            )
            events.append(Failed(failure=failure))
        self._end(execution_id, name, epoch, *events)

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
            for attempt in list(worker.attempts.values()):
                if attempt.stop_by_s is not None and now_s > attempt.stop_by_s:
                    self._spawner.end(worker.hello.worker)
                    self._lose(worker, "it did not stop when told")
                    break
                if attempt.stop_by_s is not None:
                    continue
                if now_s - attempt.progress_s > attempt.timeout_s:
                    what = f"a step of agent {attempt.agent!r}"
                    self._time_out(worker, attempt, what, attempt.timeout_s)
                elif (slow := self._overdue_call(attempt, now_ms)) is not None:
                    self._time_out(worker, attempt, *slow)
        for state in list(self._live.values()):
            limit_s = self._workflow(state).timeout_s
            if is_overdue(state, limit_s, now_ms):
                self._fail_overdue(state, limit_s or 0)
        for worker_id in self._roster.overdue(now_s - self._settings.start_timeout_s):
            self._spawner.end(worker_id)
        if now_s >= self._leasing_from_s and self._committer.is_idle:
            self._reconcile()
        self.schedule()

    def _overdue_call(self, attempt: Attempt, now_ms: int) -> tuple[str, float] | None:
        """The call of an attempt that takes longer than it may, in words, and its limit."""
        state = self._live.get(attempt.execution_id)
        if state is None:
            return None
        limit_s = self._definition(state, attempt.agent).call_timeout_s
        call = overdue_call(state.agents[attempt.agent], limit_s, now_ms)
        if call is None or limit_s is None:
            return None
        what = f"{call.key.kind} call {call.key.name!r} (journal index {call.index})"
        return f"{what} of agent {attempt.agent!r}", limit_s

    def _fail_overdue(self, state: ExecutionState, limit_s: float) -> None:
        error = DeadlineExceeded(f"execution {state.id}", limit_s)
        failure = Failure(kind=error.kind, message=str(error), error_type=type(error).__name__)
        self._committer.own(state.id, FailureRecorded(failure=failure), Failed(failure=failure))

    def _time_out(self, worker: Employed, attempt: Attempt, what: str, limit_s: float) -> None:
        error = DeadlineExceeded(what, limit_s)
        failure = Failure(kind=error.kind, message=str(error), error_type=type(error).__name__)
        self._fail(attempt.execution_id, attempt.agent, attempt.epoch, failure, "step_timeout")
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

    def _reconcile(self) -> None:
        """Write what should follow from the journal and was not written, because the
        coordinator was restarted or its disk was full."""
        for state in list(self._live.values()):
            self.decide(state)
            pause = pause_due(state)
            if pause is not None:
                self._committer.own(state.id, pause)
            for agent in state.agents.values():
                held = self._roster.attempt(state.id, agent.name, agent.epoch)
                if agent.status == "leased" and held is None:
                    self._lose_attempt(state.id, agent.name, agent.epoch, "nobody works on it")

    # ------------------------------------------------------------------ leasing

    def schedule(self) -> None:
        """Plan once this turn of the loop is over."""
        if not self._schedule_due and not self._stopping:
            self._schedule_due = True
            asyncio.get_running_loop().call_soon(self._run_schedule)

    def _run_schedule(self) -> None:
        self._schedule_due = False
        now_s = self._clock.monotonic_s()
        if self._stopping or not self._gateway_url or now_s < self._leasing_from_s:
            return
        if self._committer.trouble is not None:
            # The disk is full, say: look again later, and not with every turn of the loop.
            self._leasing_from_s = now_s + TROUBLE_PAUSE_S
        wants = [
            Want(
                execution_id=state.id,
                agent=agent,
                framework=self._definition(state, agent).framework,
                binding=binding_of(state.tenant, state.digest, state.code, agent),
            )
            for state in self._live.values()
            for agent in ready_agents(state)
            if (state.id, agent) not in self._leasing
        ]
        facts, starting = self._roster.facts, self._roster.starting_by_framework
        wants = [want for want in wants if not self._refuse_start(want)]
        for decision in plan(wants, facts, starting, self._settings.warm, self._settings.limits):
            match decision:
                case Assign():
                    self._lease(decision.want, self._roster[decision.worker])
                case Start():
                    worker_id = self._spawner.start(decision.framework)
                    self._roster.started(worker_id, decision.framework, now_s)
                case Retire():
                    self._roster[decision.worker].connection.send(m.Shutdown())

    def _refuse_start(self, want: Want) -> bool:
        """Fail an execution whose framework's workers do not come up."""
        if self._roster.start_failures[want.framework] < START_FAILURES_MAX:
            return False
        limit_s = self._settings.start_timeout_s
        error = DeadlineExceeded(f"starting a worker of framework {want.framework!r}", limit_s)
        failure = Failure(kind="unavailable", message=str(error), agent=want.agent)
        self._committer.own(
            want.execution_id, FailureRecorded(failure=failure), Failed(failure=failure)
        )
        self._roster.start_failures[want.framework] = 0
        return True

    def _lease(self, want: Want, worker: Employed) -> None:
        state = self._live[want.execution_id]
        agent = state.agents[want.agent]
        # Another lease of this execution may be on its way in the same batch.
        epoch = max(state.epoch, self._roster.latest_epoch(state.id)) + 1
        worker.binding = want.binding
        worker.attempts[state.id, agent.name] = self._attempt(state, agent.name, epoch)
        started = AttemptStarted(
            agent=agent.name, epoch=epoch, worker=worker.hello.worker, cause=_cause(agent)
        )

        def leased(result: CommitResult) -> None:
            self._leasing.discard((state.id, want.agent))
            if isinstance(result, Written):
                self._send_lease(worker, state.id, want.agent, epoch)
            else:
                worker.attempts.pop((want.execution_id, want.agent), None)
                log.warning("lease of %s/%s: %s", want.execution_id, want.agent, result)

        # A group commits while the loop goes on: until then the agent only seems to wait.
        self._leasing.add((state.id, want.agent))
        self._committer.own(state.id, started, then=leased)

    def _send_lease(
        self, worker: Employed, execution_id: ExecutionId, agent: AgentName, epoch: int
    ) -> None:
        try:
            worker.connection.send(self._lease_message(execution_id, agent, epoch))
        except ProtocolError as error:
            # Inputs and outputs that together are larger than a frame: no worker can take it.
            worker.attempts.pop((execution_id, agent), None)
            failure = Failure(kind=error.kind, message=str(error), error_type="ProtocolError")
            self._fail(execution_id, agent, epoch, failure, "failed")

    def _lease_message(self, execution_id: ExecutionId, name: AgentName, epoch: int) -> m.Lease:
        state = self._live[execution_id]
        agent = state.agents[name]
        return m.Lease(
            execution_id=state.id,
            tenant=state.tenant,
            digest=state.digest,
            agent=name,
            epoch=epoch,
            definition=state.definition,
            model=state.model,
            inputs=state.inputs,
            outputs=seen(state, name),
            saved=agent.saved,
            steps=tuple(agent.steps),
            import_paths=state.import_paths,
            gateway_url=self._gateway_url,
            round=agent.round,
            code=state.code,
        )

    def _attempt(self, state: ExecutionState, agent: AgentName, epoch: int) -> Attempt:
        return Attempt(
            execution_id=state.id,
            agent=agent,
            epoch=epoch,
            timeout_s=self._definition(state, agent).timeout_s,
            progress_s=self._clock.monotonic_s(),
        )

    def _definition(self, state: ExecutionState, agent: AgentName) -> Agent:
        return self._workflow(state).agent(agent)

    def _workflow(self, state: ExecutionState) -> Workflow:
        workflow = self._workflows.get(state.digest)
        if workflow is None:
            if len(self._workflows) >= WORKFLOWS_CACHED_MAX:
                self._workflows.clear()
            workflow = workflow_from_data(state.definition.inline)
            self._workflows[state.digest] = workflow
        return workflow


def _holds(agent: AgentState, epoch: int) -> bool:
    return agent.status == "leased" and agent.epoch == epoch


def _cause(agent: AgentState) -> AttemptCause:
    if agent.ended is None:
        return "first" if agent.attempts == 0 else "resumed"
    if agent.ended == "asked":
        return "resumed"
    return "worker_lost" if agent.ended == "worker_lost" else "retry"
