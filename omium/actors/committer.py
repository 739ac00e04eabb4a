"""Group commit: commands that arrive in one turn of the event loop share one fsync.

Nothing is acknowledged before it is on disk; nothing else is done here.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

from msgspec.structs import replace

from omium.actors.ordering import CommitResult, Order
from omium.clock import Clock
from omium.errors import OmiumError
from omium.execution.commands import Command
from omium.execution.events import Append, Entry, Event, Request
from omium.storage.replica import Written
from omium.types import ExecutionId

log = logging.getLogger(__name__)

CommitObserver = Callable[[Append, bool], None]
"""Called with each append before (False) and after (True) its commit: faults for crash tests."""

BATCH_APPENDS_MAX = 4_096


class Committer:
    """The only way into the journal. ``on_written`` is called with the entries of each append
    after its own ``then``."""

    def __init__(
        self,
        order: Order,
        clock: Clock,
        *,
        on_written: Callable[[tuple[Entry, ...]], None],
        on_trouble: Callable[[OmiumError], None],
        observer: CommitObserver | None = None,
    ) -> None:
        self._order = order
        self._clock = clock
        self._on_written = on_written
        self._on_trouble = on_trouble
        self.trouble: OmiumError | None = None
        """Why the last batch was not committed; None once one was again."""
        self._observer = observer
        self._batch: list[tuple[Command, Callable[[CommitResult], None]]] = []
        self._under_way = 0
        self._due = False

    @property
    def is_idle(self) -> bool:
        """Whether nothing waits to be committed, so that committed state is all there is."""
        return not self._batch and not self._under_way

    def own(
        self,
        execution_id: ExecutionId,
        *events: Event,
        then: Callable[[CommitResult], None] | None = None,
        request: Request | None = None,
    ) -> None:
        """Append as the coordinator itself, for a client's ``request`` where it has a name."""
        self.submit(Append(execution_id=execution_id, events=events, request=request), then)

    def submit(self, command: Command, then: Callable[[CommitResult], None] | None = None) -> None:
        """Commit with the rest of this turn's commands; ``then`` gets what became of it."""
        self._batch.append((command, then or _log_unless_written))
        if not self._due:
            self._due = True
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        batch, self._batch = self._batch[:BATCH_APPENDS_MAX], self._batch[BATCH_APPENDS_MAX:]
        self._due = bool(self._batch)
        if self._due:
            asyncio.get_running_loop().call_soon(self._flush)
        now_ms = self._clock.now_ms()
        commands = [replace(command, at_ms=now_ms) for command, _ in batch]
        self._observe(commands, committed=False)
        self._under_way += 1
        self._order.carry_out(commands, lambda results: self._settle(batch, commands, results))

    def _settle(
        self,
        batch: Sequence[tuple[Command, Callable[[CommitResult], None]]],
        commands: list[Command],
        results: Sequence[CommitResult],
    ) -> None:
        self._under_way -= 1
        self.trouble = next((r for r in results if isinstance(r, OmiumError)), None)
        if self.trouble is not None:
            self._on_trouble(self.trouble)
        self._observe(commands, committed=True)
        for (_, then), result in zip(batch, results, strict=True):
            try:
                then(result)
                if isinstance(result, Written):
                    self._on_written(result.entries)
            except OmiumError:
                # The others of this batch must hear of their commits all the same.
                log.exception("what follows from a commit failed")

    def _observe(self, commands: list[Command], *, committed: bool) -> None:
        if self._observer is not None:
            for command in commands:
                if isinstance(command, Append):
                    self._observer(command, committed)


def _log_unless_written(result: CommitResult) -> None:
    if not isinstance(result, Written):
        log.warning("an append of the coordinator was not written: %s", result)
