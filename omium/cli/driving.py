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
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO, TypeVar

from omium.actors.client import Client
from omium.cli.displays import Display
from omium.cli.ending import STOP_TIMEOUT_S, abandon, signals
from omium.cli.telling import Drive
from omium.config import Settings
from omium.errors import DeadlineExceeded, OmiumError
from omium.execution.events import Entry
from omium.runtime.prepare import Prepared
from omium.runtime.runtime import Runtime
from omium.types import ExecutionId

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


def submission(
    prepared: Prepared, labels: Mapping[str, str], execution_id: ExecutionId
) -> Callable[[Client], Awaitable[ExecutionId]]:
    """How an execution of what was prepared is created. Doing it twice creates one."""

    async def begin(client: Client) -> ExecutionId:
        return await client.submit(
            prepared.workflow,
            prepared.inputs,
            model=prepared.model,
            import_paths=prepared.import_paths,
            code=await client.put_code(prepared.code),
            execution_id=execution_id,
            labels=labels,
        )

    return begin


async def drive(settings: Settings, work: Work, display: Display) -> Drive:
    """Run ``work`` on a runtime of its own until the execution ends, pauses, or a signal comes."""
    ending = Drive()

    def stopping(number: int) -> None:
        ending.signal = number
        display.stage("stopping")

    try:
        await until_signal(_run(settings, work, display, ending), stopping)
    except OmiumError as error:
        ending.error = error
    return ending


async def until_signal(work: Coroutine[Any, Any, None], stopping: Callable[[int], None]) -> None:
    """``work`` to its end, or until a signal comes. ``stopping`` is told its number before
    ``work`` is cancelled, and this process is ended by force where that does not end it."""
    signalled = False
    async with signals() as received:
        task = asyncio.create_task(work)
        try:
            await asyncio.wait({task, received}, return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                signalled = True
                stopping(received.result())
        finally:
            # Also when nobody listens any more: a display that writes into a closed pipe raises.
            task.cancel()
            if not (await asyncio.wait({task}, timeout=STOP_TIMEOUT_S))[0]:
                abandon(STOP_TIMEOUT_S)
        try:
            task.result()
        except asyncio.CancelledError:
            if not signalled:
                raise


async def _run(settings: Settings, work: Work, display: Display, ending: Drive) -> None:
    runtime = Runtime(
        settings,
        warm=work.warm,
        show_worker_output=work.show_worker_output,
        report=display.stage,
    )
    async with runtime:
        await unless_lost(runtime, follow(runtime.client, work, display, ending))
        display.stage("stopping the runtime")


async def unless_lost(runtime: Runtime, work: Coroutine[Any, Any, _T]) -> _T:
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


async def follow(client: Client, work: Work, display: Display, ending: Drive) -> None:
    """Begin ``work`` on a runtime that is there, and show it until it ends or pauses.

    ``ending`` is filled meanwhile. Raises ``DeadlineExceeded`` after the work's ``timeout_s``,
    and what kept it from beginning.
    """
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
