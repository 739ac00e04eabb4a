"""Leasing: which worker gets which attempt, and what it is told.

Gathers what ``supervision.plan`` goes by and carries out what it decides: leases committed and
sent, workers started and retired. How an attempt goes on afterwards is the supervisor's business.
"""

from __future__ import annotations

import asyncio
import logging

from omium.actors import messages as m
from omium.actors.awake import Awake
from omium.actors.committer import Committer
from omium.actors.endings import Endings
from omium.actors.ordering import CommitResult
from omium.actors.receiving import offer_of
from omium.actors.returning import Returning
from omium.actors.supervision import (
    Assign,
    Retire,
    Start,
    Want,
    binding_of,
    not_held_back,
    plan,
)
from omium.actors.workforce import Attempt, Employed, Roster, Spawner, SupervisorSettings
from omium.clock import Clock
from omium.errors import ProtocolError
from omium.execution.events import AttemptStarted
from omium.execution.handoffs import rejections, to_accept
from omium.execution.records import AttemptCause, Failure
from omium.execution.routing import ready_agents, seen
from omium.execution.state import AgentState, ExecutionState
from omium.storage.replica import Written
from omium.types import AgentName, ExecutionId

log = logging.getLogger(__name__)

TROUBLE_PAUSE_S = 1.0
START_FAILURES_MAX = 3
"""Workers in a row of one framework that may fail to come up."""


class Leasing:
    """Leases the agents that are ready. Nothing is leased before ``from_s`` on the monotonic
    clock, nor while there is no ``gateway_url``; nobody is started in the place of somebody who
    may still come back."""

    def __init__(
        self,
        roster: Roster,
        awake: Awake,
        committer: Committer,
        endings: Endings,
        returning: Returning,
        *,
        clock: Clock,
        spawner: Spawner,
        settings: SupervisorSettings,
    ) -> None:
        self._roster = roster
        self._awake = awake
        self._committer = committer
        self._endings = endings
        self._returning = returning
        self._clock = clock
        self._spawner = spawner
        self._settings = settings
        self.gateway_url = settings.gateway_url
        self.from_s = 0.0
        self._due = False
        self._stopped = False
        self._under_way: set[tuple[ExecutionId, AgentName]] = set()

    def stop(self) -> None:
        """Lease nothing any more, and start nobody."""
        self._stopped = True

    def schedule(self) -> None:
        """Plan once this turn of the loop is over."""
        if not self._due and not self._stopped:
            self._due = True
            asyncio.get_running_loop().call_soon(self._plan)

    def attempt(self, state: ExecutionState, agent: AgentName, epoch: int) -> Attempt:
        """An attempt that is under way from now on."""
        return Attempt(
            execution_id=state.id,
            agent=agent,
            epoch=epoch,
            timeout_s=self._awake.agent(state, agent).timeout_s,
            from_ms=self._clock.now_ms(),
            progress_s=self._clock.monotonic_s(),
        )

    def _plan(self) -> None:
        self._due = False
        now_s = self._clock.monotonic_s()
        if self._stopped or not self.gateway_url or now_s < self.from_s:
            return
        if self._committer.trouble is not None:
            # The disk is full, say: look again later, and not with every turn of the loop.
            self.from_s = now_s + TROUBLE_PAUSE_S
        wants = [
            Want(
                execution_id=state.id,
                agent=agent,
                framework=self._awake.agent(state, agent).framework,
                binding=binding_of(state.tenant, state.digest, state.code, agent),
                receivers=tuple(
                    binding_of(state.tenant, state.digest, state.code, other.name)
                    for other in state.agents.values()
                    if agent in other.upstream
                ),
            )
            for state in self._awake
            for agent in ready_agents(state)
            if (state.id, agent) not in self._under_way
        ]
        facts, starting = self._roster.facts, self._roster.starting_by_framework
        wants = not_held_back(wants, self._settings.handoffs_waiting_max)
        wants = [want for want in wants if not self._refuse_start(want)]
        awaited = self._returning.awaited(now_s)
        for decision in plan(wants, facts, starting, self._settings.warm, self._settings.limits):
            match decision:
                case Assign():
                    self._lease(decision.want, self._roster[decision.worker])
                case Start() if awaited > 0:
                    # For one of those; the next tick looks again.
                    awaited -= 1
                case Start():
                    worker_id = self._spawner.start(decision.framework)
                    self._roster.started(worker_id, decision.framework, now_s)
                case Retire():
                    self._roster[decision.worker].connection.send(m.Shutdown())

    def _refuse_start(self, want: Want) -> bool:
        """Fail an execution whose framework's workers do not come up."""
        if self._roster.start_failures[want.framework] < START_FAILURES_MAX:
            return False
        self._endings.not_started(want, self._settings.start_timeout_s)
        self._roster.start_failures[want.framework] = 0
        return True

    def _lease(self, want: Want, worker: Employed) -> None:
        state = self._awake[want.execution_id]
        agent = state.agents[want.agent]
        # Another lease of this execution may be on its way in the same batch.
        epoch = max(state.epoch, self._roster.latest_epoch(state.id)) + 1
        worker.binding = want.binding
        worker.attempts[state.id, agent.name] = self.attempt(state, agent.name, epoch)
        started = AttemptStarted(
            agent=agent.name, epoch=epoch, worker=worker.hello.worker, cause=_cause(agent)
        )

        def leased(result: CommitResult) -> None:
            self._under_way.discard((state.id, want.agent))
            if isinstance(result, Written):
                self._send(worker, state.id, want.agent, epoch)
            else:
                worker.attempts.pop((want.execution_id, want.agent), None)
                log.warning("lease of %s/%s: %s", want.execution_id, want.agent, result)

        # A group commits while the loop goes on: until then the agent only seems to wait.
        self._under_way.add((state.id, want.agent))
        self._committer.own(state.id, started, then=leased)

    def _send(
        self, worker: Employed, execution_id: ExecutionId, agent: AgentName, epoch: int
    ) -> None:
        try:
            worker.connection.send(self._message(execution_id, agent, epoch))
        except ProtocolError as error:
            # Inputs and outputs that together are larger than a frame: no worker can take it.
            worker.attempts.pop((execution_id, agent), None)
            failure = Failure(kind=error.kind, message=str(error), error_type="ProtocolError")
            self._endings.failed(execution_id, agent, epoch, failure, "failed")

    def _message(self, execution_id: ExecutionId, name: AgentName, epoch: int) -> m.Lease:
        state = self._awake[execution_id]
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
            gateway_url=self.gateway_url,
            round=agent.round,
            code=state.code,
            offers=tuple(offer_of(agent, one) for one in to_accept(state, agent)),
            rejections=rejections(state, name),
        )


def _cause(agent: AgentState) -> AttemptCause:
    if agent.ended is None:
        return "first" if agent.attempts == 0 else "resumed"
    if agent.ended == "asked":
        return "resumed"
    return "worker_lost" if agent.ended == "worker_lost" else "retry"
