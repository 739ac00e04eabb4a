"""The shipper: brings what the coordinator commits to an archive, in the background.

Nothing waits for it, and its failures lose nothing: they make longer what a total loss would
cost, which ``view`` tells. It reads the replica's file, beside whoever writes it.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass

from omium.actors import messages as m
from omium.clock import Clock
from omium.errors import Conflict, OmiumError
from omium.storage.archive import Archive
from omium.storage.replica import Replica
from omium.storage.shipping import Shipment, lasting_id

log = logging.getLogger(__name__)

PAUSE_S_MAX = 30.0


@dataclass(frozen=True, kw_only=True)
class ShippingSettings:
    """Where to: ``archive``, named ``url`` to people. What was committed is shipped every
    ``interval_s`` seconds."""

    archive: Archive
    url: str
    interval_s: float = 1.0


class Shipper:
    """See the module's docstring. Lives in the coordinator's event loop."""

    def __init__(self, replica: Replica, clock: Clock, settings: ShippingSettings) -> None:
        self._replica = replica
        self._clock = clock
        self._settings = settings
        self._shipment: Shipment | None = None
        self._whole_s = clock.monotonic_s()
        self._trouble = ""
        self._task: asyncio.Task[None] | None = None
        replica.shipped = 0

    def start(self) -> None:
        """Begin to ship; ``stop`` ends it."""
        self._task = asyncio.create_task(self._run(), name="omium-shipper")

    async def stop(self) -> None:
        """Ship no more. The next start goes on where this one ends."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        self._replica.shipped = None

    async def flush(self, timeout_s: float) -> None:
        """Ship what is left, as at an end in good order. Whether that worked is in ``view``."""
        await self.stop()
        try:
            async with asyncio.timeout(timeout_s):
                await self._ship()
        except TimeoutError:
            self._trouble = f"the last entries were not shipped within {timeout_s:g} s"
        except OmiumError as error:
            self._trouble = str(error)
        else:
            self._trouble = ""
        if self._trouble:
            log.warning("shipping to %s: %s", self._settings.url, self._trouble)

    def view(self) -> m.ArchiveView:
        """How far it has come, and how much a total loss would cost now."""
        shipped = self._shipment.shipped if self._shipment is not None else 0
        applied = self._replica.applied
        behind_s = self._clock.monotonic_s() - self._whole_s if shipped < applied else 0.0
        return m.ArchiveView(
            url=self._settings.url,
            shipped=shipped,
            committed=applied,
            behind_ms=round(1_000 * behind_s),
            trouble=self._trouble,
        )

    async def _run(self) -> None:
        pause_s = self._settings.interval_s
        while True:
            try:
                await self._ship()
            except Conflict as error:
                # Another is the writer, or ought to be: to go on would do harm.
                self._trouble = str(error)
                log.error("shipping to %s stopped: %s", self._settings.url, error)
                self._replica.shipped = None
                return
            except OmiumError as error:
                pause_s = min(2 * pause_s, PAUSE_S_MAX)
                url = self._settings.url
                log.warning("shipping to %s, again in %g s: %s", url, pause_s, error)
                self._trouble = str(error)
            else:
                pause_s = self._settings.interval_s
                self._trouble = ""
            await asyncio.sleep(pause_s)

    async def _ship(self) -> None:
        if self._shipment is None:
            path = self._replica.path
            name = await asyncio.to_thread(lasting_id, path, self._clock)
            shipment = Shipment(self._settings.archive, path, replica=name, clock=self._clock)
            await shipment.begin()
            self._shipment = shipment
        going_on = True
        while going_on:
            began_s = self._clock.monotonic_s()
            going_on = await self._shipment.step()
            self._replica.shipped = self._shipment.shipped
            if not going_on:
                self._whole_s = began_s
