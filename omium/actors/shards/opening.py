"""How shards come to be on disks: where each one's is, and of how many it is one.

Where an execution is depends on their number, so that is recorded in the folder of each replica
when it is made, and none starts as one of another number. A data directory without shards has no
record.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import msgspec

from omium.actors.shards.placement import HOME
from omium.errors import ConfigError, CorruptRecord
from omium.storage.private_file import read_private, write_private
from omium.storage.replica import FILE_NAME
from omium.storage.sqlite import translated

RECORD_NAME = "shards.json"


class ShardRecord(msgspec.Struct, frozen=True, kw_only=True):
    """Which shard a folder belongs to, from 0, and how many there are."""

    shard: int
    shards: int


def shard_folder(data_dir: Path, shard: int) -> Path:
    """The data directory of a shard. The home shard's is the whole runtime's."""
    return data_dir if shard == HOME else data_dir / "shards" / str(shard)


def shard_url(url: str, shard: int) -> str:
    """Where a shard's part of the archive at ``url`` is."""
    return url if shard == HOME else f"{url.rstrip('/')}/shards/{shard}"


def shard_count_in(keys: Iterable[str]) -> int:
    """Of how many shards an archive is that has objects with these keys. Each shard claims its part
    when it begins to ship."""
    found = (re.match(r"shards/(\d+)/", key) for key in keys)
    return 1 + max((int(part[1]) for part in found if part is not None), default=HOME)


def recorded_shards(data_dir: Path) -> int:
    """Of how many shards a data directory holds the executions. Raises ``CorruptRecord`` and
    ``StorageUnwritable``."""
    record = _recorded(data_dir)
    return record.shards if record is not None else 1


def claim_shard(folder: Path, shard: int, shards: int) -> None:
    """Record in the folder of a replica, before that is made, that it is of ``shard``.

    Raises ``ConfigError`` for a folder of another shard, or of another number of them, and
    ``CorruptRecord``, ``StorageUnwritable`` and ``StorageFull``.
    """
    record = _recorded(folder)
    if record is None and shards > 1 and not (folder / FILE_NAME).exists():
        record = ShardRecord(shard=shard, shards=shards)
        with translated(folder):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_private(folder / RECORD_NAME, msgspec.json.encode(record))
    record = record or ShardRecord(shard=HOME, shards=1)
    if record.shards != shards:
        raise ConfigError(
            f"the executions in {folder} are placed in {_counted(record.shards)}, and not in "
            f"{shards}: the setting `shards` stays what it was at the first start"
        )
    if record.shard != shard:
        raise ConfigError(f"{folder} holds shard {record.shard}, and not {shard}")


def _recorded(folder: Path) -> ShardRecord | None:
    path = folder / RECORD_NAME
    content = read_private(path)
    try:
        return msgspec.json.decode(content, type=ShardRecord) if content is not None else None
    except msgspec.DecodeError as error:
        raise CorruptRecord(str(path), str(error)) from error


def _counted(shards: int) -> str:
    return "1 shard" if shards == 1 else f"{shards} shards"
