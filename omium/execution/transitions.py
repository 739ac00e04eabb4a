"""The status machine of an execution as a table: which event may come when, and where it leads.

It holds no rule that looks at more than the status; those are in ``machine``.
"""

from __future__ import annotations

from collections.abc import Mapping

from omium.execution.events import (
    AgentCompleted,
    AgentSkipped,
    AttemptEnded,
    AttemptStarted,
    CallCompleted,
    CallDecided,
    CallFailed,
    CallIntended,
    CallSuspended,
    Cancelled,
    Completed,
    Created,
    Event,
    Failed,
    FailureRecorded,
    HandoffAccepted,
    HandoffDecided,
    HandoffOffered,
    HandoffRejected,
    HandoffVoted,
    Paused,
    Resumed,
    RoundStarted,
    Signalled,
    StepCompleted,
    StepStarted,
)
from omium.types import Status

# Outcomes are facts about the world: they are recorded even after the execution stopped.
OUTCOMES = (CallCompleted, CallFailed, CallSuspended)
PROGRESS = (StepStarted, CallIntended, StepCompleted, AgentCompleted, *OUTCOMES)
# What an attempt says of that which was handed to it.
VERDICTS = (HandoffVoted, HandoffAccepted, HandoffRejected)
# What the coordinator decides about the agents that are next.
ROUTING = (AgentSkipped, RoundStarted, HandoffOffered, HandoffDecided)

TRANSITIONS: Mapping[tuple[Status | None, type[Event]], Status] = {
    (None, Created): "queued",
    # A fork's copied prefix is appended while it is queued.
    **{("queued", event): "queued" for event in (*PROGRESS, *ROUTING, *VERDICTS)},
    ("queued", FailureRecorded): "queued",
    ("queued", AttemptStarted): "running",
    ("queued", Resumed): "queued",
    # What is asked may be answered whatever else goes on.
    ("queued", CallDecided): "queued",
    ("queued", Signalled): "queued",
    ("queued", Paused): "paused",
    # All agents were done already: in what a fork copied, or before the runtime went.
    ("queued", Completed): "completed",
    ("queued", Failed): "failed",
    ("queued", Cancelled): "cancelled",
    **{("running", event): "running" for event in (*PROGRESS, *ROUTING, *VERDICTS)},
    ("running", AttemptStarted): "running",
    ("running", AttemptEnded): "running",
    ("running", FailureRecorded): "running",
    ("running", CallDecided): "running",
    ("running", Signalled): "running",
    ("running", Paused): "paused",
    # Taken over from a runtime that is gone; its attempts are released, and soon fenced.
    ("running", Resumed): "queued",
    ("running", Completed): "completed",
    ("running", Failed): "failed",
    ("running", Cancelled): "cancelled",
    **{("paused", event): "paused" for event in OUTCOMES},
    ("paused", AttemptEnded): "paused",
    ("paused", FailureRecorded): "paused",
    ("paused", CallDecided): "paused",
    ("paused", HandoffDecided): "paused",
    ("paused", Signalled): "paused",
    ("paused", Resumed): "queued",
    ("paused", Cancelled): "cancelled",
    **{("failed", event): "failed" for event in OUTCOMES},
    ("failed", AttemptEnded): "failed",
    ("failed", CallDecided): "failed",
    ("failed", HandoffDecided): "failed",
    ("failed", Resumed): "queued",
    **{("cancelled", event): "cancelled" for event in OUTCOMES},
    ("cancelled", AttemptEnded): "cancelled",
}
"""(status before, event) → status after. What is absent is refused."""
