"""How a group comes to be on disks: where each seat's is, and what says that a group was formed.

The first seat forms a group of itself, with the state that a coordinator alone has left there, if
any; the others join it as newcomers do. That happens once: the record that is kept afterwards
keeps a seat whose disk was lost from forming a group of its own, which would know of nothing.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from omium.actors.group.talk import SEATS
from omium.clock import Clock
from omium.consensus import initial_snapshot
from omium.errors import ConfigError, CorruptRecord
from omium.storage.group_store import GroupStore
from omium.storage.private_file import read_private, write_private

RECORD_NAME = "group.json"
FIRST_SEAT = 1


class GroupRecord(msgspec.Struct, frozen=True, kw_only=True):
    """The group of a data directory: its name, how many seats it has, and whether all of these
    were taken once."""

    group: str
    coordinators: int
    formed: bool = False


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


def claim_group(data_dir: Path, coordinators: int, fresh: str) -> GroupRecord | None:
    """The group to be started: the one that is recorded, or a new one by the name ``fresh``, which
    is recorded now. None for a coordinator that is alone.

    Raises ``ConfigError`` where the record tells of another number of coordinators, and
    ``CorruptRecord``, ``StorageUnwritable`` and ``StorageFull``.
    """
    record = recorded_group(data_dir)
    if record is None and coordinators == 1:
        return None
    if record is None:
        record = GroupRecord(group=fresh, coordinators=coordinators)
        write_private(data_dir / RECORD_NAME, msgspec.json.encode(record))
    if record.coordinators != coordinators:
        raise ConfigError(
            f"{data_dir} belongs to a group of {record.coordinators} coordinators, and the setting "
            f"`coordinators` is {coordinators}"
        )
    return record


def record_formed(data_dir: Path) -> None:
    """Note that all seats of the group were taken. Raises as ``claim_group``."""
    record = recorded_group(data_dir)
    if record is not None:
        formed = msgspec.structs.replace(record, formed=True)
        write_private(data_dir / RECORD_NAME, msgspec.json.encode(formed))


def seat_folder(data_dir: Path, seat: int) -> Path:
    """The disk of a seat. The first one's is where that of a coordinator alone is."""
    return data_dir if seat == FIRST_SEAT else data_dir / "seats" / str(seat)


def open_store(
    data_dir: Path, seat: int, *, group: str, forming: bool, owner: str, clock: Clock
) -> GroupStore:
    """Open the disk of a seat. ``forming`` is true until all seats of the group were taken.

    Raises as ``GroupStore.open``.
    """
    first = forming and seat == FIRST_SEAT
    return GroupStore.open(
        seat_folder(data_dir, seat),
        owner=owner,
        group=group,
        first_id=seat,
        start=initial_snapshot([seat]) if first else None,
        # Later lives have higher ids.
        new_id=lambda: seat + SEATS * clock.now_ms(),
    )
