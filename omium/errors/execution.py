"""How an execution that has no result ended, or stopped.

Owns what is told to who waits for an execution. Not whose fault it was: that is on record, as
the kind of its failure.
"""

from __future__ import annotations

from omium.errors.base import OmiumError


class ExecutionError(OmiumError):
    """An execution that has no result; ``execution_id`` names it."""

    kind = "execution"
    exit_code = 3

    def __init__(self, execution_id: str, reason: str) -> None:
        super().__init__(execution_id, reason)
        self.execution_id, self.reason = execution_id, reason

    def __str__(self) -> str:
        return f"{self.execution_id}: {self.reason}"


class ExecutionFailed(ExecutionError):
    """The execution failed; ``failure_kind`` is the ``kind`` of its failure record."""

    kind = "execution_failed"

    def __init__(self, execution_id: str, reason: str, failure_kind: str = "internal") -> None:
        super().__init__(execution_id, reason)
        self.args = (execution_id, reason, failure_kind)
        self.failure_kind = failure_kind


class ExecutionPaused(ExecutionError):
    """The execution waits for a decision that ``omium resume`` can give."""

    kind = "execution_paused"
    exit_code = 4


class ExecutionCancelled(ExecutionError):
    """The execution was cancelled."""

    kind = "execution_cancelled"
    exit_code = 5
