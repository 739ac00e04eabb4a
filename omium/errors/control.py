"""Control flow of attempts: no errors, and not of their tree.

Owns what ends an attempt, or a call, from inside the user's code. Derives from
``BaseException``, so that the user's ``except Exception`` cannot swallow it. No blame, no exit
code, no failure record.
"""

from __future__ import annotations


class Control(BaseException):
    """Control flow of the runtime. Derives from ``BaseException`` on purpose."""


class AttemptFenced(Control):
    """This attempt was superseded and must stop without another effect."""


class AttemptCancelled(Control):
    """The execution was cancelled; this attempt must stop."""


class OutcomeUnknown(Control):
    """A call was started by an earlier attempt, and how it ended is on no record.

    Raised where running the call again is not declared safe: the execution pauses for a
    decision instead.
    """

    def __init__(self, call: str, call_index: int) -> None:
        super().__init__(call, call_index)
        self.call, self.call_index = call, call_index

    def __str__(self) -> str:
        return f"the outcome of {self.call} (journal index {self.call_index}) is unknown"


class Asked(Control):
    """Somebody was asked, and this attempt ends until there is an answer.

    ``call`` is the journal index of what was asked; the execution goes on from there.
    """

    def __init__(self, call: int, text: str = "") -> None:
        super().__init__(call, text)
        self.call, self.text = call, text

    def __str__(self) -> str:
        return f"waits for an answer to {self.text!r} (journal index {self.call})"


class Suspended(Control):
    """A tool stopped to ask somebody: its call is not over, and is made again when there is an
    answer."""


class HostLost(Control):
    """A process that hosts a part of the agent died: the attempt ends as if its worker had.

    What the process was at has no known end, so it is no failure of the agent or of a tool.
    """
