"""The disks of coordinators, as they lie in a data directory: which are here of each shard and of
each seat, and how far each has come. Reads beside whoever writes them, and changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from omium.actors.group.damage import MARK_NAME
from omium.actors.group.opening import FIRST_SEAT, recorded_group, seat_folder, seats_with_disks
from omium.actors.shards.opening import recorded_shards, shard_folder
from omium.errors import CorruptRecord, NotFound, OmiumError
from omium.storage.replica import FILE_NAME
from omium.storage.verifying import Reach, reach_of


@dataclass(frozen=True, kw_only=True)
class SeatDisk:
    """The disk of ``seat``, 0 for that of a coordinator alone. ``node`` is the address of the node
    where the group's record has it, empty where it has it on this machine. ``reach`` says how far
    it has come; None where that cannot be read, of which ``error`` is the reason: ``NotFound``
    where no disk is here, ``CorruptRecord`` where one is and is damaged."""

    seat: int
    path: Path
    node: str = ""
    reach: Reach | None = None
    error: OmiumError | None = None


def disks_by_shard(data_dir: Path) -> list[list[SeatDisk]]:
    """The disks of each shard, by its number. Raises ``NotFound`` where none of a shard is here,
    and else as ``disks_in``."""
    shards = [disks_in(shard_folder(data_dir, n)) for n in range(recorded_shards(data_dir))]
    for disks in shards:
        if all(isinstance(disk.error, NotFound) for disk in disks):
            raise NotFound(
                "replica", str(disks[0].path), "nothing has run in this data directory yet"
            )
    return shards


def disks_in(folder: Path) -> list[SeatDisk]:
    """The disks of the seats whose first one's is ``folder``, by their numbers: of all that the
    record of the group tells of, or without it of those that are here.

    Raises ``CorruptRecord`` for a damaged record, and ``StorageUnwritable`` and ``PlatformError``
    where a disk cannot be read for another reason than damage.
    """
    record = recorded_group(folder)
    here = seats_with_disks(folder)
    if record is None and not here:
        return [disk_in(folder)]
    if record is None:
        return [disk_in(seat_folder(folder, seat), seat) for seat in sorted({FIRST_SEAT, *here})]
    nodes = record.nodes or ("",) * record.coordinators
    return [
        disk_in(seat_folder(folder, seat), seat, node)
        for seat, node in enumerate(nodes, FIRST_SEAT)
    ]


def furthest(disks: Sequence[SeatDisk]) -> SeatDisk:
    """The one that has applied most: of a group that runs here, the leader's, since the others
    apply what it has applied. Raises what is wrong with one of them where none can be read."""
    # Of equals the first.
    best = max(disks, key=lambda disk: disk.reach.applied if disk.reach is not None else -1)
    if best.error is not None:
        raise next((d.error for d in disks if isinstance(d.error, CorruptRecord)), best.error)
    return best


def disk_in(folder: Path, seat: int = 0, node: str = "") -> SeatDisk:
    """The disk in ``folder``. Raises ``StorageUnwritable`` and ``PlatformError``."""
    path = folder / FILE_NAME
    try:
        reach = reach_of(path)
        if (folder / MARK_NAME).exists():
            raise CorruptRecord(str(path), "it was found damaged, and is to be put aside")
    except (NotFound, CorruptRecord) as error:
        return SeatDisk(seat=seat, path=path, node=node, error=error)
    return SeatDisk(seat=seat, path=path, node=node, reach=reach)
