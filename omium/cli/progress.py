"""How far an execution is, as its events tell it. Pure: a fold that displays look at."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from omium.execution.events import (
    AgentCompleted,
    AgentSkipped,
    AttemptEnded,
    AttemptStarted,
    CallCompleted,
    CallIntended,
    Cancelled,
    Completed,
    Created,
    Entry,
    Failed,
    HandoffDecided,
    HandoffRejected,
    Paused,
    Resumed,
    RoundStarted,
    StepCompleted,
    StepStarted,
)
from omium.types import AgentName, Status

AgentPhase = Literal["waiting", "running", "done", "skipped", "failed"]


@dataclass(slots=True)
class AgentProgress:
    """One agent: its phase, the step under way or last done, and what it has used.

    ``round`` counts how often it has begun anew in a loop, from 1; ``steps`` are of that round,
    what it has used is of all of them.
    """

    name: AgentName
    phase: AgentPhase = "waiting"
    round: int = 1
    step: str = ""
    steps: int = 0
    llm_calls: int = 0
    tool_calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0


@dataclass(slots=True)
class Progress:
    """The whole execution. ``index`` is that of the last event seen, 0 before the first."""

    workflow: str = ""
    version: str = ""
    status: Status = "queued"
    created_ms: int = 0
    index: int = 0
    agents: dict[AgentName, AgentProgress] = field(default_factory=dict[AgentName, AgentProgress])
    checkpoints: list[tuple[int, AgentName]] = field(default_factory=list[tuple[int, AgentName]])
    """Journal index and agent of each checkpoint, in order."""

    def note(self, entry: Entry) -> None:
        """Take one more entry of the journal into account."""
        self.index = entry.index
        event = entry.event
        match event:
            case Created():
                self.workflow, self.version = event.workflow, event.version
                self.created_ms = entry.at_ms
                self.agents = {one.name: AgentProgress(one.name) for one in event.plan}
            case AttemptStarted():
                self.status = "running"
                self.agents[event.agent].phase = "running"
            case AttemptEnded():
                if self.agents[event.agent].phase == "running":
                    self.agents[event.agent].phase = "waiting"
            case StepStarted():
                self.agents[event.agent].step = event.name or event.step
            case CallIntended():
                agent = self.agents[event.agent]
                if event.key.kind == "llm":
                    agent.llm_calls += 1
                elif event.key.kind == "tool":
                    agent.tool_calls += 1
            case CallCompleted():
                agent = self.agents[event.agent]
                agent.prompt_tokens += event.usage.prompt_tokens or 0
                agent.completion_tokens += event.usage.completion_tokens or 0
            case StepCompleted():
                agent = self.agents[event.agent]
                agent.steps += 1
                agent.step = event.name or event.step
                self.checkpoints.append((entry.index, event.agent))
            case AgentCompleted():
                self.agents[event.agent].phase = "done"
            case AgentSkipped():
                self.agents[event.agent].phase = "skipped"
            case HandoffRejected():
                self.agents[event.agent].phase = "waiting"
            case RoundStarted() | HandoffDecided():
                for name in event.agents:
                    agent = self.agents[name]
                    agent.phase, agent.step, agent.steps = "waiting", "", 0
                    agent.round += 1
            case Failed():
                self.status = "failed"
                if event.failure.agent is not None:
                    self.agents[event.failure.agent].phase = "failed"
            case Paused():
                self.status = "paused"
                self._release()
            case Resumed():
                self.status = "queued"
                self._release()
            case Completed():
                self.status = "completed"
            case Cancelled():
                self.status = "cancelled"
                self._release()
            case _:
                pass

    @property
    def done(self) -> int:
        """How many agents have completed, or were skipped."""
        return sum(agent.phase in ("done", "skipped") for agent in self.agents.values())

    def _release(self) -> None:
        for agent in self.agents.values():
            if agent.phase not in ("done", "skipped"):
                agent.phase = "waiting"
