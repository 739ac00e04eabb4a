"""Following an execution that runs elsewhere: at a service, or in another process here.

Starts nothing, and leaves what it follows running when a signal ends it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import TypeAlias

from omium.actors.desk import view_of
from omium.cli.displays import Display
from omium.cli.ending import signals
from omium.cli.places import ASK_RETRY_S, Place
from omium.cli.records import opened
from omium.cli.remote import fold, folded
from omium.cli.telling import Drive
from omium.client import AsyncClient
from omium.errors import Conflict, DeadlineExceeded, OmiumError
from omium.execution.events import CallDecided, Entry, HandoffDecided, Signalled, from_json
from omium.execution.state import ExecutionState
from omium.types import AgentName, ExecutionId, Json, Status

POLL_S = 0.25
ENDED: tuple[Status, ...] = ("completed", "failed", "cancelled")

Begin = Callable[[AsyncClient], Awaitable[ExecutionId]]


@dataclass(frozen=True, kw_only=True)
class Piece:
    """A piece of an answer that an agent is getting."""

    agent: AgentName
    text: str


News: TypeAlias = AsyncGenerator["Entry | Piece"]


async def news_at(address: str, execution_id: ExecutionId, after: int) -> News:
    """What happens at a service, through lost connections, until the execution has ended."""
    async with AsyncClient(address) as client:
        events = client.execution(execution_id).events(after, live=True)
        async with aclosing(events):
            async for event in events:
                if event.index is not None:
                    yield from_json(event.data)
                elif event.type == "delta":
                    yield Piece(agent=event.data["agent"], text=event.data["text"])


async def news_here(place: Place, execution_id: ExecutionId, after: int) -> News:
    """What another process writes into the data directory, until the execution has ended.
    Raises ``Conflict`` once nobody works on it."""
    with opened(place.settings) as records:
        state = fold(records.entries(execution_id)[:after])
        while state is None or state.status not in ENDED:
            # Looked at first: what an owner writes before it goes is read below.
            with opened(place.settings) as now:
                left = now.interrupted("running")
            entries = records.journals.of(execution_id).entries(execution_id, after=after)
            for entry in entries:
                after, state = entry.index, folded(state, entry)
                yield entry
            if left and not entries:
                shown = state.status if state is not None else "gone"
                raise Conflict(f"{execution_id} is {shown}, and nobody works on it")
            if not entries:
                await asyncio.sleep(POLL_S)


def news_of(place: Place, execution_id: ExecutionId, after: int) -> News:
    """What happens to an execution after a journal index."""
    if place.address is None:
        return news_here(place, execution_id, after)
    return news_at(place.address, execution_id, after)


async def follow(
    place: Place,
    begin: Begin | ExecutionId,
    display: Display,
    *,
    past: tuple[Entry, ...] = (),
    timeout_s: float | None = None,
    through_pauses: bool = False,
) -> Drive:
    """Show an execution until it ends, or pauses, or a signal comes.

    ``begin`` starts one at the service, or lets one go on whose journal was ``past``; an id is
    merely watched.
    """
    ending = Drive(elsewhere=True)

    async def work() -> None:
        if isinstance(begin, str):
            execution_id = ExecutionId(begin)
        else:
            async with AsyncClient(place.address, retry_s=ASK_RETRY_S) as client:
                execution_id = await begin(client)
        ending.execution_id = execution_id
        display.opened(execution_id, past)
        after = past[-1].index if past else 0
        state = await _told(
            news_of(place, execution_id, after), display, ending, past, timeout_s, through_pauses
        )
        if state is not None and state.status == "completed":
            ending.output = await _output_of(place, state)
        ending.view = view_of(state) if state is not None else None

    async with signals() as received:
        task = asyncio.create_task(work())
        await asyncio.wait({task, received}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            ending.signal = received.result()
            task.cancel()
            await asyncio.wait({task})
        try:
            task.result()
        except asyncio.CancelledError:
            if ending.signal is None:
                raise
        except OmiumError as error:
            ending.error = error
            # Nobody works on it any more.
            ending.elsewhere = not isinstance(error, Conflict)
    return ending


async def _told(
    news: News,
    display: Display,
    ending: Drive,
    past: tuple[Entry, ...],
    timeout_s: float | None,
    through_pauses: bool,
) -> ExecutionState | None:
    started_s = time.monotonic()
    state = fold(past)
    for entry in past:
        ending.note(entry)
    try:
        async with asyncio.timeout(timeout_s), aclosing(news):
            async for item in news:
                if isinstance(item, Piece):
                    display.piece(item.agent, item.text)
                    continue
                state = folded(state, item)
                ending.note(item)
                display.entry(item)
                if state.status == "paused" and not through_pauses and _stays(state, item):
                    break
    except TimeoutError as error:
        raise DeadlineExceeded(f"execution {ending.execution_id}", timeout_s or 0) from error
    finally:
        ending.elapsed_s = time.monotonic() - started_s
    return state


def _stays(state: ExecutionState, entry: Entry) -> bool:
    """Whether a paused execution waits on after an entry: what a person says goes before the
    event that lets it go on, unless the agent asks for more."""
    event = entry.event
    if isinstance(event, CallDecided):
        return bool(state.agents[event.agent].questions)
    return not isinstance(event, Signalled | HandoffDecided)


async def _output_of(place: Place, state: ExecutionState) -> Json:
    if place.address is not None:
        async with AsyncClient(place.address) as client:
            return await client.execution(state.id).result()
    with opened(place.settings) as records:
        return await asyncio.to_thread(records.output, state)
