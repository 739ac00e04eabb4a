"""Reading journals as they grow. The cursor is the journal index, and the reader keeps it.

A read waits until there is something to give, so streams need no state here: a reader that
was cut off asks again from where it was, and a slow one simply asks later.
"""

from __future__ import annotations

import asyncio

from omium.actors.messages import Entries, ReadJournal
from omium.errors import NotFound, OmiumError, Unavailable
from omium.storage.replica import Replica
from omium.types import ExecutionId

PAGE_ENTRIES = 100
WAIT_S_MAX = 30.0
READERS_MAX = 1_024
_STOPPED = ("completed", "failed", "cancelled", "paused")


class Readers:
    """Those who wait for journals to grow, woken after each commit."""

    def __init__(self, replica: Replica) -> None:
        self._replica = replica
        self._grown: dict[ExecutionId, asyncio.Event] = {}
        self._waiting = 0
        self._trouble: OmiumError | None = None

    def fail(self, trouble: OmiumError) -> None:
        """Nothing can be committed now: tell all who wait, for they might wait for ever."""
        self._trouble = trouble
        for execution_id in list(self._grown):
            self._grown.pop(execution_id).set()

    def committed(self, execution_id: ExecutionId) -> None:
        """Wake the readers of an execution whose journal has grown."""
        self._trouble = None
        event = self._grown.pop(execution_id, None)
        if event is not None:
            event.set()

    async def read(self, message: ReadJournal) -> Entries:
        """Entries after ``message.after``; none when nothing came for ``WAIT_S_MAX`` seconds
        or the execution has stopped. Raises ``NotFound``, ``Unavailable``, and what keeps the
        coordinator from committing."""
        if self._waiting >= READERS_MAX:
            raise Unavailable(f"{READERS_MAX} readers wait already")
        self._waiting += 1
        try:
            async with asyncio.timeout(WAIT_S_MAX):
                while True:
                    answer = self._page(message)
                    if answer.entries or answer.stopped:
                        return answer
                    if self._trouble is not None:
                        raise self._trouble
                    # No commit comes in between: both happen in one turn of the event loop.
                    grown = self._grown.setdefault(message.execution_id, asyncio.Event())
                    await grown.wait()
        except TimeoutError:
            return self._page(message)
        finally:
            self._waiting -= 1

    def _page(self, message: ReadJournal) -> Entries:
        state = self._replica.state(message.execution_id)
        if state is None:
            raise NotFound("execution", message.execution_id, "`omium ps` lists what there is")
        entries = self._replica.journal.entries(
            message.execution_id, after=message.after, limit=PAGE_ENTRIES
        )
        last = entries[-1].index if entries else message.after
        stopped = state.status in _STOPPED and last >= state.index
        return Entries(entries=tuple(entries), stopped=stopped)
