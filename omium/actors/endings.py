"""How attempts and executions end badly or early: what is written into their journals then.

Owns the events. Who is told to stop, and when time is up, is the supervisor's business.
"""

from __future__ import annotations

from msgspec.structs import replace

from omium.actors import messages as m
from omium.actors.awake import Awake
from omium.actors.committer import Committer
from omium.actors.supervision import Want, after_failure, after_loss
from omium.errors import DeadlineExceeded
from omium.execution.events import AttemptEnded, Event, Failed, FailureRecorded, Paused
from omium.execution.records import AttemptEnd, Failure
from omium.execution.state import AgentState, ExecutionState
from omium.storage.replica import Replica
from omium.types import AgentName, ExecutionId


def holds(agent: AgentState, epoch: int) -> bool:
    """Whether the attempt of that epoch is under way, as far as the journal knows."""
    return agent.status == "leased" and agent.epoch == epoch


class Endings:
    """Each method appends how something ended, unless it is known to have ended before."""

    def __init__(self, replica: Replica, committer: Committer, awake: Awake) -> None:
        self._replica = replica
        self._committer = committer
        self._awake = awake

    def over(self, message: m.AttemptOver) -> None:
        """A worker stopped working on an attempt. What completed is in the journal already."""
        execution_id, agent, epoch = message.execution_id, message.agent, message.epoch
        if message.end == "failed" and message.failure is not None:
            self.failed(execution_id, agent, epoch, message.failure, "failed")
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

    def failed(
        self,
        execution_id: ExecutionId,
        agent_name: AgentName,
        epoch: int,
        failure: Failure,
        end: AttemptEnd,
    ) -> None:
        """An attempt failed, and with it the execution where no retry is left."""
        state = self._replica.state(execution_id)
        if state is None:
            return
        agent = state.agents[agent_name]
        failure = replace(failure, agent=agent_name, checkpoint=agent.checkpoint)
        events: list[Event] = [
            FailureRecorded(failure=failure),
            AttemptEnded(agent=agent_name, epoch=epoch, end=end, detail=failure.message[:500]),
        ]
        if after_failure(agent, failure, self._awake.agent(state, agent_name).retries) == "fail":
            events.append(Failed(failure=failure))
        self._end(execution_id, agent_name, epoch, *events)

    def timed_out(
        self, execution_id: ExecutionId, agent: AgentName, epoch: int, what: str, limit_s: float
    ) -> None:
        """Something that an attempt does took longer than ``limit_s`` seconds."""
        self.failed(execution_id, agent, epoch, _deadline_failure(what, limit_s), "step_timeout")

    def lost(self, execution_id: ExecutionId, name: AgentName, epoch: int, reason: str) -> None:
        """Nobody works on an attempt any more."""
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

    def _end(self, execution_id: ExecutionId, agent: AgentName, epoch: int, *events: Event) -> None:
        """Append the end of an attempt, unless it ended before."""
        state = self._replica.state(execution_id)
        if state is not None and state.status == "running" and holds(state.agents[agent], epoch):
            self._committer.own(execution_id, *events)

    # ------------------------------------------------------------------ whole executions

    def overdue(self, state: ExecutionState, limit_s: float) -> None:
        """An execution took longer than ``limit_s`` seconds."""
        self._fail(state.id, _deadline_failure(f"execution {state.id}", limit_s))

    def not_started(self, want: Want, limit_s: float) -> None:
        """No worker that the execution needs comes up: several in a row died, or did not say hello
        within ``limit_s`` seconds."""
        message = (
            f"no worker of framework {want.framework!r} comes up: several in a row died while they "
            f"were started, or took longer than {limit_s:g} s"
        )
        failure = Failure(kind="unavailable", message=message, agent=want.agent)
        self._fail(want.execution_id, failure)

    def _fail(self, execution_id: ExecutionId, failure: Failure) -> None:
        self._committer.own(execution_id, FailureRecorded(failure=failure), Failed(failure=failure))


def _deadline_failure(what: str, limit_s: float) -> Failure:
    error = DeadlineExceeded(what, limit_s)
    return Failure(kind=error.kind, message=str(error), error_type=type(error).__name__)
