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
    """A group that was formed on a data directory: its name, and how many seats it has."""

    group: str
    coordinators: int


def recorded_group(data_dir: Path) -> GroupRecord | None:
    """The group that was formed here; None where a coordinator is alone, or nothing is yet.

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


def group_for(data_dir: Path, coordinators: int, fresh: str) -> str:
    """The name of the group to be started: the one that is recorded, or ``fresh``.

    Raises ``ConfigError`` where the record tells of another number of coordinators.
    """
    record = recorded_group(data_dir)
    if record is None:
        return fresh
    if record.coordinators != coordinators:
        raise ConfigError(
            f"{data_dir} belongs to a group of {record.coordinators} coordinators, and the setting "
            f"`coordinators` is {coordinators}"
        )
    return record.group


def record_group(data_dir: Path, record: GroupRecord) -> None:
    """Note that the group was formed. Raises ``StorageUnwritable`` and ``StorageFull``."""
    write_private(data_dir / RECORD_NAME, msgspec.json.encode(record))


def seat_folder(data_dir: Path, seat: int) -> Path:
    """The disk of a seat. The first one's is where that of a coordinator alone is."""
    return data_dir if seat == FIRST_SEAT else data_dir / "seats" / str(seat)


def open_store(
    data_dir: Path, seat: int, *, group: str, forming: bool, owner: str, clock: Clock
) -> GroupStore:
    """Open the disk of a seat. ``forming`` is true in the first start of a group alone.

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
