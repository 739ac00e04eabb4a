"""``backup`` and ``restore``: a data directory's past, elsewhere and back."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from omium.actors.group.disks import SeatDisk, disks_by_shard, furthest
from omium.actors.shards.opening import (
    claim_shard,
    shard_count_in,
    shard_folder,
    shard_url,
)
from omium.actors.shards.placement import SHARDS_MAX
from omium.cli.options import AsJson, DataDir, settings_of
from omium.cli.terminal import out, out_json, say
from omium.cli.wording import counted, size_text
from omium.clock import SystemClock
from omium.config import Settings
from omium.errors import Conflict, InputError, NotFound
from omium.storage.replica import Replica

Url = Annotated[
    str,
    typer.Argument(
        metavar="URL", help="A directory, or [bold]s3://bucket/prefix[/].", show_default=False
    ),
]


def backup(target: Url, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Bring everything that a data directory holds to an archive: what it committed, and its
    blobs. Only what is not there yet is sent. A runtime may be at work meanwhile. Of a group of
    coordinators the seat is read that has come furthest, of those whose disks are here.

    Examples:

      omium backup /mnt/backups/omium
      omium backup s3://backups/omium
    """
    settings = settings_of(data_dir)
    refuse_own_archive(settings, target)
    done = asyncio.run(_backup_all(settings, target))
    if as_json:
        out_json(done)
        return
    for part in done.get("shards", [done]):
        seat = f", from the disk of seat {part['seat']}" if "seat" in part else ""
        out(
            f"{part['replica']} is in {target} up to entry {part['index']}{seat}: "
            f"{counted(part['executions'], 'execution')}, {counted(part['blobs'], 'new blob')} "
            f"({size_text(part['blob_bytes'])})"
        )


def refuse_own_archive(settings: Settings, target: str) -> None:
    """Raise ``Conflict`` where a service ships to ``target`` by itself: whoever claims an archive
    takes it away from whoever has it."""
    from omium.storage.object_urls import same_place

    if settings.archive is not None and same_place(settings.archive, target):
        raise Conflict(f"{target} is the archive to which a service ships by itself")


async def _backup_all(settings: Settings, target: str) -> dict[str, Any]:
    """The home shard, and with it all others, each in a part of the archive."""
    home, *further = [
        await _backup(settings, disks, target, shard)
        for shard, disks in enumerate(disks_by_shard(settings.data_dir))
    ]
    return {**home, "shards": [home, *further]} if further else home


async def _backup(
    settings: Settings, disks: Sequence[SeatDisk], target: str, shard: int
) -> dict[str, Any]:
    """A shard, of whose seats the one that has come furthest is read: any other may lack what was
    acknowledged."""
    from omium.serve.composition import object_store_at
    from omium.storage.archive import Archive
    from omium.storage.shipping import Shipment, copy_blobs, lasting_id, tenants_in
    from omium.storage.verifying import executions_in

    clock = SystemClock()
    disk = furthest(disks)
    replica = disk.path
    for other in disks:
        if other.error is not None:
            say(f"seat {other.seat} is not read: {other.error}")
    there = object_store_at(settings, target)
    name = lasting_id(replica, clock)
    archive = Archive(object_store_at(settings, shard_url(target, shard)))
    shipment = Shipment(
        archive, replica, replica=name, clock=clock, copies_kept=settings.archive_keep
    )
    # Blobs first: what an entry names is there before the entry is.
    here = object_store_at(settings, settings.blobs)
    blobs = [size async for size in copy_blobs(here, there, tenants_in(replica))]
    await shipment.begin()
    while await shipment.step():
        say(f"entry {shipment.shipped}")
    return {
        "type": "backup",
        "replica": name,
        **({"seat": disk.seat} if disk.seat else {}),
        "index": shipment.shipped,
        "executions": executions_in(replica),
        "blobs": len(blobs),
        "blob_bytes": sum(blobs),
    }


def restore(
    source: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="URL",
            help="A directory, or [bold]s3://bucket/prefix[/]. Default: where the service ships.",
            show_default=False,
        ),
    ] = None,
    history: Annotated[
        str | None,
        typer.Option(
            "--history", metavar="NAME", help="Which replica's, where the archive holds several."
        ),
    ] = None,
    index: Annotated[
        int | None,
        typer.Option("--index", metavar="N", min=1, help="Up to which entry. Default: the last."),
    ] = None,
    shard: Annotated[
        int | None,
        typer.Option(
            "--shard",
            metavar="K",
            min=0,
            max=SHARDS_MAX - 1,
            help="Only this one of several shards. Default: all.",
        ),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Rebuild it in a temporary directory, and keep nothing."),
    ] = False,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """Rebuild a lost data directory from an archive. Nothing is overwritten.

    Every checksum is checked on the way. What had not finished goes on with the next
    [bold]omium up[/], or [bold]omium resume[/]. API keys of the lost service are not known to
    the new one, which makes its first key by itself.

    Examples:

      omium restore --from s3://backups/omium --dry-run
      omium restore --from s3://backups/omium
      omium restore --from /mnt/backups/omium --index 1200 --data-dir earlier
    """
    settings = settings_of(data_dir)
    place = source or settings.archive
    if place is None:
        raise InputError("no archive is set: say with --from where it is")
    done = asyncio.run(_restore_all(settings, place, history, index, shard, dry_run=dry_run))
    if as_json:
        out_json(done)
        return
    would = "would come back" if dry_run else f"is back in {settings.data_dir}"
    for part in done.get("shards", [done]):
        statuses = ", ".join(f"{number} {status}" for status, number in part["executions"].items())
        out(f"{part['replica']} {would}, up to entry {part['index']}: {statuses or 'no execution'}")
        if not dry_run and part["blobs"]:
            out(f"{counted(part['blobs'], 'blob')} ({size_text(part['blob_bytes'])})")


async def _restore_all(
    settings: Settings,
    source: str,
    history: str | None,
    index: int | None,
    shard: int | None,
    *,
    dry_run: bool,
) -> dict[str, Any]:
    """All shards that the archive is of, or one of them."""
    from omium.serve.composition import object_store_at
    from omium.storage.archive import Archive

    shards = shard_count_in(await object_store_at(settings, source).keys("shards"))
    if shard is not None and shard >= shards:
        raise NotFound("shard", str(shard), f"the archive is of shards 0 to {shards - 1}")
    if shards > 1 and shard is None and (history is not None or index is not None):
        raise InputError(f"the archive is of {shards} shards: say with --shard which is meant")
    wanted = range(shards) if shard is None else (shard,)
    archives = {n: Archive(object_store_at(settings, shard_url(source, n))) for n in wanted}
    full = [n for n, archive in archives.items() if await archive.pasts()]
    done = [
        await _restore(settings, source, history, index, number, shards, dry_run=dry_run)
        # Of an archive with nothing in it at all, the first shard says so.
        for number in full or [wanted[0]]
    ]
    for number in wanted:
        if number not in full and not dry_run:
            _make_empty(settings, number, shards)
    return done[0] if len(done) == 1 else {**done[0], "shards": done}


def _make_empty(settings: Settings, shard: int, shards: int) -> None:
    """A shard in which nothing had happened yet."""
    folder = shard_folder(settings.data_dir, shard)
    claim_shard(folder, shard, shards)
    Replica.open(folder, owner="omium restore").close()


async def _restore(
    settings: Settings,
    source: str,
    history: str | None,
    index: int | None,
    shard: int,
    shards: int,
    *,
    dry_run: bool,
) -> dict[str, Any]:
    from omium.serve.composition import object_store_at
    from omium.storage.archive import Archive
    from omium.storage.object_urls import same_place
    from omium.storage.restoring import choose, restore
    from omium.storage.shipping import copy_blobs, tenants_in

    there = object_store_at(settings, source)
    archive = Archive(object_store_at(settings, shard_url(source, shard)))
    past = await choose(archive, history)
    blobs: list[int] = []

    async def bring_blobs(replica: Path) -> None:
        if not dry_run and not same_place(source, settings.blobs):
            here = object_store_at(settings, settings.blobs)
            blobs.extend([size async for size in copy_blobs(there, here, tenants_in(replica))])

    with tempfile.TemporaryDirectory(prefix="omium-restore-") as scratch, _bar() as report:
        folder = Path(scratch) if dry_run else shard_folder(settings.data_dir, shard)
        if not dry_run:
            claim_shard(folder, shard, shards)
        restored = await restore(
            archive, past, folder, index=index, report=report, before=bring_blobs
        )
    return {
        "type": "restore",
        "dry_run": dry_run,
        **msgspec.to_builtins(restored),
        "blobs": len(blobs),
        "blob_bytes": sum(blobs),
    }


class _Bar:
    """Shows how many entries were carried out, where there is a terminal."""

    def __init__(self, progress: Progress | None) -> None:
        self._progress = progress
        self._task = progress.add_task("entries", total=None) if progress is not None else None

    def __call__(self, done: int, total: int) -> None:
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, completed=done, total=total)


@contextmanager
def _bar() -> Iterator[_Bar]:
    if not sys.stderr.isatty():
        yield _Bar(None)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=Console(file=sys.stderr)) as progress:
        yield _Bar(progress)
