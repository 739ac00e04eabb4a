"""A worker made by hand: it speaks the real protocol and does only what a test tells it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from msgspec.structs import replace

from omium.actors import messages as m
from omium.actors.link import Link
from omium.actors.transport import Codec, Connection
from omium.execution.events import Event
from omium.execution.records import CallKey, Payload, Writer
from omium.testing.runtime import InProcessRuntime
from omium.types import WorkerId

WAIT_S = 10.0


class HandMadeWorker:
    """Takes one lease and never sends a heartbeat. When it is thrown out it comes back.

    An async context manager: inside, it is connected.
    """

    def __init__(self, runtime: InProcessRuntime, name: str = "w_hand") -> None:
        self._leases: asyncio.Queue[m.Lease] = asyncio.Queue()
        self._stops: asyncio.Queue[m.Stop] = asyncio.Queue()
        self._living = runtime.spawner.guests
        self._hello = m.WorkerHello(worker=WorkerId(name), framework="python", capacity=1, pid=1)
        self.link = Link(
            runtime.address,
            Codec(m.Messages),
            runtime.secret,
            handler=self._handle,
            greeting=lambda: self._hello,
        )

    def _handle(self, _: Connection, message: Any, __: Callable[[Any], None]) -> None:
        match message:
            case m.Lease():
                held = (message.execution_id, message.agent, message.epoch)
                self._hello = replace(self._hello, attempts=(held,), capacity=0)
                self._leases.put_nowait(message)
            case m.Stop():
                self._stops.put_nowait(message)
            case _:
                pass

    async def __aenter__(self) -> HandMadeWorker:
        self._living.add(self._hello.worker)
        self.link.open()
        await self.link.call(m.GetRuntime(), deadline_s=WAIT_S)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._living.discard(self._hello.worker)
        await self.link.close()

    def forget(self) -> None:
        """Know of no lease from here on, as if none had ever arrived."""
        self._hello = replace(self._hello, attempts=(), capacity=1)

    async def leased(self) -> m.Lease:
        """The next lease."""
        async with asyncio.timeout(WAIT_S):
            return await self._leases.get()

    async def stopped(self) -> m.Stop:
        """The next order to stop."""
        async with asyncio.timeout(WAIT_S):
            return await self._stops.get()

    async def append(self, lease: m.Lease, sequence: int, *events: Event) -> Any:
        """Append under the epoch of ``lease``; returns the coordinator's answer."""
        writer = Writer(agent=lease.agent, epoch=lease.epoch, sequence=sequence)
        return await self.link.call(
            m.AppendEvents(execution_id=lease.execution_id, writer=writer, events=events),
            deadline_s=WAIT_S,
        )

    async def begin(self, lease: m.Lease, tool: str, *, idempotent: bool = False) -> Any:
        """Ask to run ``tool``; returns the coordinator's answer."""
        key = CallKey(kind="tool", scope="0", name=tool, digest="d", occurrence=0)
        return await self.link.call(
            m.BeginCall(
                execution_id=lease.execution_id,
                agent=lease.agent,
                epoch=lease.epoch,
                step="0",
                key=key,
                ordinal=0,
                request=Payload(inline={}),
                idempotent=idempotent,
            ),
            deadline_s=WAIT_S,
        )

    async def over(self, lease: m.Lease, **fields: Any) -> None:
        """Report the end of the attempt."""
        await self.link.call(
            m.AttemptOver(
                execution_id=lease.execution_id, agent=lease.agent, epoch=lease.epoch, **fields
            ),
            deadline_s=WAIT_S,
        )
