"""The runtime that a command would start, in the process of the test and without Ray."""

from __future__ import annotations

import asyncio
from typing import Any

from omium.config import Settings
from omium.testing.runtime import InProcessRuntime


class DrivenInProcess(InProcessRuntime):
    """Stands in for ``omium.cli.driving.Runtime``: the same runtime, with what a driver asks."""

    def __init__(self, settings: Settings, **_: Any) -> None:
        super().__init__(settings.data_dir)

    async def watch(self) -> None:
        await asyncio.Event().wait()
