"""What a workflow consists of, read again whenever files change: definition, code and inputs.

Says what is to run now, and when that is something else than before. It runs nothing. What
counts is what was read: a file that is saved without a change is no edit.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self, TypeAlias

from watchfiles import DefaultFilter, awatch

from omium.errors import InputError, OmiumError, Unavailable
from omium.runtime.prepare import Prepared
from omium.storage.code_bundle import changes_between

DEBOUNCE_MS = 200
"""So long an editor is waited for that writes several files, or one in several strokes."""
SETTLED_MS = 1_000
"""After so long a watch is taken to be at work; what changed before is read once more."""

Reading: TypeAlias = "Prepared | OmiumError"
"""What can be run, or why nothing can."""


@dataclass(frozen=True, kw_only=True)
class Edit:
    """What is to run now. ``changed`` says how it differs from before, empty the first time."""

    reading: Reading
    changed: tuple[str, ...] = ()


class Edits:
    """The edits of one workflow. ``next`` may be asked within ``watching``."""

    def __init__(
        self, read: Callable[[], Prepared], files: Collection[Path], leave_out: Collection[Path]
    ) -> None:
        """``read`` reads everything anew, and raises an ``OmiumError`` where it cannot be run.
        ``files`` are those that it reads beside the code. What lies in ``leave_out`` may change."""
        self._read = read
        self._files = tuple(file.absolute() for file in files)
        self._filter = DefaultFilter(ignore_paths=[path.absolute() for path in leave_out])
        self._watches: dict[tuple[Path, bool], asyncio.Task[None]] = {}
        self._woken = asyncio.Event()
        self._last: Reading | None = None

    @contextlib.asynccontextmanager
    async def watching(self) -> AsyncIterator[Self]:
        """Look at the files as long as this lasts. Raises ``InputError`` where one's folder is
        missing; a missing file may come."""
        for file in self._files:
            if not file.parent.is_dir():
                raise InputError(f"there is no folder {str(file.parent)!r}")
        self._woken.set()
        for file in self._files:
            # Beside a definition there may be anything: only its code is looked for below.
            self._watch(file.parent, recursive=False)
        try:
            yield self
        finally:
            watches = self._watches.values()
            for watch in watches:
                watch.cancel()
            await asyncio.gather(*watches, return_exceptions=True)
            self._watches.clear()

    async def next(self) -> Edit:
        """Wait until something else is to run than what was returned last; at first at once.

        Raises ``Unavailable`` where this machine cannot watch files.
        """
        while True:
            woken = asyncio.create_task(self._woken.wait())
            try:
                await asyncio.wait(
                    {woken, *self._watches.values()}, return_when=asyncio.FIRST_COMPLETED
                )
            finally:
                woken.cancel()
            for watch in self._watches.values():
                if watch.done():
                    watch.result()
            self._woken.clear()
            reading = await asyncio.to_thread(self._reading)
            if not isinstance(reading, OmiumError) and reading.code is not None:
                for folder in reading.code.folders:
                    self._watch(Path(folder), recursive=True)
            changed = () if self._last is None else tuple(differences(self._last, reading))
            if self._last is None or changed:
                self._last = reading
                return Edit(reading=reading, changed=changed)

    def _reading(self) -> Reading:
        try:
            return self._read()
        except OmiumError as error:
            return error

    def _watch(self, folder: Path, *, recursive: bool) -> None:
        if (folder, recursive) not in self._watches:
            self._watches[folder, recursive] = asyncio.create_task(
                self._wake(folder, recursive), name=f"omium-watch-{folder}"
            )

    async def _wake(self, folder: Path, recursive: bool) -> None:
        settled = False
        try:
            async for changes in awatch(
                folder,
                watch_filter=self._filter,
                recursive=recursive,
                debounce=DEBOUNCE_MS,
                rust_timeout=SETTLED_MS,
                yield_on_timeout=True,
            ):
                if changes or not settled:
                    self._woken.set()
                settled = True
        except (OSError, RuntimeError) as error:
            raise Unavailable(
                f"cannot watch {str(folder)!r}: {error} (WATCHFILES_FORCE_POLLING=1 does it "
                "without help from the system)"
            ) from error


def differences(before: Reading, now: Reading) -> Iterator[str]:
    """What differs between two readings, in words; nothing where they are the same to run."""
    if isinstance(before, OmiumError) or isinstance(now, OmiumError):
        if str(before) != str(now):
            yield "the definition"
        return
    if before.workflow.to_data() != now.workflow.to_data():
        yield "the definition"
    if before.inputs != now.inputs:
        yield "the inputs"
    if before.code is not None and now.code is not None:
        code = changes_between(before.code.data, now.code.data)
        if code:
            yield f"the code ({code})"
    elif before.code is not now.code:
        yield "the code"
