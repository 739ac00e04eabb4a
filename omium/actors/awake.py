"""The executions that a supervisor looks after: their states, and what their workflows say.

Owns the copies that are kept in memory. What is asked of an execution that is not awake is read
from the replica by whoever needs it. Writes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator

from omium.definitions import Agent, Workflow, workflow_from_data
from omium.execution.state import ExecutionState
from omium.storage.replica import Replica
from omium.types import AgentName, ExecutionId

WORKFLOWS_CACHED_MAX = 256


class Awake:
    """Unfinished executions that somebody asked for since ``since_ms``, milliseconds since the
    epoch."""

    def __init__(self, replica: Replica, since_ms: int) -> None:
        self._replica = replica
        self._since_ms = since_ms
        self._states: dict[ExecutionId, ExecutionState] = {}
        self._workflows: dict[str, Workflow] = {}

    def __iter__(self) -> Iterator[ExecutionState]:
        """Those that are awake now; more may wake, and some end, meanwhile."""
        return iter(list(self._states.values()))

    def __getitem__(self, execution_id: ExecutionId) -> ExecutionState:
        return self._states[execution_id]

    def get(self, execution_id: ExecutionId) -> ExecutionState | None:
        return self._states.get(execution_id)

    def reload(self) -> None:
        """Read them again from what is committed."""
        self._states = {s.id: s for s in self._replica.unfinished() if self._is_awake(s)}

    def noted(self, state: ExecutionState) -> None:
        """An execution has a new state."""
        if self._is_awake(state):
            self._states[state.id] = state
        else:
            self._states.pop(state.id, None)

    def _is_awake(self, state: ExecutionState) -> bool:
        unfinished = state.status in ("queued", "running", "paused")
        return unfinished and state.awake_ms >= self._since_ms

    def agent(self, state: ExecutionState, agent: AgentName) -> Agent:
        """What the workflow of an execution, awake or not, says of an agent."""
        return self.workflow(state).agent(agent)

    def workflow(self, state: ExecutionState) -> Workflow:
        """The workflow of an execution, awake or not."""
        workflow = self._workflows.get(state.digest)
        if workflow is None:
            if len(self._workflows) >= WORKFLOWS_CACHED_MAX:
                self._workflows.clear()
            workflow = workflow_from_data(state.definition.inline)
            self._workflows[state.digest] = workflow
        return workflow
