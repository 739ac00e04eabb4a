"""When a team ends: its termination condition and its limit of turns, kept outside of it.

AutoGen neither saves the progress of a condition nor lets it be read. A condition is a function
of the messages that it is shown, turn by turn; so the messages are kept, and it is shown them
again. That holds for conditions of the user's own, too.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any

from autogen_agentchat.base import TerminationCondition
from autogen_agentchat.conditions import TimeoutTermination

Messages = Sequence[Any]


class Ending:
    """``condition`` and ``turns_max`` are the team's own; either may be None."""

    def __init__(self, condition: TerminationCondition | None, turns_max: int | None) -> None:
        self._condition, self._turns_max = condition, turns_max

    async def restore(self, shown: Sequence[Messages], elapsed_s: float) -> str | None:
        """Show the condition what it was shown before, and count on from ``elapsed_s`` seconds.

        The reason to stop, where a changed condition has one already.
        """
        for number, messages in enumerate(shown, start=1):
            reason = await self._ask(messages)
            if reason is not None and number < len(shown):
                # The team went on, after a person it had handed over to.
                await self.begin_again()
            elif reason is not None:
                return reason
        for timer in _timers(self._condition):
            timer._start_time = time.monotonic() - elapsed_s
        return None

    async def after(self, messages: Messages, turns: int) -> str | None:
        """Why to stop after ``messages``, with ``turns`` made so far; None to go on."""
        reason = await self._ask(messages)
        if reason is None and self._turns_max is not None and turns >= self._turns_max:
            reason = f"Maximum number of turns {self._turns_max} reached."
        return reason

    async def begin_again(self) -> None:
        """Forget what the condition has seen."""
        if self._condition is not None:
            await self._condition.reset()

    async def _ask(self, messages: Messages) -> str | None:
        if self._condition is None:
            return None
        stop = await self._condition(messages)
        return None if stop is None else stop.content


def _timers(condition: Any) -> Iterator[TimeoutTermination]:
    if isinstance(condition, TimeoutTermination):
        yield condition
    for inner in getattr(condition, "_conditions", ()):
        yield from _timers(inner)
