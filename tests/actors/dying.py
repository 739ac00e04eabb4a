"""A coordinator that dies in the middle of a commit, and comes back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from omium.execution.events import Append, type_of
from tests.actors.stage import Stage, stage


class Died(Exception):
    """Stands for the death of a coordinator."""


@asynccontextmanager
async def dying_stage(
    directory: Path, event: str, *, committed: bool
) -> AsyncIterator[tuple[Stage, Callable[[], Awaitable[None]]]]:
    """A stage whose coordinator dies once: before the first event of that type is committed, or
    after. What comes with it waits for the death, and starts the coordinator again."""
    died = asyncio.Event()

    def observer(append: Append, after: bool) -> None:
        if after == committed and not died.is_set() and event in map(type_of, append.events):
            died.set()
            raise Died

    async with stage(directory, observer=observer) as s:
        asyncio.get_running_loop().set_exception_handler(_expect_death)

        async def back() -> None:
            await died.wait()
            await s.runtime.stop_coordinator()
            await s.runtime.start_coordinator()

        yield s, back


def _expect_death(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    if not isinstance(context.get("exception"), Died):
        loop.default_exception_handler(context)
