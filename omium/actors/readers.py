"""Reading journals as they grow. The cursor is the journal index, and the reader keeps it.

A read waits until there is something to give, so streams need no state here: a reader that
was cut off asks again from where it was, and a slow one simply asks later.
"""

from __future__ import annotations

import asyncio

from omium.actors.live import LiveTails
from omium.actors.messages import Deltas, Entries, ReadJournal
from omium.errors import NotFound, OmiumError, Unavailable
from omium.storage.replica import Replica
from omium.types import ExecutionId

PAGE_ENTRIES = 100
WAIT_S_MAX = 30.0
READERS_MAX = 16_384
_ENDED = ("completed", "failed", "cancelled")


class Readers:
    """Those who wait for journals to grow, woken after each commit and by live extras."""

    def __init__(self, replica: Replica) -> None:
        self._replica = replica
        self._grown: dict[ExecutionId, asyncio.Event] = {}
        self._halted: dict[ExecutionId, asyncio.Event] = {}
        self._waiting = 0
        self._trouble: OmiumError | None = None
        self._live = LiveTails()

    def fail(self, trouble: OmiumError) -> None:
        """Nothing can be committed now: tell all who wait, for they might wait for ever."""
        self._trouble = trouble
        for waiting in (self._grown, self._halted):
            for execution_id in list(waiting):
                _wake(waiting, execution_id)

    def committed(self, execution_id: ExecutionId, *, stopped: bool) -> None:
        """Wake the readers of an execution whose journal has grown, and where it has ``stopped``
        those who wait for that alone."""
        self._trouble = None
        _wake(self._grown, execution_id)
        if stopped:
            _wake(self._halted, execution_id)

    def ended(self, execution_id: ExecutionId) -> None:
        """No live extras follow."""
        self._live.forget(execution_id)

    def tell(self, message: Deltas) -> None:
        """Pass live extras on to those who watch; they are dropped where nobody does."""
        if self._live.add(message.execution_id, message.deltas):
            _wake(self._grown, message.execution_id)

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
                    if answer.entries or answer.stopped or answer.deltas or not message.wait:
                        return answer
                    if self._trouble is not None:
                        raise self._trouble
                    # No commit comes in between: both happen in one turn of the event loop.
                    waiting = self._halted if message.until_stopped else self._grown
                    event = waiting.setdefault(message.execution_id, asyncio.Event())
                    await event.wait()
        except TimeoutError:
            return self._page(message)
        finally:
            self._waiting -= 1

    def _page(self, message: ReadJournal) -> Entries:
        state = self._replica.state(message.execution_id)
        if state is None or state.tenant != message.tenant:
            raise NotFound("execution", message.execution_id, "`omium ps` lists what there is")
        waits = state.status == "paused" and not message.through_pauses
        halted = waits or state.status in _ENDED
        if message.until_stopped:
            return Entries(entries=(), stopped=halted)
        entries = self._replica.journal.entries(
            message.execution_id, after=message.after, limit=min(message.limit, PAGE_ENTRIES)
        )
        last = entries[-1].index if entries else message.after
        stopped = halted and last >= state.index
        if message.live_after is None or stopped:
            return Entries(entries=tuple(entries), stopped=stopped)
        news = self._live.after(message.execution_id, message.live_after)
        return Entries(
            entries=tuple(entries),
            stopped=False,
            deltas=news.deltas,
            dropped=news.dropped,
            live=news.newest,
        )


def _wake(waiting: dict[ExecutionId, asyncio.Event], execution_id: ExecutionId) -> None:
    event = waiting.pop(execution_id, None)
    if event is not None:
        event.set()
