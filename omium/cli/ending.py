"""How a program that started other processes ends: on the first signal, and by force at last."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NoReturn

import psutil

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
STOP_TIMEOUT_S = 60.0


def abandon(limit_s: float = STOP_TIMEOUT_S) -> NoReturn:
    """End this process and all that it started by force: a thread of Ray's may hang for ever,
    and Python waits for threads."""
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    with contextlib.suppress(OSError):
        os.write(2, f"error: no end within {limit_s:g} s; killed\n".encode())
    os._exit(1)


@asynccontextmanager
async def signals() -> AsyncIterator[asyncio.Future[int]]:
    """The first signal that asks this process to end. Further ones change nothing: ending is
    under way and bounded, and to be cut off in it would leave processes behind."""
    loop = asyncio.get_running_loop()
    received: asyncio.Future[int] = loop.create_future()

    def take(number: int) -> None:
        if not received.done():
            received.set_result(number)

    # Under nohup a hang-up is ignored, and stays so.
    taken = [n for n in SIGNALS if n != signal.SIGHUP or signal.getsignal(n) != signal.SIG_IGN]
    for number in taken:
        loop.add_signal_handler(number, take, number)
    try:
        yield received
    finally:
        for number in taken:
            loop.remove_signal_handler(number)
