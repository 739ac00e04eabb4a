"""Running a service: here until a signal comes, or in a process of its own.

Imports Ray, which takes a second: only when a service is started here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from omium.cli.ending import STOP_TIMEOUT_S, abandon, signals
from omium.config import Settings
from omium.runtime.service import Service, Welcome
from omium.runtime.service_file import ServiceRecord


async def serve_here(
    settings: Settings,
    *,
    dashboard: bool,
    welcome: Welcome,
    ready: Callable[[ServiceRecord], None],
    report: Callable[[str], None],
) -> int:
    """Serve until a signal comes, and return its number. Raises what kept the service from
    starting, and ``Unavailable`` once Ray has died. Whatever happens, nothing is left behind."""
    service = Service(settings, dashboard=dashboard, welcome=welcome, report=report)
    limit_s = settings.service.grace_s + STOP_TIMEOUT_S
    async with signals() as received:
        task = asyncio.create_task(_serve(service, ready))
        try:
            await asyncio.wait({task, received}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            task.cancel()
            if not (await asyncio.wait({task}, timeout=limit_s))[0]:
                abandon(limit_s)
        try:
            task.result()
        except asyncio.CancelledError:
            if not received.done():
                raise
        return received.result()


async def _serve(service: Service, ready: Callable[[ServiceRecord], None]) -> None:
    async with service:
        ready(service.record)
        await service.watch()
