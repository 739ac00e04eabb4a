"""``verify``: whether all of a data directory, and of an archive, is still what was written, and
whether the seats of each group have one past."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from omium.actors.group.disks import SeatDisk, disk_in, disks_by_shard
from omium.actors.shards.opening import shard_count_in, shard_url
from omium.cli.options import AsJson, DataDir, settings_of
from omium.cli.terminal import out, out_json, say
from omium.cli.wording import counted
from omium.config import Settings
from omium.errors import CorruptRecord, NotFound, OmiumError
from omium.storage.archive import Archive
from omium.storage.shipping import tenants_in
from omium.storage.verifying import (
    damage_in_archive,
    damage_in_blobs,
    damage_in_replica,
    disagreements,
    executions_in,
    missing_blobs,
)

DAMAGED_EXIT = 7
SHOWN_MAX = 100


def verify(
    directories: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[DIR]...",
            help="Disks, each the directory of a seat, of which those of one group are compared. "
            "Default: all that the data directory in use has.",
            show_default=False,
        ),
    ] = None,
    archive: Annotated[
        str | None,
        typer.Option("--archive", metavar="URL", help="Read everything in this archive too."),
    ] = None,
    blobs: Annotated[
        bool, typer.Option("--blobs", help="Read every blob too, and name those that are missing.")
    ] = False,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Check every checksum, and the seats of each group against each other. A runtime may be at
    work meanwhile. Damage makes the exit code 7.

    How far each seat is, is told; one that is behind the others is not damaged. Those whose disks
    are on other nodes are not read.

    Examples:

      omium verify
      omium verify --blobs --archive s3://backups/omium
      omium verify member-1 member-2 member-3
    """
    settings = settings_of(data_dir)
    if directories:
        # Those that are named are of one group.
        shards: list[list[SeatDisk]] = []
        groups = [{str(folder): disk_in(folder) for folder in directories}]
    else:
        shards = disks_by_shard(settings.data_dir)
        groups = [_here(disks, _shard_name(n, shards)) for n, disks in enumerate(shards)]
    damage = asyncio.run(_verify(settings, groups, archive, blobs=blobs))
    if as_json:
        told: dict[str, Any] = {
            "type": "verify", "replicas": sum(map(len, groups)), "damage": damage
        }  # fmt: skip
        if seats := [_seat_json(n, d) for n, disks in enumerate(shards) for d in disks if d.seat]:
            told["seats"] = seats
        out_json(told)
    else:
        _tell(shards, damage)
    raise typer.Exit(DAMAGED_EXIT if damage else 0)


def _tell(shards: Sequence[Sequence[SeatDisk]], damage: Sequence[str]) -> None:
    for number, disks in enumerate(shards):
        for line in _reaches(disks, _shard_name(number, shards)):
            out(line)
    for line in damage[:SHOWN_MAX]:
        out(line)
    if len(damage) > SHOWN_MAX:
        out(f"and {len(damage) - SHOWN_MAX} more")
    if damage:
        out(f"{counted(len(damage), 'record')} damaged")
        return
    seats = [disk for disks in shards for disk in disks if disk.seat]
    read = sum(disk.reach is not None for disk in seats)
    compared = f"; {read} of {counted(len(seats), 'seat')} read and compared" if seats else ""
    out(f"OK: no damage{compared}")


def _reaches(disks: Sequence[SeatDisk], shard: str) -> Iterable[str]:
    """A line about each seat of a group: how far it is."""
    applied = max((disk.reach.applied for disk in disks if disk.reach is not None), default=0)
    for disk in disks:
        if not disk.seat:
            continue
        if disk.reach is None:
            away = f"no disk here; it belongs to node {disk.node}" if disk.node else "no disk here"
            text = away if isinstance(disk.error, NotFound) else "damaged"
        else:
            text = f"applied up to entry {disk.reach.applied}"
            if disk.reach.last > disk.reach.applied:
                text += f", holds up to {disk.reach.last}"
            if disk.reach.applied < applied:
                text += f"; {applied - disk.reach.applied} behind"
        yield f"{_name(disk, shard)}: {text}"


def _seat_json(shard: int, disk: SeatDisk) -> dict[str, Any]:
    reach = msgspec.to_builtins(disk.reach) if disk.reach else {"applied": None, "last": None}
    trouble = str(disk.error) if disk.error is not None else ""
    return {"shard": shard, "seat": disk.seat, "node": disk.node, **reach, "trouble": trouble}


def _shard_name(number: int, shards: Sequence[object]) -> str:
    return f"shard {number}, " if len(shards) > 1 else ""


def _name(disk: SeatDisk, shard: str) -> str:
    return f"{shard}seat {disk.seat}" if disk.seat else str(disk.path)


def _here(disks: Sequence[SeatDisk], shard: str) -> dict[str, SeatDisk]:
    """The disks of a shard that are here, by their names."""
    return {_name(disk, shard): disk for disk in disks if not isinstance(disk.error, NotFound)}


def _damage_on(disk: SeatDisk) -> list[OmiumError]:
    """All that is damaged there, as far as it can be read at all."""
    found: list[OmiumError] = []
    try:
        for error in damage_in_replica(disk.path):
            found.append(error)  # noqa: PERF402 (what was found before it failed is kept)
    except CorruptRecord as error:
        found.append(error)
    return found or ([disk.error] if disk.error is not None else [])


async def _verify(
    settings: Settings, groups: list[dict[str, SeatDisk]], url: str | None, *, blobs: bool
) -> list[str]:
    found: list[str] = []
    places: list[Path] = []
    for group in groups:
        read: dict[str, Path] = {}
        for name, disk in group.items():
            damage = _damage_on(disk)
            found += [f"{name}: {error}" if len(group) > 1 else str(error) for error in damage]
            if disk.error is not None:
                continue
            try:
                executions = executions_in(disk.path)
            except CorruptRecord as error:
                # The others are read all the same.
                found += [] if damage else [str(error)]
                continue
            say(f"{name}: {counted(executions, 'execution')} read")
            read[name] = disk.path
        found += [str(error) for error in disagreements(read)]
        places += read.values()
    if blobs:
        found += [str(error) async for error in _damaged_blobs(settings, places)]
    if url is not None:
        found += [str(error) async for error in _damaged_archive(settings, url)]
    return found


async def _damaged_blobs(settings: Settings, places: list[Path]) -> AsyncIterator[OmiumError]:
    from omium.serve.composition import object_store_at

    read = 0
    tenants = sorted({tenant for place in places for tenant in tenants_in(place)})
    store = object_store_at(settings, settings.blobs)
    async for read, error in damage_in_blobs(store, tenants):  # noqa: B007 (the last is told)
        if error is not None:
            yield error
    named: set[str] = set()
    for place in places:
        async for error in missing_blobs(store, place):
            # What two seats name is missing once.
            if error.name not in named:
                named.add(error.name)
                yield error
    say(f"{settings.blobs}: {counted(read, 'blob')} read")


async def _damaged_archive(settings: Settings, url: str) -> AsyncIterator[OmiumError]:
    from omium.serve.composition import object_store_at

    shards = shard_count_in(await object_store_at(settings, url).keys("shards"))
    archives = [Archive(object_store_at(settings, shard_url(url, n))) for n in range(shards)]
    pasts = [(archive, past) for archive in archives for past in await archive.pasts()]
    if not pasts:
        raise NotFound("archive", url, "nothing was ever shipped or backed up to it")
    with tempfile.TemporaryDirectory(prefix="omium-verify-") as scratch:
        for archive, past in pasts:
            async for error in damage_in_archive(archive, past, Path(scratch)):
                yield error
            say(f"{url}: {past.claim.replica} read, up to entry {past.end}")
