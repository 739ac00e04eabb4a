"""``cancel``: through the runtime that is at work, or by hand where none is."""

from __future__ import annotations

import asyncio

from omium.actors.client import Client
from omium.cli.options import AsJson, DataDir, ExecutionName, settings_of
from omium.cli.records import opened
from omium.cli.terminal import out, out_json
from omium.clock import Clock, SystemClock
from omium.config import Settings
from omium.errors import Conflict, DataDirectoryBusy
from omium.execution.events import Append, Cancelled
from omium.execution.machine import Refusal
from omium.runtime.endpoint import Endpoint, live_endpoint
from omium.storage.blobs import open_blob_store
from omium.storage.replica import Replica
from omium.types import ExecutionId

BY = "cli"
ENDPOINT_WAIT_S = 20.0
ENDPOINT_POLL_S = 0.25


def cancel(execution: ExecutionName, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Cancel an execution for good, also one that runs in another terminal.

    What has completed or failed cannot be cancelled; cancelling twice is no mistake.

    Examples:

      omium cancel last
      omium cancel ex_0kq3
    """
    settings = settings_of(data_dir)
    with opened(settings) as records:
        execution_id = records.resolve(execution)
        status = records.state(execution_id).status
    if status in ("completed", "failed"):
        raise Conflict(f"{execution_id} is {status}: there is nothing left to cancel")
    done = status == "cancelled"
    if not done:
        asyncio.run(_cancel(settings, execution_id, SystemClock()))
    if as_json:
        out_json({"execution": execution_id, "status": "cancelled"})
    else:
        out(f"{execution_id} {'was cancelled already' if done else 'is cancelled'}")


async def _cancel(settings: Settings, execution_id: ExecutionId, clock: Clock) -> None:
    """Raises ``Conflict``, and ``DataDirectoryBusy`` when somebody who does not answer has the
    data directory."""
    deadline_s = clock.monotonic_s() + ENDPOINT_WAIT_S
    while True:
        endpoint = live_endpoint(settings.data_dir)
        if endpoint is not None:
            await _ask(endpoint, execution_id, clock)
            return
        try:
            _commit(settings, execution_id, clock)
        except DataDirectoryBusy:
            # A runtime that is starting, or ending, has the data and no endpoint.
            if clock.monotonic_s() > deadline_s:
                raise
            await asyncio.sleep(ENDPOINT_POLL_S)
        else:
            return


async def _ask(endpoint: Endpoint, execution_id: ExecutionId, clock: Clock) -> None:
    client = Client(
        (endpoint.host, endpoint.port),
        bytes.fromhex(endpoint.secret),
        # To cancel takes no blobs.
        blobs=open_blob_store("memory://"),
        clock=clock,
    )
    client.open()
    try:
        await client.cancel(execution_id, by=BY)
    finally:
        await client.close()


def _commit(settings: Settings, execution_id: ExecutionId, clock: Clock) -> None:
    replica = Replica.open(settings.data_dir, owner="omium cancel")
    try:
        append = Append(execution_id=execution_id, events=(Cancelled(by=BY),), at_ms=clock.now_ms())
        (outcome,) = replica.commit([append])
    finally:
        replica.close()
    if isinstance(outcome, Refusal):
        raise Conflict(outcome.message)
