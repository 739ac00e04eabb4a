"""``backup``, ``restore`` and ``verify``: a data directory's past, elsewhere and back, and whether
all of it is still what was written."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from omium.cli.options import AsJson, DataDir, settings_of
from omium.cli.records import REPLICA_NAME
from omium.cli.terminal import out, out_json, say
from omium.cli.wording import counted, size_text
from omium.clock import SystemClock
from omium.config import Settings
from omium.errors import Conflict, NotFound, OmiumError

DAMAGED_EXIT = 7
SHOWN_MAX = 100

Url = Annotated[
    str,
    typer.Argument(
        metavar="URL", help="A directory, or [bold]s3://bucket/prefix[/].", show_default=False
    ),
]


def backup(target: Url, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Bring everything that a data directory holds to an archive: what it committed, and its
    blobs. Only what is not there yet is sent. A runtime may be at work meanwhile.

    Examples:

      omium backup /mnt/backups/omium
      omium backup s3://backups/omium
    """
    settings = settings_of(data_dir)
    if settings.archive == target:
        raise Conflict(f"{target} is the archive to which a service ships by itself")
    done = asyncio.run(_backup(settings, _replica_of(settings), target))
    if as_json:
        out_json(done)
        return
    out(
        f"{done['replica']} is in {target} up to entry {done['index']}: "
        f"{counted(done['executions'], 'execution')}, {counted(done['blobs'], 'new blob')} "
        f"({size_text(done['blob_bytes'])})"
    )


async def _backup(settings: Settings, replica: Path, target: str) -> dict[str, Any]:
    from omium.serve.composition import object_store_at
    from omium.storage.archive import Archive
    from omium.storage.shipping import Shipment, copy_blobs, lasting_id, tenants_in
    from omium.storage.verifying import executions_in

    clock = SystemClock()
    there = object_store_at(settings, target)
    name = lasting_id(replica, clock)
    shipment = Shipment(Archive(there), replica, replica=name, clock=clock)
    # Blobs first: what an entry names is there before the entry is.
    here = object_store_at(settings, settings.blobs)
    blobs = [size async for size in copy_blobs(here, there, tenants_in(replica))]
    await shipment.begin()
    while await shipment.step():
        say(f"entry {shipment.shipped}")
    return {
        "type": "backup",
        "replica": name,
        "index": shipment.shipped,
        "executions": executions_in(replica),
        "blobs": len(blobs),
        "blob_bytes": sum(blobs),
    }


def restore(
    source: Url,
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

      omium restore s3://backups/omium --dry-run
      omium restore s3://backups/omium
      omium restore /mnt/backups/omium --index 1200 --data-dir earlier
    """
    settings = settings_of(data_dir)
    done = asyncio.run(_restore(settings, source, history, index, dry_run=dry_run))
    if as_json:
        out_json(done)
        return
    statuses = ", ".join(f"{number} {status}" for status, number in done["executions"].items())
    would = "would come back" if dry_run else f"is back in {settings.data_dir}"
    out(f"{done['replica']} {would}, up to entry {done['index']}: {statuses or 'no execution'}")
    if not dry_run and done["blobs"]:
        out(f"{counted(done['blobs'], 'blob')} ({size_text(done['blob_bytes'])})")


async def _restore(
    settings: Settings, source: str, history: str | None, index: int | None, *, dry_run: bool
) -> dict[str, Any]:
    from omium.serve.composition import object_store_at
    from omium.storage.archive import Archive
    from omium.storage.restoring import choose, restore
    from omium.storage.shipping import copy_blobs, tenants_in

    there = object_store_at(settings, source)
    archive = Archive(there)
    past = await choose(archive, history)
    blobs: list[int] = []

    async def bring_blobs(replica: Path) -> None:
        if not dry_run and source != settings.blobs:
            here = object_store_at(settings, settings.blobs)
            blobs.extend([size async for size in copy_blobs(there, here, tenants_in(replica))])

    with tempfile.TemporaryDirectory(prefix="omium-restore-") as scratch, _bar() as report:
        folder = Path(scratch) if dry_run else settings.data_dir
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


def verify(
    directories: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[DIR]...",
            help="Data directories; those of one group are compared. Default: the one in use.",
            show_default=False,
        ),
    ] = None,
    archive: Annotated[
        str | None,
        typer.Option("--archive", metavar="URL", help="Read everything in this archive too."),
    ] = None,
    blobs: Annotated[bool, typer.Option("--blobs", help="Read every blob too.")] = False,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Check every checksum. A runtime may be at work meanwhile. Damage makes the exit code 7.

    Examples:

      omium verify
      omium verify --blobs --archive s3://backups/omium
      omium verify member-1 member-2 member-3
    """
    settings = settings_of(data_dir)
    places = [(folder / REPLICA_NAME) for folder in directories or [settings.data_dir]]
    found = asyncio.run(_verify(settings, places, archive, blobs=blobs))
    damage = [str(error) for error in found]
    if as_json:
        out_json({"type": "verify", "replicas": len(places), "damage": damage})
    else:
        for line in damage[:SHOWN_MAX]:
            out(line)
        if len(damage) > SHOWN_MAX:
            out(f"and {len(damage) - SHOWN_MAX} more")
        out(f"{counted(len(damage), 'record')} damaged" if damage else "OK: no damage")
    raise typer.Exit(DAMAGED_EXIT if damage else 0)


async def _verify(
    settings: Settings, places: list[Path], url: str | None, *, blobs: bool
) -> list[OmiumError]:
    from omium.storage.verifying import damage_in_replica, disagreements, executions_in

    found: list[OmiumError] = []
    for place in places:
        found += damage_in_replica(place)
        say(f"{place}: {counted(executions_in(place), 'execution')} read")
    found += disagreements(places)
    if blobs:
        found += [error async for error in _damaged_blobs(settings, places)]
    if url is not None:
        found += [error async for error in _damaged_archive(settings, url)]
    return found


async def _damaged_blobs(settings: Settings, places: list[Path]) -> AsyncIterator[OmiumError]:
    from omium.serve.composition import object_store_at
    from omium.storage.shipping import tenants_in
    from omium.storage.verifying import damage_in_blobs

    read = 0
    tenants = sorted({tenant for place in places for tenant in tenants_in(place)})
    store = object_store_at(settings, settings.blobs)
    async for read, error in damage_in_blobs(store, tenants):  # noqa: B007 (the last is told)
        if error is not None:
            yield error
    say(f"{settings.blobs}: {counted(read, 'blob')} read")


async def _damaged_archive(settings: Settings, url: str) -> AsyncIterator[OmiumError]:
    from omium.serve.composition import object_store_at
    from omium.storage.archive import Archive
    from omium.storage.verifying import damage_in_archive

    archive = Archive(object_store_at(settings, url))
    pasts = await archive.pasts()
    if not pasts:
        raise NotFound("archive", url, "nothing was ever shipped or backed up to it")
    with tempfile.TemporaryDirectory(prefix="omium-verify-") as scratch:
        for past in pasts:
            async for error in damage_in_archive(archive, past, Path(scratch)):
                yield error
            say(f"{url}: {past.claim.replica} read, up to entry {past.end}")


def _replica_of(settings: Settings) -> Path:
    path = settings.data_dir / REPLICA_NAME
    if not path.exists():
        raise NotFound("replica", str(path), "nothing has run in this data directory yet")
    return path


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
