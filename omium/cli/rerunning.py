"""Running a workflow again whenever it is edited, on one runtime that stays warm.

An edit ends the run that is under way: what counts is what the files say now.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field

from omium.actors.client import Client
from omium.cli.displays import Display, display_for
from omium.cli.driving import Work, follow, submission, unless_lost, until_signal
from omium.cli.edits import Edit, Edits
from omium.cli.places import Place
from omium.cli.telling import Drive, signal_name, tell
from omium.cli.terminal import out_json, say, tell_error
from omium.clock import SystemClock
from omium.config import Settings
from omium.errors import Conflict, DeadlineExceeded, NotFound, OmiumError, Unavailable
from omium.runtime.prepare import Prepared
from omium.runtime.runtime import Runtime, warm_for
from omium.types import ExecutionId

IDLE_MAX = 4
"""Idle workers that are kept of a workflow that has fewer agents. Older ones have imported code
that was edited since, and each holds hundreds of megabytes."""
_BY = "omium dev"


@dataclass(frozen=True, kw_only=True)
class Wishes:
    """How a workflow is to be run and shown."""

    labels: Mapping[str, str] = field(default_factory=dict[str, str])
    timeout_s: float | None = None
    as_json: bool = False
    quiet: bool = False
    show_worker_output: bool = False


class Rerunner:
    """Runs what ``edits`` says, until a signal comes. To be used once."""

    def __init__(self, place: Place, edits: Edits, wishes: Wishes) -> None:
        """To be made while stdout is still where results are to go."""
        self._place = place
        self._edits = edits
        self._wishes = wishes
        self._stdout = sys.stdout
        self._clock = SystemClock()
        self._display: Display | None = None
        self._drive = Drive()

    async def run(self) -> int:
        """Returns an exit code: the signal's, or that of what kept it from going on."""
        drive: Drive | None = None
        try:
            await until_signal(self._watch(), self._stopping)
        except OmiumError as error:
            self._drive.error = error
        finally:
            drive = self._drive
            self._close()
        if drive.signal is not None and drive.execution_id is None:
            say(signal_name(drive.signal))
            return 128 + drive.signal
        return self._tell(drive)

    def _stopping(self, number: int) -> None:
        self._drive.signal = number
        self._shown.stage("stopping")

    async def _watch(self) -> None:
        async with self._edits.watching():
            prepared = await self._runnable(await self._edits.next())
            runtime = Runtime(
                _settings_for(prepared, self._place.settings),
                warm=warm_for(prepared.workflow, self._place.settings.pool.spare),
                show_worker_output=self._wishes.show_worker_output,
                report=self._shown.stage,
            )
            async with runtime:
                await unless_lost(runtime, self._rerun(runtime.client, prepared))

    async def _rerun(self, client: Client, prepared: Prepared) -> None:
        """Run, and run again with each edit. Never returns."""
        while True:
            execution_id = ExecutionId(self._clock.new_id("ex"))
            edited = asyncio.create_task(self._edits.next())
            running = asyncio.create_task(self._one(client, prepared, execution_id))
            try:
                await asyncio.wait({edited, running}, return_when=asyncio.FIRST_COMPLETED)
                superseded = not running.done()
                if not superseded:
                    running.result()
                edit = await edited
            finally:
                edited.cancel()
                running.cancel()
                await asyncio.gather(edited, running, return_exceptions=True)
            if superseded:
                await _cancelled(client, execution_id)
                self._close()
                self._drive = Drive()
            prepared = await self._runnable(edit)

    async def _runnable(self, edit: Edit) -> Prepared:
        """Tell of an edit, and of those that follow until one can be run."""
        while True:
            self._tell_changed(edit)
            if not isinstance(edit.reading, OmiumError):
                return edit.reading
            with contextlib.redirect_stdout(self._stdout):
                tell_error(edit.reading, as_json=self._wishes.as_json)
            self._tell_waiting()
            edit = await self._edits.next()

    async def _one(self, client: Client, prepared: Prepared, execution_id: ExecutionId) -> None:
        work = Work(
            begin=submission(prepared, self._wishes.labels, execution_id),
            warm={},
            timeout_s=self._wishes.timeout_s,
        )
        drive = self._drive = Drive()
        try:
            await follow(client, work, self._shown, drive)
        except Unavailable:
            raise
        except DeadlineExceeded as error:
            drive.error = error
            # It would go on unseen.
            with contextlib.suppress(Conflict):
                await client.interrupt(execution_id, by=_BY, detail=str(error))
        except OmiumError as error:
            drive.error = error
        self._close()
        self._tell(drive)
        self._drive = Drive()
        self._tell_waiting()

    # ------------------------------------------------------------------ what is shown

    @property
    def _shown(self) -> Display:
        if self._display is None:
            with contextlib.redirect_stdout(self._stdout):
                self._display = display_for(as_json=self._wishes.as_json, quiet=self._wishes.quiet)
        return self._display

    def _close(self) -> None:
        if self._display is not None:
            display, self._display = self._display, None
            display.close()

    def _tell(self, drive: Drive) -> int:
        with contextlib.redirect_stdout(self._stdout):
            wishes = self._wishes
            return tell(drive, self._place, as_json=wishes.as_json, quiet=wishes.quiet)

    def _tell_changed(self, edit: Edit) -> None:
        if edit.changed and self._wishes.as_json:
            out_json({"type": "changed", "changed": list(edit.changed)}, stream=self._stdout)
        elif edit.changed and not self._wishes.quiet:
            say(f"changed: {', '.join(edit.changed)}")

    def _tell_waiting(self) -> None:
        if not self._wishes.quiet:
            say("waiting for an edit; Ctrl-C ends")


async def _cancelled(client: Client, execution_id: ExecutionId) -> None:
    # It may have ended at this moment, or not have begun.
    with contextlib.suppress(Conflict, NotFound):
        await client.cancel(execution_id, by=_BY)


def _settings_for(prepared: Prepared, settings: Settings) -> Settings:
    """Without the workers of what was edited away, unless the user said how many to keep."""
    if settings.pool.idle_max is not None:
        return settings
    idle_max = max(IDLE_MAX, len(prepared.workflow.agents))
    pool = settings.pool.model_copy(update={"idle_max": idle_max})
    return settings.model_copy(update={"pool": pool})
