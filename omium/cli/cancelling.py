"""``cancel``, ``interrupt`` and ``signal``: through the service or the runtime that is at work,
or, where nobody is, by hand."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from omium.actors.client import Client
from omium.actors.shards.opening import recorded_shards, shard_folder
from omium.actors.shards.placement import shard_of
from omium.cli.linking import linked
from omium.cli.options import Address, AsJson, DataDir, ExecutionName, json_or_text
from omium.cli.places import ASK_RETRY_S, Place, place_of
from omium.cli.records import opened_at
from omium.cli.terminal import out, out_json
from omium.clock import Clock, SystemClock
from omium.config import Settings
from omium.errors import Conflict, DataDirectoryBusy, InputError
from omium.execution.events import Append, Cancelled, Event, Signalled
from omium.execution.machine import Refusal
from omium.execution.records import INLINE_BYTES_MAX, Payload
from omium.runtime.endpoint import live_endpoint
from omium.storage.journal import ExecutionRow
from omium.storage.replica import Replica
from omium.types import ExecutionId, Json

if TYPE_CHECKING:
    from omium.client import Handle

BY = "cli"
ENDPOINT_WAIT_S = 20.0
ENDPOINT_POLL_S = 0.25

Act = Callable[[Client], Awaitable[None]]


def cancel(
    execution: ExecutionName,
    address: Address = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Cancel an execution for good, also one that runs in another terminal.

    What has completed or failed cannot be cancelled; cancelling twice is no mistake.

    Examples:

      omium cancel last
      omium cancel ex_0kq3
    """
    place = place_of(data_dir, address)
    row = _found(place, execution)
    execution_id, status = row.id, row.status
    if status in ("completed", "failed"):
        raise Conflict(f"{execution_id} is {status}: there is nothing left to cancel")
    done = status == "cancelled"
    if done:
        pass
    elif place.address is not None:
        with _handle(place.address, execution_id) as handle:
            handle.cancel()
    else:
        act = _act_here(
            place.settings,
            row,
            lambda client: client.cancel(execution_id, by=BY),
            Cancelled(by=BY),
        )
        asyncio.run(act)
    if as_json:
        out_json({"execution": execution_id, "status": "cancelled"})
    else:
        out(f"{execution_id} {'was cancelled already' if done else 'is cancelled'}")


def interrupt(
    execution: ExecutionName,
    detail: Annotated[
        str,
        typer.Option("--why", metavar="TEXT", help="Kept in the journal.", show_default=False),
    ] = "",
    address: Address = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Pause an execution that somebody works on, until [bold]omium resume[/].

    What was answered stays answered. One that nobody works on needs no pause.

    Examples:

      omium interrupt last
      omium interrupt ex_0kq3 --why 'the figures are wrong'
    """
    place = place_of(data_dir, address)
    row = _found(place, execution)
    execution_id = row.id
    if place.address is not None:
        with _handle(place.address, execution_id) as handle:
            handle.interrupt(detail)
    else:
        act = _act_here(
            place.settings,
            row,
            lambda client: client.interrupt(execution_id, by=BY, detail=detail),
            None,
        )
        asyncio.run(act)
    if as_json:
        out_json({"execution": execution_id, "status": "paused"})
    else:
        out(f"{execution_id} is paused; go on with: omium resume {execution_id}{place.options}")


def signal(
    execution: ExecutionName,
    name: Annotated[str, typer.Argument(metavar="NAME", show_default=False)],
    payload: Annotated[
        str | None,
        typer.Argument(metavar="[JSON]", help="A JSON value, else text.", show_default=False),
    ] = None,
    address: Address = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Send data to an execution that has not ended. It is recorded in its journal.

    Examples:

      omium signal last approved '{"by": "Ann"}'
    """
    place = place_of(data_dir, address)
    row = _found(place, execution)
    execution_id = row.id
    value: Json = json_or_text(payload) if payload is not None else None
    if place.address is not None:
        with _handle(place.address, execution_id) as handle:
            handle.signal(name, value)
    elif len(msgspec.json.encode(value)) > INLINE_BYTES_MAX:
        raise InputError(f"a signal carries at most {INLINE_BYTES_MAX} bytes without a service")
    else:
        act = _act_here(
            place.settings,
            row,
            lambda client: client.signal(execution_id, name, value, by=BY),
            Signalled(name=name, payload=Payload(inline=value), by=BY),
        )
        asyncio.run(act)
    if as_json:
        out_json({"execution": execution_id, "signal": name})
    else:
        out(f"{execution_id} was sent {name}")


def _found(place: Place, name: str) -> ExecutionRow:
    with opened_at(place) as records:
        return records.row(records.resolve(name))


@contextmanager
def _handle(address: str, execution_id: ExecutionId) -> Iterator[Handle]:
    # Behind an import that only those pay for who ask a service.
    from omium.client import Client as HttpClient

    with HttpClient(address, retry_s=ASK_RETRY_S) as client:
        yield client.execution(execution_id)


async def _act_here(settings: Settings, row: ExecutionRow, act: Act, by_hand: Event | None) -> None:
    """Have the runtime at work do it, or commit the event that says so where there is none.

    Raises ``Conflict``, and ``DataDirectoryBusy`` when somebody who does not answer has the
    data directory.
    """
    clock = SystemClock()
    deadline_s = clock.monotonic_s() + ENDPOINT_WAIT_S
    while True:
        endpoint = live_endpoint(settings.data_dir)
        if endpoint is not None:
            # Whoever owns the directory owns what is in it, whatever its tenant.
            async with linked(endpoint, tenant=row.tenant, clock=clock) as client:
                await act(client)
            return
        try:
            _commit(settings, row, by_hand, clock)
        except DataDirectoryBusy:
            # A runtime that is starting, or ending, has the data and no endpoint.
            if clock.monotonic_s() > deadline_s:
                raise
            await asyncio.sleep(ENDPOINT_POLL_S)
        else:
            return


def _commit(settings: Settings, row: ExecutionRow, event: Event | None, clock: Clock) -> None:
    shard = shard_of(row.id, recorded_shards(settings.data_dir))
    replica = Replica.open(shard_folder(settings.data_dir, shard), owner="omium")
    try:
        if event is None:
            raise Conflict(f"{row.id} is {row.status}, and nobody works on it")
        append = Append(execution_id=row.id, events=(event,), at_ms=clock.now_ms())
        (outcome,) = replica.commit([append])
    finally:
        replica.close()
    if isinstance(outcome, Refusal):
        raise Conflict(outcome.message)
