"""How a group comes to be on disks: where each seat's is, and what says that a group was formed.

The first seat forms a group of itself, with the state that a coordinator alone has left there, if
any; the others join it as newcomers do. That happens once: the record that is kept afterwards
keeps a seat whose disk was lost from forming a group of its own, which would know of nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from omium.actors.group.damage import condemn, put_aside
from omium.actors.group.talk import SEATS
from omium.clock import Clock
from omium.consensus import initial_snapshot
from omium.errors import ConfigError, CorruptRecord
from omium.storage.group_store import GroupStore
from omium.storage.private_file import read_private, write_private
from omium.storage.replica import FILE_NAME

RECORD_NAME = "group.json"
FIRST_SEAT = 1
_SEATS = "seats"


class GroupRecord(msgspec.Struct, frozen=True, kw_only=True):
    """The group of a data directory: its name, how many seats it has, and whether all of these
    were taken once. ``nodes`` are the addresses of the nodes where the seats' disks are, in order;
    none where they are all on this machine."""

    group: str
    coordinators: int
    formed: bool = False
    nodes: tuple[str, ...] = ()


def recorded_group(data_dir: Path) -> GroupRecord | None:
    """The group of a data directory; None where a coordinator is alone, or nothing is yet.

    Raises ``CorruptRecord`` and ``StorageUnwritable``.
    """
    path = data_dir / RECORD_NAME
    content = read_private(path)
    if content is None:
        return None
    try:
        return msgspec.json.decode(content, type=GroupRecord)
    except msgspec.DecodeError as error:
        raise CorruptRecord(str(path), str(error)) from error


def claim_group(
    data_dir: Path, coordinators: int, fresh: str, nodes: Sequence[str] = ()
) -> GroupRecord | None:
    """The group to be started: the one that is recorded, or a new one by the name ``fresh``, which
    is recorded now. None for a coordinator that is alone.

    ``nodes`` are the addresses of those where the seats of a new group would be, this one first;
    none outside a cluster that was joined. A group's seats stay where their disks are.

    Raises ``ConfigError`` where the record tells of another number of coordinators, or is missing
    beside the disk of a seat, and ``CorruptRecord``, ``StorageUnwritable`` and ``StorageFull``.
    """
    record = recorded_group(data_dir)
    if record is None and coordinators == 1:
        return None
    # A folder alone may be where a disk was mounted for a seat that is to come.
    if record is None and any(data_dir.glob(f"{_SEATS}/*/{FILE_NAME}")):
        raise ConfigError(
            f"{data_dir} has the disk of a group's seat, and {RECORD_NAME}, which tells of the "
            "group, is not here: start on the node where it is, or take a copy of it to here. To "
            f"begin a new group, remove {data_dir / _SEATS}"
        )
    known = record or GroupRecord(group=fresh, coordinators=coordinators)
    if known.coordinators != coordinators:
        raise ConfigError(
            f"{data_dir} belongs to a group of {known.coordinators} coordinators, and the setting "
            f"`coordinators` is {coordinators}"
        )
    placed = msgspec.structs.replace(known, nodes=_placed(data_dir, known.nodes, nodes))
    if placed != record:
        write_private(data_dir / RECORD_NAME, msgspec.json.encode(placed))
    return placed


def _placed(data_dir: Path, known: Sequence[str], now: Sequence[str]) -> tuple[str, ...]:
    """The nodes of the seats: those that are ``known``, else those where they would be ``now``.

    What is known to be with the first seat is here, whatever the address of this node is now.
    """
    if not now:
        return tuple(known)
    if known:
        return tuple(now[0] if address == known[0] else address for address in known)
    # A group that was formed on one machine has its disks there.
    here = [(seat_folder(data_dir, s) / FILE_NAME).exists() for s in range(1, len(now) + 1)]
    return tuple(now[0] if there else address for there, address in zip(here, now, strict=True))


def record_formed(data_dir: Path) -> None:
    """Note that all seats of the group were taken. Raises as ``claim_group``."""
    record = recorded_group(data_dir)
    if record is not None:
        formed = msgspec.structs.replace(record, formed=True)
        write_private(data_dir / RECORD_NAME, msgspec.json.encode(formed))


def is_formed(data_dir: Path) -> bool:
    """Whether it is recorded that all seats were taken. Raises as ``recorded_group``."""
    record = recorded_group(data_dir)
    return record is not None and record.formed


def seat_folder(data_dir: Path, seat: int) -> Path:
    """The disk of a seat. The first one's is where that of a coordinator alone is."""
    return data_dir if seat == FIRST_SEAT else data_dir / _SEATS / str(seat)


def seats_with_disks(data_dir: Path) -> list[int]:
    """The seats beside the first one whose disks are here."""
    return sorted(
        int(path.parent.name)
        for path in data_dir.glob(f"{_SEATS}/*/{FILE_NAME}")
        if path.parent.name.isdecimal()
    )


def open_store(
    data_dir: Path, seat: int, *, group: str, forming: bool, owner: str, clock: Clock
) -> GroupStore:
    """Open the disk of a seat. ``forming`` is true where the group was to be formed when this
    seat's process was first started.

    One that is damaged is put aside, and its place taken by a new one; but not the first seat's
    before all were taken, for nobody else has what it held. Raises as ``GroupStore.open``.
    """
    folder = seat_folder(data_dir, seat)
    forming = forming and seat == FIRST_SEAT and not is_formed(data_dir)
    return whole(
        folder,
        f"{clock.now_ms():015d}",
        lambda forming: _opened(folder, seat, group, forming, owner, clock),
        forming=forming,
    )


def whole(
    folder: Path, aside: str, open_disk: Callable[[bool], GroupStore], *, forming: bool
) -> GroupStore:
    """What ``open_disk`` gives for ``folder``, told whether the group is being formed; a damaged
    file that it finds there is put aside under the name ``aside`` first."""
    forming = not put_aside(folder, aside) and forming
    try:
        return open_disk(forming)
    except CorruptRecord as error:
        if forming or not condemn(folder, error):
            raise
        put_aside(folder, aside)
        return open_disk(False)


def _opened(
    folder: Path, seat: int, group: str, forming: bool, owner: str, clock: Clock
) -> GroupStore:
    return GroupStore.open(
        folder,
        owner=owner,
        group=group,
        first_id=seat,
        start=initial_snapshot([seat]) if forming else None,
        # Later lives have higher ids.
        new_id=lambda: seat + SEATS * clock.now_ms(),
    )
