"""``watch`` and ``logs``: what happens to an execution that runs elsewhere."""

from __future__ import annotations

import asyncio
import sys
from contextlib import aclosing
from typing import Annotated

import typer

from omium.cli.displays import display_for
from omium.cli.options import Address, AsJson, DataDir, ExecutionName, Quiet, Timeout
from omium.cli.places import Place, place_of, place_to_act
from omium.cli.records import opened_at
from omium.cli.telling import tell
from omium.cli.terminal import out, out_json
from omium.cli.wording import line_of
from omium.execution.events import Entry, to_json
from omium.types import ExecutionId


def watch(
    execution: ExecutionName,
    address: Address = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
    timeout_s: Timeout = None,
    quiet: Quiet = False,
) -> None:
    """Watch an execution to its end, and print its result.

    At a service, or in the data directory while another [bold]omium[/] works on it. Pauses are
    waited through. Ctrl-C ends the watching, not the execution. The exit code is that of
    [bold]omium run[/].

    Examples:

      omium watch last
      omium watch ex_0kq3 --address http://127.0.0.1:8700 --json
    """
    from omium.cli.following import follow

    place = place_to_act(data_dir, address)
    execution_id = _id_of(place, execution)
    display = display_for(as_json=as_json, quiet=quiet)
    try:
        ending = asyncio.run(
            follow(place, execution_id, display, timeout_s=timeout_s, through_pauses=True)
        )
    finally:
        display.close()
    raise typer.Exit(tell(ending, place, as_json=as_json, quiet=quiet))


def logs(
    execution: ExecutionName,
    following: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on until the execution has ended.")
    ] = False,
    address: Address = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Print the journal of an execution, a line for each event.

    With [bold]--json[/] each line is a JSON object.

    Examples:

      omium logs last
      omium logs last --follow --json | jq -c 'select(.type == "step.completed")'
    """
    lines = _Lines(as_json=as_json)
    if not following:
        with opened_at(place_of(data_dir, address)) as records:
            for entry in records.entries(records.resolve(execution)):
                lines.add(entry)
        return
    place = place_to_act(data_dir, address)
    raise typer.Exit(asyncio.run(_follow(place, _id_of(place, execution), lines)))


async def _follow(place: Place, execution_id: ExecutionId, lines: _Lines) -> int:
    """The exit code: 0 at the end of the execution, or that of a signal."""
    from omium.cli.ending import signals
    from omium.cli.following import news_of

    async def work() -> None:
        async with aclosing(news_of(place, execution_id, 0)) as news:
            async for item in news:
                if isinstance(item, Entry):
                    lines.add(item)

    async with signals() as received:
        task = asyncio.create_task(work())
        await asyncio.wait({task, received}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            task.result()
            return 0
        task.cancel()
        await asyncio.wait({task})
        return 128 + received.result()


def _id_of(place: Place, name: str) -> ExecutionId:
    with opened_at(place) as records:
        return records.resolve(name)


class _Lines:
    """Entries on stdout."""

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json
        self._created_ms: int | None = None

    def add(self, entry: Entry) -> None:
        if self._created_ms is None:
            self._created_ms = entry.at_ms
        if self._as_json:
            out_json(to_json(entry))
        else:
            out(line_of(entry, self._created_ms))
        # Also into a pipe: somebody follows.
        sys.stdout.flush()
