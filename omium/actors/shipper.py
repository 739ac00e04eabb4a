"""The shipper: brings what the coordinator commits to an archive, in the background.

Commits never wait for it, and its failures lose nothing: they make longer what a total loss would
cost, which ``view`` tells. Only answers wait, where that is wanted: see ``hold``. It reads the
replica's file, beside whoever writes it.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from dataclasses import dataclass

from omium.actors import messages as m
from omium.actors.holding import Held, Release
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
    ``interval_s`` seconds. With ``first``, clients are told of it only when it is there, or that it
    is not after ``wait_s`` seconds. Of the copies there ``copies_kept`` stay."""

    archive: Archive
    url: str
    interval_s: float = 1.0
    first: bool = False
    wait_s: float = 30.0
    copies_kept: int = 2


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
        self._held = Held()
        replica.shipped = 0

    def start(self) -> None:
        """Begin to ship; ``stop`` ends it."""
        self._task = asyncio.create_task(self._run(), name="omium-shipper")

    async def stop(self) -> None:
        """Ship no more. The next start goes on where this one ends."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        self._held.close("the coordinator ends")
        self._replica.shipped = None

    async def flush(self, timeout_s: float) -> None:
        """Ship what is left, as at an end in good order. Whether that worked is in ``view``."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
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

    @property
    def first(self) -> bool:
        """Whether clients are told of nothing that is not in the archive."""
        return self._settings.first

    def hold(self, release: Release, *, limited: bool) -> None:
        """Call ``release`` once everything that is committed now is in the archive. It is shipped
        at once. Where the wait is ``limited``, ``release`` is given ``NotShipped`` at its end."""
        index = self._replica.applied
        if index <= self._shipped:
            release(None)
            return
        limit_s = self._settings.wait_s if limited else None
        self._held.hold(index, release, limit_s, self._why)

    def _why(self) -> str:
        return self._trouble or f"it took longer than {self._settings.wait_s:g} s"

    @property
    def _shipped(self) -> int:
        return self._shipment.shipped if self._shipment is not None else 0

    def view(self) -> m.ArchiveView:
        """How far it has come, and how much a total loss would cost now."""
        shipped = self._shipped
        applied = self._replica.applied
        behind_s = self._clock.monotonic_s() - self._whole_s if shipped < applied else 0.0
        return m.ArchiveView(
            url=self._settings.url,
            shipped=shipped,
            committed=applied,
            behind_ms=round(1_000 * behind_s),
            trouble=self._trouble,
            held=len(self._held),
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
                self._held.close(self._trouble)
                return
            except OmiumError as error:
                pause_s = min(2 * pause_s, PAUSE_S_MAX)
                url = self._settings.url
                log.warning("shipping to %s, again in %g s: %s", url, pause_s, error)
                self._trouble = str(error)
            else:
                pause_s = self._settings.interval_s
                self._trouble = ""
            await self._rest(pause_s)

    async def _rest(self, pause_s: float) -> None:
        if self._trouble:
            # Who waits does not make a store that is away come back.
            await asyncio.sleep(pause_s)
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(pause_s):
                await self._held.asked.wait()

    async def _ship(self) -> None:
        if self._shipment is None:
            path = self._replica.path
            name = await asyncio.to_thread(lasting_id, path, self._clock)
            shipment = Shipment(
                self._settings.archive,
                path,
                replica=name,
                clock=self._clock,
                copies_kept=self._settings.copies_kept,
            )
            await shipment.begin()
            self._shipment = shipment
        going_on = True
        while going_on:
            began_s = self._clock.monotonic_s()
            # Before it is read what there is: who asks later is not forgotten.
            self._held.asked.clear()
            going_on = await self._shipment.step()
            self._replica.shipped = self._shipment.shipped
            self._held.shipped(self._shipment.shipped)
            if not going_on:
                self._whole_s = began_s
