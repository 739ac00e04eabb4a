"""``up``, ``status`` and ``down``: the service of a data directory."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TextIO, TypeAlias

import msgspec
import psutil
import typer

from omium.cli.options import AsJson, DataDir
from omium.cli.records import opened_if_any
from omium.cli.terminal import out, out_json, say
from omium.cli.wording import counted, duration_text
from omium.config import Settings, load_settings
from omium.errors import Conflict, OmiumError, Unavailable
from omium.runtime.endpoint import is_owned, live_endpoint
from omium.runtime.service_file import ServiceRecord, live_service, process_of, withdraw
from omium.types import Status

if TYPE_CHECKING:
    from omium.actors.client import Client
    from omium.actors.group.talk import SeatView
    from omium.actors.messages import ArchiveView, RuntimeView
    from omium.runtime.endpoint import Endpoint

_Seats: TypeAlias = "dict[tuple[int, int], SeatView | None]"
"""By shard and number: what each seat is, None for one that does not answer."""

REPLICA_TITLE = "ray::ServeReplica:omium:"
ASK_TIMEOUT_S = 5.0
POLL_S = 0.1
DOWN_MARGIN_S = 90.0
"""How long a service may take to end, beside its grace; it ends by force before that."""


def up(
    detach: Annotated[
        bool, typer.Option("--detach", help="Start it in the background and return.")
    ] = False,
    host: Annotated[
        str | None,
        typer.Option(
            "--host", metavar="ADDRESS", help="Where to listen.", show_default=False
        ),
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(
            "--port", metavar="N", min=0, max=65_535, show_default=False,
            help="The port to listen on; 0 is any free one.",
        ),
    ] = None,
    app_dir: Annotated[
        Path | None,
        typer.Option(
            "--app-dir", exists=True, file_okay=False, show_default=False,
            help="Where definitions that come over HTTP may name code. Default: here.",
        ),
    ] = None,
    dashboard: Annotated[
        bool, typer.Option("--dashboard", help="Start Ray's dashboard too.")
    ] = False,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """Start the service: a runtime that stays, with the HTTP API in front of it.

    Goes on with every unfinished execution of the data directory. Ctrl-C and SIGTERM end it in
    good order: running steps have [bold]service.grace_s[/] seconds to finish, and what has not
    finished goes on with the next start. With [bold]--detach[/] it writes to
    [bold]service.log[/] in the data directory.

    Examples:

      omium up
      omium up --detach --port 8800
    """
    from omium.runtime.runtime import prepare_data_dir
    from omium.runtime.service import refuse_second

    given = {"host": host, "port": port, "app_dir": app_dir or None}
    service = {name: value for name, value in given.items() if value is not None}
    settings = load_settings({"data_dir": data_dir, "service": service or None})
    prepare_data_dir(settings)
    refuse_second(settings.data_dir)
    if detach:
        raise typer.Exit(_detach(settings, service, dashboard=dashboard, as_json=as_json))
    raise typer.Exit(_serve(settings, dashboard=dashboard, as_json=as_json))


def _serve(settings: Settings, *, dashboard: bool, as_json: bool) -> int:
    from omium.cli.driving import ray_output_to
    from omium.cli.serving import serve_here

    began_s = time.monotonic()
    # What Ray prints goes elsewhere from here on.
    stdout = sys.stdout

    def ready(record: ServiceRecord) -> None:
        _tell_ready(record, as_json=as_json, stream=stdout)
        if not as_json:
            say(f"ready after {duration_text(time.monotonic() - began_s)}; Ctrl-C ends it")

    with ray_output_to(settings.data_dir, None):
        number = asyncio.run(
            serve_here(settings, dashboard=dashboard, welcome=_first_key, ready=ready, report=say)
        )
    _tell_left(settings, as_json=False)
    return 128 + number


async def _first_key(client: Client, settings: Settings, address: str) -> None:
    """See to it that the user has a key that opens everything, stored for the address."""
    from omium.client.credentials import store_key, stored_key
    from omium.serve.api import ensure_admin_key
    from omium.serve.composition import pepper_of

    pepper = pepper_of(settings.data_dir)
    store_key(address, await ensure_admin_key(client, pepper, known=stored_key(address)))


def _detach(settings: Settings, service: dict[str, Any], *, dashboard: bool, as_json: bool) -> int:
    from omium.cli.detaching import LOG_NAME, detached

    arguments = ["up", "--data-dir", str(settings.data_dir)]
    for name, value in service.items():
        arguments += [f"--{name.replace('_', '-')}", str(value)]
    if dashboard:
        arguments.append("--dashboard")
    say("starting the service in the background")
    begun = detached(settings, arguments)
    if isinstance(begun, int):
        return begun
    _tell_ready(begun, as_json=as_json)
    if not as_json:
        log = settings.data_dir / LOG_NAME
        say(f"process {begun.pid}, log {log}; see: omium status; end it with: omium down")
    return 0


def _tell_ready(record: ServiceRecord, *, as_json: bool, stream: TextIO | None = None) -> None:
    if as_json:
        out_json({"type": "service", **_record_json(record)}, stream=stream)
        return
    out(f"Omium serves at {record.address}", stream)
    if record.dashboard:
        out(f"Ray's dashboard: {record.dashboard} (token {record.ray_token})", stream)


def _record_json(record: ServiceRecord) -> dict[str, Any]:
    return msgspec.to_builtins(record)


def status(data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Whether the service runs, where, and what it does. In a group of coordinators each seat is
    asked what it is.

    Examples:

      omium status
      omium status --json
    """
    settings = load_settings({"data_dir": data_dir})
    record = live_service(settings.data_dir)
    with opened_if_any(settings) as records:
        counts = records.journals.counts() if records is not None else {}
    view, seats = asyncio.run(_views(settings)) if record is not None else (None, {})
    replicas = _replicas(record) if record is not None else []
    if as_json:
        told = _status_json(record, counts, view, replicas)
        if seats:
            told["seats"] = [_seat_json(*place, seat) for place, seat in seats.items()]
        out_json(told)
        return
    if record is None:
        out(f"no service uses {settings.data_dir}")
    else:
        uptime_s = time.time() - record.started_ms / 1000
        out(f"address     {record.address}")
        out(f"process     {record.pid}, up for {duration_text(uptime_s)}")
        if record.dashboard:
            out(f"dashboard   {record.dashboard} (token {record.ray_token})")
        out(f"replicas    {len(replicas)} of the HTTP API")
        out(f"workers     {_workers_text(view)}")
        several = len({shard for shard, _ in seats}) > 1
        for (shard, number), seat in seats.items():
            out(f"seat {number}      {f'shard {shard}: ' * several}{_seat_text(seat)}")
        if view is not None:
            out(f"gateway     {view.gateway_url or 'away'}")
            if view.shards:
                out(f"shards      {_shards_text(view)}")
            if view.archive is not None:
                out(f"archive     {_archive_text(view.archive)}")
    out(f"executions  {', '.join(f'{n} {name}' for name, n in counts.items()) or 'none yet'}")


def _status_json(
    record: ServiceRecord | None,
    counts: dict[Status, int],
    view: RuntimeView | None,
    replicas: list[int],
) -> dict[str, Any]:
    told: dict[str, Any] = {"running": record is not None, "executions": counts}
    if record is None:
        return told
    told |= {
        **_record_json(record),
        "uptime_s": round(time.time() - record.started_ms / 1000, 1),
        "replicas": [{"pid": pid} for pid in replicas],
        "coordinator": {"pid": view.pid} if view is not None else None,
        "gateway": None,
        "workers": None,
    }
    if view is not None:
        if view.gateway_url:
            told["gateway"] = {"url": view.gateway_url, "pid": view.gateway_pid}
        if view.archive is not None:
            told["archive"] = msgspec.to_builtins(view.archive)
        if view.shards:
            told["shards"] = [_shard_json(shard) for shard in view.shards]
        told["workers"] = [msgspec.to_builtins(worker) for worker in view.workers]
    return told


def _workers_text(view: RuntimeView | None) -> str:
    if view is None:
        return "unknown: the coordinator does not answer"
    attempts = sum(worker.attempts for worker in view.workers)
    return f"{len(view.workers)}, at work on {counted(attempts, 'attempt')}"


def _shards_text(view: RuntimeView) -> str:
    pids = ", ".join(str(shard.pid) for shard in view.shards)
    return f"{len(view.shards)}, led by the processes {pids}"


def _shard_json(view: RuntimeView) -> dict[str, Any]:
    return {
        "coordinator": {"pid": view.pid},
        "followers": view.followers,
        "workers": len(view.workers),
        "archive": msgspec.to_builtins(view.archive),
    }


def _archive_text(archive: ArchiveView) -> str:
    missing = archive.committed - archive.shipped
    text = f"{archive.url}, up to entry {archive.shipped}"
    if missing:
        text += f"; {missing:,} not there, for {duration_text(archive.behind_ms / 1000)}"
    if archive.held:
        text += f"; {counted(archive.held, 'answer')} held back"
    return f"{text}; {archive.trouble}" if archive.trouble else text


def _seat_text(seat: SeatView | None) -> str:
    if seat is None:
        return "does not answer"
    text = (
        f"{seat.role} in term {seat.term}, process {seat.pid}, applied up to entry {seat.applied}"
    )
    if seat.last > seat.applied:
        text += f", holds up to {seat.last}"
    if seat.role != "leader" and not seat.leads:
        text += "; knows no leader"
    return f"{text}; stopped: {seat.trouble}" if seat.trouble else text


def _seat_json(shard: int, number: int, seat: SeatView | None) -> dict[str, Any]:
    if seat is None:
        return {"shard": shard, "seat": number, "role": None}
    told = {name: value for name, value in msgspec.to_builtins(seat).items() if name != "m"}
    return {"shard": shard, **told}


async def _views(settings: Settings) -> tuple[RuntimeView | None, _Seats]:
    """What the coordinator says, None while it does not answer; and each seat of each group."""
    from omium.actors.group.looking import look

    endpoint = live_endpoint(settings.data_dir)
    if endpoint is None:
        return None, {}
    secret = bytes.fromhex(endpoint.secret)
    shards = [endpoint.peers, *endpoint.further_peers]
    looking = asyncio.gather(*(look(peers, secret, ASK_TIMEOUT_S) for peers in shards))
    view, looks = await asyncio.gather(_runtime_view(endpoint), looking)
    return view, {
        (shard, number): seat
        for shard, seats in enumerate(looks)
        for number, seat in enumerate(seats, 1)
    }


async def _runtime_view(endpoint: Endpoint) -> RuntimeView | None:
    """What the coordinators say; None while one does not answer."""
    from omium.cli.linking import linked

    try:
        async with linked(endpoint) as client, asyncio.timeout(ASK_TIMEOUT_S):
            return await client.runtime()
    except (TimeoutError, OmiumError):
        return None


def _replicas(record: ServiceRecord) -> list[int]:
    """The processes of the HTTP API that the service started on this machine."""
    process = process_of(record)
    if process is None:
        return []
    with contextlib.suppress(psutil.NoSuchProcess):
        return [
            one.pid
            for one in process.children(recursive=True)
            if _title(one).startswith(REPLICA_TITLE)
        ]
    return []


def _title(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def down(
    force: Annotated[
        bool, typer.Option("--force", help="Kill it: running steps are cut off.")
    ] = False,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """End the service and wait until it has ended; says what goes on with the next start.

    Examples:

      omium down
      omium down --force
    """
    settings = load_settings({"data_dir": data_dir})
    record = live_service(settings.data_dir)
    process = process_of(record) if record is not None else None
    if record is None or process is None:
        if is_owned(settings.data_dir):
            raise Conflict(
                f"{str(settings.data_dir)!r} is in use, but not by a service that is ready: "
                "wait for it, or end it where it was started"
            )
        say(f"no service uses {settings.data_dir}")
    elif force:
        _kill(process)
        withdraw(settings.data_dir, record)
    else:
        say(f"ending the service at {record.address}")
        limit_s = settings.service.grace_s + DOWN_MARGIN_S
        _terminate(record, process, limit_s)
    _tell_left(settings, as_json=as_json, ended=record is not None)


def _terminate(record: ServiceRecord, process: psutil.Process, limit_s: float) -> None:
    with contextlib.suppress(psutil.NoSuchProcess):
        process.terminate()
    deadline_s = time.monotonic() + limit_s
    # Not psutil's own wait, which waits for whoever has to bury a zombie too.
    while process_of(record) is not None:
        if time.monotonic() > deadline_s:
            raise Unavailable(
                f"process {process.pid} did not end within {limit_s:g} s; --force kills it"
            )
        time.sleep(POLL_S)


def _kill(process: psutil.Process) -> None:
    from omium.runtime.local_ray import end_by_force, sweep

    end_by_force(process)
    sweep()


def _tell_left(settings: Settings, *, as_json: bool, ended: bool = True) -> None:
    """Say what an ended service left unfinished."""
    with opened_if_any(settings) as records:
        counts = records.journals.counts() if records is not None else {}
    left = sum(counts.get(name, 0) for name in ("queued", "running"))
    paused = counts.get("paused", 0)
    if as_json:
        out_json({"ended": ended, "resumable": left, "paused": paused})
        return
    if left:
        say(f"{counted(left, 'execution')} unfinished: `omium up` goes on with them")
    elif ended:
        say("nothing was left unfinished")
    if paused:
        say(f"{counted(paused, 'execution')} paused: `omium ps --status paused` lists them")
