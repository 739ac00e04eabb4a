"""Driving one execution from here: start a runtime, let it go on, watch it, stop the runtime.

Whatever happens, a signal and the death of Ray included, everything that was started is ended
before ``drive`` returns. It shows nothing itself; that is the display's business.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import logging.handlers
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO, TypeVar

from omium.actors.client import Client
from omium.actors.messages import ExecutionView
from omium.cli.displays import Display
from omium.cli.ending import STOP_TIMEOUT_S, abandon, signals
from omium.config import Settings
from omium.errors import DeadlineExceeded, OmiumError
from omium.execution.events import Entry, StepCompleted
from omium.runtime.runtime import Runtime
from omium.types import ExecutionId, Json

RAY_LOG_NAME = "driver.log"
RAY_LOG_BYTES_MAX = 1024 * 1024

_T = TypeVar("_T")


@dataclass(frozen=True, kw_only=True)
class Work:
    """What to do once a runtime is there.

    ``begin`` makes the execution go on, or creates it, and returns its id; ``past`` is what
    its journal held before. ``warm`` is how many workers of each framework to have ready.
    """

    begin: Callable[[Client], Awaitable[ExecutionId]]
    past: tuple[Entry, ...] = ()
    warm: Mapping[str, int]
    timeout_s: float | None = None
    show_worker_output: bool = False


@dataclass(kw_only=True)
class Drive:
    """How it went. ``view`` is set when the execution ended or paused by itself, ``signal``
    when a signal came first, ``error`` when something else did. ``checkpoints`` are journal
    index and agent of each."""

    execution_id: ExecutionId | None = None
    view: ExecutionView | None = None
    output: Json = None
    elapsed_s: float = 0.0
    checkpoints: list[tuple[int, str]] = field(default_factory=list[tuple[int, str]])
    signal: int | None = None
    error: OmiumError | None = None

    def note(self, entry: Entry) -> None:
        """Keep what is told of an entry at the end."""
        if isinstance(entry.event, StepCompleted):
            self.checkpoints.append((entry.index, entry.event.agent))


async def drive(settings: Settings, work: Work, display: Display) -> Drive:
    """Run ``work`` on a runtime of its own until the execution ends, pauses, or a signal comes."""
    ending = Drive()
    async with signals() as received:
        task = asyncio.create_task(_run(settings, work, display, ending))
        try:
            await asyncio.wait({task, received}, return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                ending.signal = received.result()
                display.stage("stopping")
        finally:
            # Also when nobody listens any more: a display that writes into a closed pipe raises.
            task.cancel()
            if not (await asyncio.wait({task}, timeout=STOP_TIMEOUT_S))[0]:
                abandon()
        try:
            task.result()
        except asyncio.CancelledError:
            if ending.signal is None:
                raise
        except OmiumError as error:
            ending.error = error
    return ending


async def _run(settings: Settings, work: Work, display: Display, ending: Drive) -> None:
    runtime = Runtime(
        settings,
        warm=work.warm,
        show_worker_output=work.show_worker_output,
        report=display.stage,
    )
    async with runtime:
        await _unless_lost(runtime, _follow(runtime.client, work, display, ending))


async def _unless_lost(runtime: Runtime, work: Coroutine[Any, Any, _T]) -> _T:
    """``work``, or ``Unavailable`` as soon as the Ray beneath has died."""
    watch = asyncio.create_task(runtime.watch())
    task = asyncio.create_task(work)
    try:
        await asyncio.wait({watch, task}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            watch.result()
        return await task
    finally:
        for one in (watch, task):
            one.cancel()
        await asyncio.gather(watch, task, return_exceptions=True)


async def _follow(client: Client, work: Work, display: Display, ending: Drive) -> None:
    started_s = time.monotonic()
    execution_id = await work.begin(client)
    ending.execution_id = execution_id
    display.opened(execution_id, work.past)
    after = work.past[-1].index if work.past else 0
    for entry in work.past:
        ending.note(entry)
    try:
        async with asyncio.timeout(work.timeout_s):
            async for entry in client.events(execution_id, after):
                ending.note(entry)
                display.entry(entry)
    except TimeoutError as error:
        raise DeadlineExceeded(f"execution {execution_id}", work.timeout_s or 0) from error
    finally:
        ending.elapsed_s = time.monotonic() - started_s
    view = await client.view(execution_id)
    if view.status == "completed":
        ending.output = await client.output_of(view)
    ending.view = view
    display.stage("stopping the runtime")


@contextlib.contextmanager
def ray_output_to(directory: Path, stream: TextIO | None) -> Iterator[None]:
    """Keep logs, and what Ray prints in this process, off the terminal: Ray prints to stdout,
    where results belong. They go to ``stream``, else into a file in ``directory``."""
    handler: logging.Handler
    if stream is not None:
        handler = logging.StreamHandler(stream)
    else:
        handler = logging.handlers.RotatingFileHandler(
            directory / RAY_LOG_NAME, maxBytes=RAY_LOG_BYTES_MAX, backupCount=1, delay=True
        )
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root, ray = logging.getLogger(), logging.getLogger("ray")
    root.addHandler(handler)
    # Told not to configure logging, Ray takes its handlers away but goes on to keep its records
    # from the root's.
    before, ray.propagate = ray.propagate, True
    try:
        with contextlib.redirect_stdout(_Printed(ray)):  # pyright: ignore[reportArgumentType]
            yield
    finally:
        ray.propagate = before
        root.removeHandler(handler)
        handler.close()


class _Printed:
    """A text stream whose lines become records of a logger."""

    def __init__(self, log: logging.Logger) -> None:
        self._log = log

    def write(self, text: str) -> int:
        for line in text.splitlines():
            if line.strip():
                self._log.warning(line.rstrip())
        return len(text)

    def flush(self) -> None: ...

    def isatty(self) -> bool:
        return False
