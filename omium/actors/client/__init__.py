"""A client of a coordinator: what drivers, the command line and the HTTP API talk through."""

from __future__ import annotations

from omium.actors import messages as m
from omium.actors.client.control import Control
from omium.actors.client.reading import PAGE_ENTRIES_MAX, Lagged, News, Quiet, Reading
from omium.actors.client.record_keeping import RecordKeeping

__all__ = ["PAGE_ENTRIES_MAX", "Client", "Lagged", "News", "Quiet"]

DRAIN_MARGIN_S = 10.0


class Client(Control, Reading, RecordKeeping):
    """Talks to one coordinator, or to those of several shards, for one tenant. Every method may be
    repeated after an error.

    ``request``, where a method takes it, is the caller's own name for what is asked: the same
    name has the effect of one request for ever, and raises ``RequestConflict`` when it was
    used for something else.
    """

    async def runtime(self) -> m.RuntimeView:
        return await self._link.call(m.GetRuntime())

    async def begin_drain(self) -> int:
        """Begin no step any more. Returns how many attempts are in the middle of one."""
        drained = await self._link.call(m.BeginDrain(), deadline_s=DRAIN_MARGIN_S)
        return drained.attempts

    async def drain(self, grace_s: float) -> int:
        """Begin no step any more and wait for those under way, for ``grace_s`` seconds at most.
        Returns how many attempts are still in the middle of one."""
        drained = await self._link.call(
            m.Drain(grace_s=grace_s), deadline_s=grace_s + DRAIN_MARGIN_S
        )
        return drained.attempts

    async def stop_runtime(self) -> None:
        await self._link.call(m.StopRuntime(), deadline_s=5.0)
